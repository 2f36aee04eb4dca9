//! Things that go wrong on request: connections that break, answers that do not come, tasks that fail.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What happens to a request that a rule is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// The connection ends and nothing was done.
    DropBefore,
    /// It is carried out, and the connection ends without an answer.
    DropAfter,
    /// It is carried out later.
    Delay(Duration),
    /// Not carried out; this status and text instead.
    Answer(u16, String),
    /// Not carried out; this status, reason phrase and body instead.
    Reply(u16, String, String),
    /// Carried out, and this status and text instead of the answer.
    AnswerAfter(u16, String),
    /// Carried out, and the answer ends after so many bytes.
    Truncate(usize),
    /// Carried out at once, and the answer is `null` rather than a task.
    NoTask,
}

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Fail(String),
    Warn(String),
    Vanish,
    Hang,
}

#[derive(Debug, Clone)]
struct Rule {
    method: String,
    path: String,
    /// Matching requests that pass before it applies.
    skip: u32,
    /// How often it applies; `None` is always.
    times: Option<u32>,
    /// The share of the matching requests that it is for.
    share: f64,
    effect: Effect,
}

#[derive(Debug, Clone)]
struct TaskRule {
    kind: String,
    skip: u32,
    times: Option<u32>,
    fate: Fate,
}

#[derive(Debug, Default)]
struct Rules {
    requests: Vec<Rule>,
    tasks: Vec<TaskRule>,
    chaos: f64,
    struck: usize,
    random: fastrand::Rng,
}

/// The rules for what goes wrong. Cheap to clone; all clones are one set.
///
/// ```no_run
/// # async fn f() -> std::io::Result<()> {
/// let pve = hypervisor_proxmox::fake::FakePve::start().await?;
/// // The second create is carried out, but its answer is lost.
/// pve.faults().on("POST", "/nodes/*/qemu").nth(2).drop_after();
/// pve.faults().on_task("qmstart").fail("start failed: QEMU exited with code 1");
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Rules>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|rules| {
            f.debug_struct("Faults")
                .field("requests", &rules.requests)
                .field("tasks", &rules.tasks)
                .finish_non_exhaustive()
        })
    }
}

impl Faults {
    pub(super) fn seeded(seed: u64) -> Self {
        let rules = Rules { random: fastrand::Rng::with_seed(seed), ..Rules::default() };
        Self(Arc::new(Mutex::new(rules)))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Rules) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A rule for requests. The path is the one below `/api2/json`, without query; `*` stands for one part of it and `**` at
    /// the end for all that follow. The method `*` is any.
    pub fn on(&self, method: &str, path: &str) -> Fault {
        let (method, path) = (method.to_ascii_uppercase(), path.to_owned());
        Fault { faults: self.clone(), method, path, skip: 0, times: Some(1), share: 1.0 }
    }

    /// A rule for tasks of a type, as in their ids: `qmstart`, `vzdump`, … `*` is any.
    pub fn on_task(&self, kind: &str) -> TaskFault {
        TaskFault { faults: self.clone(), kind: kind.to_owned(), skip: 0, times: Some(1) }
    }

    /// Breaks the connection of this share of all requests (0 to 1), half of them after they were carried out. Which ones is
    /// decided by the seed.
    pub fn chaos(&self, share: f64) {
        self.with(|rules| rules.chaos = share);
    }

    /// How many requests a rule has applied to so far.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.with(|rules| rules.struck)
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.with(|rules| {
            rules.requests.clear();
            rules.tasks.clear();
            rules.chaos = 0.0;
        });
    }

    pub(super) fn effect_of(&self, method: &str, path: &str) -> Option<Effect> {
        self.with(|rules| {
            let Rules { requests, random, struck, .. } = &mut *rules;
            for rule in requests {
                if (rule.method != "*" && rule.method != method) || !matches_path(&rule.path, path) {
                    continue;
                }
                if rule.share < 1.0 && random.f64() >= rule.share {
                    continue;
                }
                if applies(&mut rule.skip, &mut rule.times) {
                    *struck += 1;
                    return Some(rule.effect.clone());
                }
            }
            if rules.chaos > 0.0 && rules.random.f64() < rules.chaos {
                let effect = if rules.random.bool() { Effect::DropBefore } else { Effect::DropAfter };
                return Some(effect);
            }
            None
        })
    }

    pub(super) fn fate_of(&self, kind: &str) -> Option<Fate> {
        self.with(|rules| {
            let mut matching = rules.tasks.iter_mut().filter(|rule| rule.kind == "*" || rule.kind == kind);
            matching.find_map(|rule| applies(&mut rule.skip, &mut rule.times).then(|| rule.fate.clone()))
        })
    }
}

fn applies(skip: &mut u32, times: &mut Option<u32>) -> bool {
    if *times == Some(0) {
        return false;
    }
    if *skip > 0 {
        *skip -= 1;
        return false;
    }
    if let Some(left) = times {
        *left -= 1;
    }
    true
}

