use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::check::{Check, Stop};
use super::context::Context;
use super::settings::{Setting, Settings};
use crate::model::{Capability, Support};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// One fact that has to hold on every backend that claims what it needs.
#[derive(Clone)]
#[non_exhaustive]
pub struct Case {
    /// Its name, `area::fact`.
    pub name: &'static str,
    /// What it is about: the part of the name before the colons.
    pub area: &'static str,
    /// What the backend must be able to do.
    pub needs: Vec<Capability>,
    /// The settings without which it cannot run.
    pub needs_settings: Vec<Setting>,
    run: Body,
}

pub(crate) type Body = for<'a> fn(&'a Context) -> BoxFuture<'a, Check>;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The fact holds and nothing was left behind.
    Passed,
    /// It does not hold, or something was left behind; the text says what was found and what was expected.
    Failed(String),
    /// The case cannot be run here, and why.
    Skipped(String),
}

impl Outcome {
    /// The word for it in tables.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What was found, or why the case was skipped.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(reason) | Self::Skipped(reason) => Some(reason),
        }
    }

    /// Whether it failed.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl Case {
    pub(crate) fn new(
        area: &'static str,
        name: &'static str,
        mut needs: Vec<Capability>,
        needs_settings: Vec<Setting>,
        run: Body,
    ) -> Self {
        // What is made has to be removed again.
        for (made, by) in [
            (Operation::CreateVm, Operation::DeleteVm),
            (Operation::CreateVolume, Operation::DeleteVolume),
            (Operation::CreateNetwork, Operation::DeleteNetwork),
            (Operation::CreatePool, Operation::DeletePool),
            (Operation::CreateGroup, Operation::DeleteGroup),
            (Operation::CreateBackup, Operation::DeleteBackup),
        ] {
            if needs.contains(&made.into()) && !needs.contains(&by.into()) {
                needs.push(by.into());
            }
        }
        Self { name, area, needs, needs_settings, run }
    }

    /// Why it cannot be run against this backend with these settings, as far as that can be told before it is begun.
    #[must_use]
    pub fn skipped(&self, hypervisor: &dyn Hypervisor, settings: &Settings) -> Option<String> {
        let capabilities = hypervisor.capabilities();
        let lacking = self.needs.iter().find_map(|need| match capabilities.get(*need) {
            Support::Unsupported(reason) => Some(format!("{need}: {reason}")),
            _ => None,
        });
        let unset = || {
            let missing: Vec<&str> = self
                .needs_settings
                .iter()
                .filter(|setting| !settings.has(**setting))
                .map(|setting| setting.variable())
                .collect();
            (!missing.is_empty()).then(|| format!("{} not set", missing.join(", ")))
        };
        lacking.or_else(unset)
    }

    /// Runs it, and removes what it made. A panic inside is a failure like any other.
    pub async fn run(&self, hypervisor: &Arc<dyn Hypervisor>, settings: &Settings) -> Outcome {
        if let Some(reason) = self.skipped(&**hypervisor, settings) {
            return Outcome::Skipped(reason);
        }
        let context = Context::new(Arc::clone(hypervisor), settings.clone());
        let body = AssertUnwindSafe((self.run)(&context)).catch_unwind();
        let ended = match tokio::time::timeout(settings.case_deadline, body).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(panic)) => Err(Stop::failed(format!("it panicked: {}", panic_text(&*panic)))),
            Err(_) => Err(Stop::failed(format!("it took longer than {:?}", settings.case_deadline))),
        };
        let cleaning = AssertUnwindSafe(context.clean_up()).catch_unwind();
        let left = match tokio::time::timeout(settings.case_deadline, cleaning).await {
            Ok(Ok(left)) => left,
            Ok(Err(panic)) => vec![format!("cleaning up panicked: {}", panic_text(&*panic))],
            Err(_) => vec![format!("cleaning up took longer than {:?}", settings.case_deadline)],
        };
        match ended {
            Err(Stop::Failed(found)) if left.is_empty() => Outcome::Failed(found),
            Err(Stop::Failed(found)) => Outcome::Failed(format!("{found}; {}", left.join("; "))),
            _ if !left.is_empty() => Outcome::Failed(left.join("; ")),
            Err(Stop::Skipped(reason)) => Outcome::Skipped(reason),
            Ok(()) => Outcome::Passed,
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}
