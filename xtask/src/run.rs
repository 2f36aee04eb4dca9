//! Running programs: quietly for an answer, or in full view while keeping what they print.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A command line for a person to read.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs a program and gives what it wrote to its standard output; an error carries its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = line(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("`{shown}` failed ({}): {}", out.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs a program whose standard error is in view of the user, and gives what it wrote to its standard output.
pub(crate) fn piped(command: &mut Command) -> Result<String> {
    let shown = line(command);
    let command = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let out = command.output().with_context(|| format!("cannot run `{shown}`"))?;
    if !out.status.success() {
        bail!("`{shown}` failed ({})", out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs a program in view of the user.
pub(crate) fn visible(command: &mut Command) -> Result<()> {
    let shown = line(command);
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// What a program printed on both its outputs, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) success: bool,
    pub(crate) text: String,
}

/// Runs a program in view of the user and keeps what it prints.
pub(crate) fn captured(command: &mut Command) -> Result<Captured> {
    let shown = line(command);
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let text = thread::scope(|scope| {
        let err = scope.spawn(move || err.map(|from| copy(from, std::io::stderr())).unwrap_or_default());
        let out = out.map(|from| copy(from, std::io::stdout())).unwrap_or_default();
        // Standard error first: cargo names the target there before the target prints.
        err.join().unwrap_or_default() + &out
    });
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    Ok(Captured { success: status.success(), text })
}

/// Runs a program out of view and keeps what it prints, in the order in which it prints it.
pub(crate) fn collected(command: &mut Command) -> Result<Captured> {
    let shown = line(command);
    let (mut from, to) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(to.try_clone()?).stderr(to);
    let mut child = command.spawn().with_context(|| format!("cannot run `{shown}`"))?;
    // The command's own ends would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut text = Vec::new();
    let read = from.read_to_end(&mut text);
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    read.with_context(|| format!("cannot read what `{shown}` prints"))?;
    Ok(Captured { success: status.success(), text: String::from_utf8_lossy(&text).into_owned() })
}

fn copy(from: impl Read, mut to: impl Write) -> String {
    let mut kept = Vec::new();
    let mut from = BufReader::new(from);
    loop {
        let start = kept.len();
        match from.read_until(b'\n', &mut kept) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let line = kept.get(start..).unwrap_or_default();
                // A closed terminal must not end the tests.
                let _shown = to.write_all(line).and_then(|()| to.flush());
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Waits. xtask has no async workers that this could block.
#[allow(clippy::disallowed_methods, reason = "xtask is a plain blocking program without an executor")]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// Waits for a child that ought to end by itself, and kills it where it does not; whether it did.
pub(crate) fn reap(child: &mut Child, within: Duration) -> bool {
    let tick = Duration::from_millis(20);
    let mut left = within;
    while matches!(child.try_wait(), Ok(None)) {
        if left.is_zero() {
            // Both fail only where the child is gone, which is what is wanted.
            let _killed = child.kill();
            let _waited = child.wait();
            return false;
        }
        pause(tick);
        left = left.saturating_sub(tick);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_what_the_program_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
        assert!(error.to_string().contains('3'), "{error}");
    }

    #[test]
    fn collects_in_order() {
        let mut command = Command::new("sh");
        let got = collected(command.args(["-c", "echo one >&2; echo two; echo three >&2"])).unwrap();
        assert_eq!((got.success, got.text.as_str()), (true, "one\ntwo\nthree\n"));
    }

    #[test]
    fn captures_both_outputs_and_the_outcome() {
        let got = captured(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 1"])).unwrap();
        assert!(!got.success);
        assert!(got.text.contains("one\n") && got.text.contains("two\n"));
    }
}
