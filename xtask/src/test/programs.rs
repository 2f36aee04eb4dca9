//! The test programs: built by one call of cargo, then run one by one without it, so that cargo is free for the lints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;
use crate::workspace::{Workspace, cargo};

/// One test program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Package, kind and name.
    pub(super) title: String,
    name: String,
    executable: PathBuf,
    /// The package's folder, in which cargo runs tests.
    folder: PathBuf,
}

impl Program {
    /// Whether this runs the conformance suite.
    pub(super) fn is_conformance(&self) -> bool {
        self.name.starts_with("conformance")
    }

    /// Whether it does things to the live libvirtd, of which there is one.
    pub(super) fn shares_a_libvirtd(&self) -> bool {
        let conformance =
            self.is_conformance() && !self.title.contains("-client") && !self.title.contains("-proxmox");
        self.title.starts_with("hypervisor-libvirt: test") || conformance
    }

    /// Runs all its tests, or those whose name holds a word.
    pub(super) fn command(&self, filter: Option<&str>) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(filter).current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// Builds all test programs. Those that run the conformance suite are last: they take longest.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<Program>> {
    let mut command = cargo(&["test", "--no-run", "--tests", "--message-format", "json-render-diagnostics"]);
    command.args(workspace.everything());
    println!("{}", run::line(&command));
    let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !out.status.success() {
        bail!("the tests do not build ({})", out.status);
    }
    let mut programs: Vec<_> = String::from_utf8_lossy(&out.stdout).lines().filter_map(program).collect();
    programs.sort_by(|a, b| (a.is_conformance(), &a.title).cmp(&(b.is_conformance(), &b.title)));
    Ok(programs)
}

/// The test program in one of cargo's messages, if it is about one.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if !message.pointer("/profile/test")?.as_bool()? {
        return None;
    }
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
    let (name, kind) = (text("/target/name")?, text("/target/kind/0")?);
    let folder = Path::new(text("/manifest_path")?).parent()?;
    let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let package =
        if package.starts_with("hypervisor-") || package == "xtask" { package } else { "hypervisor".into() };
    Some(Program {
        title: format!("{package}: {kind} {name}"),
        name: name.to_owned(),
        executable: text("/executable")?.into(),
        folder: folder.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = r#"{"reason":"compiler-artifact","manifest_path":"/x/hypervisor-core/Cargo.toml","target":{"kind":["test"],
        "name":"model"},"profile":{"test":true},"executable":"/x/target/debug/deps/model-1"}"#;

    #[test]
    fn reads_cargos_messages() {
        let found = program(TEST).unwrap();
        assert_eq!(found.title, "hypervisor-core: test model");
        assert!(!found.is_conformance() && !found.shares_a_libvirtd());
        let shares = |from: &str, to: &str| program(&TEST.replace(from, to)).unwrap().shares_a_libvirtd();
        assert!(shares("hypervisor-core", "hypervisor-libvirt"));
        assert!(shares(
            "hypervisor-core/Cargo.toml\",\"target\":{\"kind\":[\"test\"],\n        \"name\":\"model",
            "main/Cargo.toml\",\"target\":{\"kind\":[\"test\"],\n        \"name\":\"conformance"
        ));
        let command = found.command(Some("vm"));
        assert_eq!(command.get_current_dir(), Some(Path::new("/x/hypervisor-core")));
        assert_eq!(run::line(&command), "/x/target/debug/deps/model-1 vm");
    }

    #[test]
    fn leaves_out_what_is_no_test() {
        for message in [
            r#"{"reason":"build-finished","success":true}"#,
            "no json",
            &TEST.replace("true", "false"),
            &TEST.replace("\"/x/target/debug/deps/model-1\"", "null"),
        ] {
            assert_eq!(program(message), None, "{message}");
        }
    }
}
