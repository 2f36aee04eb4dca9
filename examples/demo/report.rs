//! What the user sees: one line per step, with a bar while it lasts where somebody looks at a terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use hypervisor::Result;
use hypervisor::handle::Task;
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Report {
    terminal: bool,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal() }
    }

    /// Does it and says how long it took.
    pub(crate) async fn step<T>(&self, title: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let bar = self.bar(title);
        self.follow(title, &bar, work).await
    }

    /// Starts a task, shows how far it is, and waits for its end.
    pub(crate) async fn task<T: Clone + Send + Sync>(
        &self,
        title: &str,
        start: impl Future<Output = Result<Task<T>>>,
    ) -> Result<T> {
        let bar = self.bar(title);
        let work = async {
            let task = start.await?;
            let mut progress = task.progress();
            while let Some(info) = progress.next().await {
                if let Some(part) = info?.progress {
                    bar.set_style(style("{spinner} {msg} [{wide_bar}] {percent} %"));
                    bar.update(|state| state.set_pos(percent(part)));
                }
            }
            drop(progress);
            task.wait().await
        };
        self.follow(title, &bar, work).await
    }

    async fn follow<T>(
        &self,
        title: &str,
        bar: &ProgressBar,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        let done = work.await;
        bar.finish_and_clear();
        let end = if done.is_ok() { "" } else { "  failed" };
        println!("  {title:<42}{:>10}{end}", seconds(began.elapsed()));
        done
    }

    fn bar(&self, title: &str) -> ProgressBar {
        if !self.terminal {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(100)
            .with_style(style("{spinner} {msg} {elapsed}"))
            .with_message(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A part between 0 and 1 as a whole number of percent, without a cast.
fn percent(part: f64) -> u64 {
    (0..100).take_while(|step| f64::from(*step) < part * 100.0).count().try_into().unwrap_or(100)
}

/// `0.8 ms`, `14 ms`, `3.21 s`.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
