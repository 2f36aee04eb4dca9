//! One span for every call, and counters.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::counters::End;
use super::{Attempt, Call, Counters, Policy};
use crate::error::Result;

/// Makes one `tracing` span of every call, at level `INFO` with the target `hypervisor`, and counts it.
///
/// The fields are OpenTelemetry's where it has a name (`otel.name`, `otel.kind`, `otel.status_code`, `error.type`, `server.address`), and
/// `hypervisor.operation`, `hypervisor.backend`, `hypervisor.target` (noun and id), `hypervisor.attempts`, `hypervisor.queued_ms`,
/// `hypervisor.outcome` (`ok`, the error's kind, or `dropped`) and `hypervisor.request_id` (of errors, where the server gave one). What is sent
/// and what comes back never enters it, and neither does an error's message.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    counters: Counters,
}

impl Trace {
    /// With counters of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to these counters, which other connections may share.
    #[must_use]
    pub fn with_counters(counters: &Counters) -> Self {
        Self { counters: counters.clone() }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Records the end of the call, also when its future is dropped.
struct Open<'c, 'a> {
    call: &'c Call<'a>,
    counters: &'c Counters,
    span: Span,
    begun: Instant,
    end: End,
    attempts: u32,
}

impl Drop for Open<'_, '_> {
    fn drop(&mut self) {
        let outcome = match self.end {
            End::Succeeded => "ok",
            End::Failed(kind) => kind.as_str(),
            End::Dropped => "dropped",
        };
        let attempts = self.attempts.max(self.call.attempts());
        self.span.record("hypervisor.outcome", outcome).record("hypervisor.attempts", attempts);
        self.span.record("hypervisor.queued_ms", millis(self.call.queued()));
        if let End::Failed(kind) = self.end {
            self.span.record("error.type", kind.as_str()).record("otel.status_code", "ERROR");
        }
        self.counters.end(self.call.operation(), &self.end, attempts, self.begun.elapsed());
    }
}

impl Policy for Trace {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        self.watch(call, Instant::now(), attempt.send()).await
    }
}

impl Trace {
    /// Carries out a call that began then.
    pub(super) async fn watch<T>(
        &self,
        call: &Call<'_>,
        begun: Instant,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.counters.begin(call.operation());
        let span = span(call);
        let mut open = Open { call, counters: &self.counters, span, begun, end: End::Dropped, attempts: 0 };
        let answer = work.instrument(open.span.clone()).await;
        open.end = match &answer {
            Ok(_) => End::Succeeded,
            Err(error) => {
                open.attempts = error.attempts();
                if let Some(id) = error.request_id() {
                    open.span.record("hypervisor.request_id", id);
                }
                End::Failed(error.kind())
            }
        };
        answer
    }
}

fn span(call: &Call<'_>) -> Span {
    let span = tracing::info_span!(
        target: "hypervisor",
        "call",
        "otel.name" = call.operation().as_str(),
        "otel.kind" = "client",
        "otel.status_code" = Empty,
        "error.type" = Empty,
        "server.address" = Empty,
        "hypervisor.operation" = call.operation().as_str(),
        "hypervisor.backend" = call.backend(),
        "hypervisor.target" = Empty,
        "hypervisor.attempts" = Empty,
        "hypervisor.queued_ms" = Empty,
        "hypervisor.outcome" = Empty,
        "hypervisor.request_id" = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(id) = call.id() {
        span.record("hypervisor.target", format_args!("{} {id}", call.noun()));
    }
    if let Some(host) = host(call.endpoint()) {
        span.record("server.address", host);
    }
    span
}

/// The host of an endpoint, without port or user.
fn host(endpoint: &str) -> Option<&str> {
    let (_, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let address = authority.rsplit('@').next()?;
    let host = match address.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => address.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_address_has_neither_port_nor_user() {
        assert_eq!(host("https://pve.example:8006/api2/json"), Some("pve.example"));
        assert_eq!(host("qemu+ssh://root@kvm1/system"), Some("kvm1"));
        assert_eq!(host("https://[2001:db8::1]:8006"), Some("2001:db8::1"));
        assert_eq!(host("qemu:///system"), None);
        assert_eq!(host("memory"), None);
    }
}
