//! What is checked of the code without running its tests: formatting, clippy for each set of features that a user can choose, what
//! the default build pulls in, documentation.

use std::process::Command;

use anyhow::{Result, bail};

use super::session::Session;
use crate::workspace::{FACADE, Workspace, cargo};
use crate::{paths, run};

/// Features that bring a driver in and do nothing else.
const DRIVERS: &[&str] = &["client", "libvirt", "proxmox"];
/// Crates that the facade without features must not pull in.
const NOT_BY_DEFAULT: &[&str] = &[
    "virt",
    "virt-sys",
    "openssl",
    "openssl-sys",
    "native-tls",
    "rustls",
    "http",
    "reqwest",
    "hyper",
    "axum",
    "hypervisor-libvirt",
];

/// Runs all lints but formatting.
pub(super) fn all(session: &mut Session, workspace: &Workspace) {
    let mut everything = cargo(&["clippy", "--all-targets"]);
    everything.args(workspace.everything()).args(["--", "-D", "warnings"]);
    session.program("clippy, everything", behind(everything));
    for (title, command) in feature_sets(workspace) {
        session.program(&title, behind(command));
    }
    session.check("what the facade alone depends on", lean);
    let mut docs = cargo(&["doc", "--no-deps"]);
    docs.args(workspace.everything()).env("RUSTDOCFLAGS", "-Dwarnings");
    session.program("documentation", behind(docs));
}

/// Clippy for each set of features of each crate.
fn feature_sets(workspace: &Workspace) -> Vec<(String, Command)> {
    let mut commands = Vec::new();
    for package in workspace.buildable() {
        let features = workspace.features(package);
        if features.is_empty() && package.name != FACADE {
            continue;
        }
        let name = package.name.as_str();
        let mut sets = vec![(format!("clippy, {name}"), vec![])];
        if package.defaults {
            sets.push((format!("clippy, {name} without default features"), vec!["--no-default-features"]));
        }
        for feature in features {
            // What a driver needs of its own is seen by linting the driver, and its arm by linting the facade.
            if package.name != FACADE && DRIVERS.contains(&feature) {
                continue;
            }
            let args = vec!["--no-default-features", "--features", feature];
            sets.push((format!("clippy, {name} with {feature} alone"), args));
        }
        for (title, args) in sets {
            let mut command = cargo(&["clippy", "-p", name]);
            command.args(args).args(["--", "-D", "warnings"]);
            commands.push((title, command));
        }
    }
    commands
}

fn lean() -> Result<String> {
    let args = ["tree", "-p", FACADE, "--no-default-features", "-e", "normal", "--prefix", "none"];
    let text = run::output(&mut cargo(&args))?;
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| NOT_BY_DEFAULT.contains(name))
        .collect();
    if !found.is_empty() {
        bail!("without features the facade must not depend on {}", found.join(", "));
    }
    Ok(format!("{} crates, none of {}\n", text.lines().count(), NOT_BY_DEFAULT.join(", ")))
}

/// The same command, behind everything else that wants the processor: it runs beside tests with deadlines.
pub(super) fn behind(command: Command) -> Command {
    let Some(nice) = paths::program("nice") else { return command };
    let mut wrapped = Command::new(nice);
    wrapped.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_is_the_same_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $WORD $PWD"]).env("WORD", "yes").current_dir("/");
        assert_eq!(run::output(&mut behind(command)).unwrap(), "yes /\n");
    }
}
