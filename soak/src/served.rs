//! A fake in a process of its own. What serves HyperSDK's (wiremock) keeps every request that it has answered: in here a leak of ours would not be
//! seen beside it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use hypervisor_client::fake::Fake;
use hypervisor_core::Result;

use crate::world::broken;

/// The process of a fake; ends with this.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

impl Served {
    /// Starts this program again as the fake, and waits until it listens.
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().map_err(broken)?);
        let piped = command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().map_err(broken)?;
        let mut url = String::new();
        let read = match child.stdout.take() {
            Some(stdout) => BufReader::new(stdout).read_line(&mut url).map_err(broken),
            None => Ok(0),
        };
        let served = Self { child, url: url.trim().to_owned() };
        read?;
        if served.url.is_empty() { Err(broken("the fake has ended at once")) } else { Ok(served) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the fake until standard input ends, which it does with whoever has started this.
pub(crate) async fn serve() {
    let fake = Fake::hypersdk().without_record().with_vm("base", false).start().await;
    println!("{}", fake.url());
    let (send, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = send.send(());
    });
    let _ = ended.await;
}
