//! Removing what identifies a guest from its disks, through `virt-sysprep`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hypervisor_core::model::VolumeFormat;
use hypervisor_core::{Effect, Error, ErrorKind, Result};
use tokio::process::Command;
use tokio::time::timeout;

const TOOL: &str = "virt-sysprep";
/// It boots a small machine of its own, without acceleration where there is none.
const LIMIT: Duration = Duration::from_secs(3600);
/// How much of the tool's last words is kept.
const WORDS: usize = 2000;

/// A disk of a guest that is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedDisk {
    pub(crate) path: String,
    pub(crate) format: VolumeFormat,
}

/// Where the tool is, if this machine has it. `chosen` is looked at alone.
pub(crate) fn find(chosen: Option<&Path>) -> Option<PathBuf> {
    if let Some(chosen) = chosen {
        return chosen.is_file().then(|| chosen.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join(TOOL)).find(|path| path.is_file())
}

/// Seals a guest: all of its disks at once, because its file systems may span them.
pub(crate) async fn seal(tool: &Path, disks: &[SealedDisk]) -> Result<()> {
    if disks.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(tool);
    command.arg("--quiet");
    for disk in disks {
        command.args(["--format", disk.format.as_str(), "--add", &disk.path]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| {
        Error::new(ErrorKind::Backend, format!("{} does not start: {error}", tool.display()))
    })?;
    let partial = |kind, why: String| Error::new(kind, why).with_effect(Effect::Partial);
    let output = timeout(LIMIT, child.wait_with_output())
        .await
        .map_err(|_| partial(ErrorKind::Timeout, format!("{TOOL} is not done after {LIMIT:?}")))?
        .map_err(|error| partial(ErrorKind::Backend, format!("{TOOL}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let skip = words.chars().count().saturating_sub(WORDS);
    let words: String = words.chars().skip(skip).collect();
    Err(partial(ErrorKind::Backend, format!("{TOOL} ends with {}: {}", output.status, words.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_chosen_is_looked_at_alone() {
        assert_eq!(find(Some(Path::new("/bin/sh"))), Some("/bin/sh".into()));
        assert_eq!(find(Some(Path::new("/no/such/tool"))), None);
    }

    #[tokio::test]
    async fn the_last_words_are_in_the_error() {
        let disk = SealedDisk { path: "/no/such.img".into(), format: VolumeFormat::Raw };
        // A program that takes none of the options, and says so.
        let error = seal(Path::new("/bin/ls"), std::slice::from_ref(&disk)).await.unwrap_err();
        assert!(error.message().contains("option"), "{error}");
        let error = seal(Path::new("/no/such/tool"), &[disk]).await.unwrap_err();
        assert!(error.message().contains("does not start"), "{error}");
        seal(Path::new("/no/such/tool"), &[]).await.unwrap();
    }
}