pub(super) fn matches_path(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.split('/').filter(|part| !part.is_empty());
    let mut given = path.split('/').filter(|part| !part.is_empty());
    loop {
        match (wanted.next(), given.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// A rule for requests in the making; it counts from the moment its effect is named. Applies once unless told otherwise.
#[derive(Debug)]
#[must_use = "a rule has no effect until one is named"]
pub struct Fault {
    faults: Faults,
    method: String,
    path: String,
    skip: u32,
    times: Option<u32>,
    share: f64,
}

impl Fault {
    /// Applies first to the `n`th matching request from now on; 1 is the next one.
    pub fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Applies to so many requests.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Applies to all from then on.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Applies to this share (0 to 1) of all from then on. Which ones is decided by the seed.
    pub fn share(mut self, share: f64) -> Self {
        self.share = share;
        self.always()
    }

    fn add(self, effect: Effect) {
        let Self { faults, method, path, skip, times, share } = self;
        let rule = Rule { method, path, skip, times, share, effect };
        faults.with(|rules| rules.requests.push(rule));
    }

    /// The connection ends before anything was done.
    pub fn drop_before(self) {
        self.add(Effect::DropBefore);
    }

    /// The request is carried out, and the connection ends without an answer.
    pub fn drop_after(self) {
        self.add(Effect::DropAfter);
    }

    /// The request is carried out after this time (tokio's).
    pub fn delay(self, time: Duration) {
        self.add(Effect::Delay(time));
    }

    /// The request is not carried out and answered so. The text is the reason phrase, and the body's message where such an
    /// answer has a body.
    pub fn answer(self, status: u16, text: &str) {
        self.add(Effect::Answer(status, text.to_owned()));
    }

    /// The request is not carried out, and this is the whole answer: a recorded one, or one of another release. The body is sent
    /// as JSON, unless it is empty.
    pub fn reply(self, status: u16, reason: &str, body: &str) {
        self.add(Effect::Reply(status, reason.to_owned(), body.to_owned()));
    }

    /// The request is carried out and yet answered so: 596 is what a proxying node says when it has waited for too long.
    pub fn answer_after(self, status: u16, text: &str) {
        self.add(Effect::AnswerAfter(status, text.to_owned()));
    }

    /// The request is carried out, and the connection ends after so many bytes of the answer's body.
    pub fn truncate(self, bytes: usize) {
        self.add(Effect::Truncate(bytes));
    }

    /// The request is carried out to its end, and the answer is `{"data":null}` instead of a task's id.
    pub fn no_task(self) {
        self.add(Effect::NoTask);
    }
}

/// A rule for tasks in the making. Applies once unless told otherwise.
#[derive(Debug)]
#[must_use = "a rule has no effect until one is named"]
pub struct TaskFault {
    faults: Faults,
    kind: String,
    skip: u32,
    times: Option<u32>,
}

impl TaskFault {
    /// Applies first to the `n`th such task from now on; 1 is the next one.
    pub fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Applies to so many tasks.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Applies to all from then on.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn add(self, fate: Fate) {
        let rule = TaskRule { kind: self.kind, skip: self.skip, times: self.times, fate };
        self.faults.with(|rules| rules.tasks.push(rule));
    }

    /// The task ends with this text, and nothing has changed.
    pub fn fail(self, text: &str) {
        self.add(Fate::Fail(text.to_owned()));
    }

    /// The task logs a warning, does its work and ends with `WARNINGS: 1`.
    pub fn warn(self, text: &str) {
        self.add(Fate::Warn(text.to_owned()));
    }

    /// The task's process is killed at once: it ends with `unexpected status`, and nothing has changed.
    pub fn vanish(self) {
        self.add(Fate::Vanish);
    }

    /// The task runs until it is stopped.
    pub fn hang(self) {
        self.add(Fate::Hang);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_the_requests_that_they_are_for() {
        let faults = Faults::seeded(1);
        faults.on("POST", "/nodes/*/qemu").nth(2).drop_after();
        faults.on("*", "/cluster/**").times(2).answer(500, "no");
        assert_eq!(faults.effect_of("POST", "/nodes/pve1/qemu"), None);
        assert_eq!(faults.effect_of("GET", "/nodes/pve1/qemu"), None);
        assert_eq!(faults.effect_of("POST", "/nodes/pve2/qemu"), Some(Effect::DropAfter));
        assert_eq!(faults.effect_of("POST", "/nodes/pve2/qemu"), None);
        assert!(faults.effect_of("GET", "/cluster/resources").is_some());
        assert!(faults.effect_of("GET", "/cluster/sdn/vnets").is_some());
        assert!(faults.effect_of("GET", "/cluster/status").is_none());
    }

    #[test]
    fn chaos_is_the_same_for_the_same_seed() {
        let run = || {
            let faults = Faults::seeded(7);
            faults.chaos(0.5);
            (0..20).map(|_| faults.effect_of("GET", "/version")).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!(run().contains(&None) && run().contains(&Some(Effect::DropAfter)));
    }
}
