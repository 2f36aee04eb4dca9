//! Flags and environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hypervisor_core::model::ByteSize;
use hypervisor_core::{Error, ErrorKind, Result};
use hypervisor_gateway::{Category, GatewayConfig, Rate, WebhookTargets};

/// Serves a hypervisor over one REST API.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// The backend: memory://, qemu:///system, …
    #[arg(long, env = "HYPERVISOR_GATEWAY_BACKEND", default_value = "memory://", hide_env_values = true)]
    pub(crate) backend: String,

    /// The address to listen on.
    #[arg(long, env = "HYPERVISOR_GATEWAY_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Where tokens, jobs and webhooks are kept: sqlite://FILE or postgres://…
    #[arg(
        long,
        global = true,
        env = "HYPERVISOR_GATEWAY_DATABASE",
        default_value = "sqlite://hypervisor-gateway.db",
        hide_env_values = true
    )]
    pub(crate) database: String,

    /// The certificate chain, PEM.
    #[arg(long, env = "HYPERVISOR_GATEWAY_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key, PEM.
    #[arg(long, env = "HYPERVISOR_GATEWAY_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Serve without TLS on an address that others can reach. Tokens can then be read on the wire.
    #[arg(long, env = "HYPERVISOR_GATEWAY_ALLOW_PLAIN_HTTP")]
    pub(crate) allow_plain_http: bool,

    /// The most bytes of a JSON body: 2MiB, ….
    #[arg(long, env = "HYPERVISOR_GATEWAY_BODY_LIMIT", default_value = "2MiB")]
    pub(crate) body_limit: String,

    /// How many requests are worked on at a time.
    #[arg(long, env = "HYPERVISOR_GATEWAY_CONCURRENCY", default_value_t = 512)]
    pub(crate) concurrency: usize,

    /// How many connections may be open.
    #[arg(long, env = "HYPERVISOR_GATEWAY_CONNECTIONS", default_value_t = 4096)]
    pub(crate) connections: usize,

    /// How many seconds the headers of a request, and a TLS handshake, may take.
    #[arg(long, env = "HYPERVISOR_GATEWAY_HEADER_TIMEOUT", default_value_t = 10)]
    pub(crate) header_timeout: u64,

    /// How many seconds open requests have to end after a signal.
    #[arg(long, env = "HYPERVISOR_GATEWAY_GRACE", default_value_t = 30)]
    pub(crate) grace: u64,

    /// How many of them open consoles and watches go on, before they are told that the gateway ends.
    #[arg(long, env = "HYPERVISOR_GATEWAY_STREAM_GRACE", default_value_t = 5)]
    pub(crate) stream_grace: u64,

    /// After how many silent seconds another gateway on the same database takes over.
    #[arg(long, env = "HYPERVISOR_GATEWAY_LEASE", default_value_t = 15.0)]
    pub(crate) lease: f64,

    /// For how many seconds a token that was found in the database is believed, so that one that is revoked through another gateway may
    /// work so much longer here.
    #[arg(long, env = "HYPERVISOR_GATEWAY_RECHECK_TOKENS", default_value_t = 1.0)]
    pub(crate) recheck_tokens: f64,

    /// A rate limit: CATEGORY=LIMIT/SECONDS (authentication, vm_operations, read_operations, bulk_operations, ai_generation), or `none`.
    #[arg(long = "rate", env = "HYPERVISOR_GATEWAY_RATES", value_delimiter = ',')]
    pub(crate) rates: Vec<String>,

    /// Where webhooks may lead: `any` (but link-local addresses), `public` (no private addresses either), or names of hosts.
    #[arg(long, env = "HYPERVISOR_GATEWAY_WEBHOOK_TARGETS", value_delimiter = ',', default_value = "any")]
    pub(crate) webhook_targets: Vec<String>,

    /// USER:PASSWORD that may create tokens by Basic authentication; for development.
    #[arg(long, env = "HYPERVISOR_GATEWAY_BASIC", hide_env_values = true)]
    pub(crate) basic: Option<String>,

    /// How the log is written.
    #[arg(long, env = "HYPERVISOR_GATEWAY_LOG", default_value = "json", global = true)]
    pub(crate) log: LogFormat,

    /// What is logged, as RUST_LOG has it.
    #[arg(long, env = "HYPERVISOR_GATEWAY_LOG_FILTER", default_value = "info", global = true)]
    pub(crate) log_filter: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a token and prints it.
    Token(TokenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// What it is for.
    #[arg(long, default_value = "first")]
    pub(crate) name: String,

    /// `*`, `vm:read`, …; may be given several times.
    #[arg(long = "permission", default_value = "*")]
    pub(crate) permissions: Vec<String>,

    /// How many seconds it lives; without it, until it is revoked.
    #[arg(long)]
    pub(crate) expires_in: Option<u64>,
}

impl TokenArgs {
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn rate(text: &str) -> Result<(Category, Rate)> {
    let read = || {
        let (name, rest) = text.split_once('=')?;
        let (limit, window) = rest.split_once('/')?;
        let category = Category::ALL.into_iter().find(|category| category.as_str() == name.trim())?;
        let window = Duration::from_secs(window.trim().parse().ok()?);
        Some((category, Rate::new(limit.trim().parse().ok()?, window)))
    };
    read().ok_or_else(|| wrong(format!("--rate: `{text}` is not CATEGORY=LIMIT/SECONDS")))
}

fn targets(given: &[String]) -> WebhookTargets {
    match given {
        [word] if word == "any" => WebhookTargets::Any,
        [word] if word == "public" => WebhookTargets::Public,
        hosts => WebhookTargets::Hosts(hosts.to_vec()),
    }
}

impl Cli {
    /// The gateway's part of the flags.
    pub(crate) fn config(&self) -> Result<GatewayConfig> {
        let seconds = |flag: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds).map_err(|error| wrong(format!("{flag}: {error}")))
        };
        let body_limit: ByteSize = self.body_limit.parse()?;
        let mut config = GatewayConfig::new()
            .database(&self.database)
            .body_limit(body_limit)
            .concurrency(self.concurrency)
            .lease(seconds("--lease", self.lease)?)
            .recheck_tokens(seconds("--recheck-tokens", self.recheck_tokens)?)
            .stream_grace(Duration::from_secs(self.stream_grace))
            .webhook_targets(targets(&self.webhook_targets));
        for text in &self.rates {
            config = if text == "none" {
                config.without_rates()
            } else {
                let (category, rate) = rate(text)?;
                config.rate(category, rate)
            };
        }
        if let Some(basic) = &self.basic {
            let (user, password) =
                basic.split_once(':').ok_or_else(|| wrong("--basic is not USER:PASSWORD".to_owned()))?;
            config = config.basic(user, password);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_are_sound() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["x", "--rate", "bulk_operations=5/60", "--basic", "a:b"]);
        let config = cli.config().unwrap();
        assert_eq!(config.rate_of(Category::Bulk), Some(Rate::new(5, Duration::from_secs(60))));
        assert_eq!(targets(&cli.webhook_targets), WebhookTargets::Any);
        let hosts = Cli::parse_from(["x", "--webhook-targets", "a.example,b.example"]);
        let expected = WebhookTargets::Hosts(vec!["a.example".to_owned(), "b.example".to_owned()]);
        assert_eq!(targets(&hosts.webhook_targets), expected);
        assert!(rate("cats=1/2").is_err() && rate("bulk_operations=many/2").is_err());
        let token = Cli::parse_from(["x", "token", "--permission", "vm:read", "--permission", "host:read"]);
        assert!(matches!(token.command, Some(Command::Token(token)) if token.permissions.len() == 2));
    }
}
