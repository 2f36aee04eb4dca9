//! What cargo knows about this workspace, and cargo's command lines for all of it or for what builds on this machine.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{paths, run};

/// The crate and the feature of the facade that need libvirt's C library.
const LIBVIRT_CRATE: &str = "hypervisor-libvirt";
const LIBVIRT: &str = "libvirt";
/// The facade.
pub(crate) const FACADE: &str = "hypervisor";

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Without `default`.
    pub(crate) features: Vec<String>,
    /// Whether something is on by default.
    pub(crate) defaults: bool,
    /// Kind (`lib`, `bin`, `test`, `example`, `bench`) and name of each target.
    pub(crate) targets: Vec<(String, String)>,
}

/// The workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    /// Whether libvirt's C library is here; without it the libvirt driver is left out.
    pub(crate) libvirt: bool,
}

/// cargo, run at the top of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(paths::root());
    if std::env::var_os("CI").is_some() {
        // What is built once and thrown away is built faster without; a panic names its line all the same.
        command.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    }
    command
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read(libvirt: bool) -> Result<Self> {
        let text = run::output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
        let packages = parse(&serde_json::from_str(&text).context("cannot read cargo's metadata")?);
        Ok(Self { packages, libvirt })
    }

    /// Whether the facade has such a target.
    fn has(&self, kind: &str, name: &str) -> bool {
        let facade = self.packages.iter().filter(|package| package.name == FACADE);
        facade.flat_map(|package| &package.targets).any(|(k, n)| k == kind && n == name)
    }

    /// Fails where the facade has no such target: what a step of its own runs must not go missing unseen.
    pub(crate) fn require(&self, kind: &str, name: &str) -> Result<()> {
        ensure!(self.has(kind, name), "the crate `{FACADE}` has no {kind} `{name}`");
        Ok(())
    }

    /// The packages that build on this machine.
    pub(crate) fn buildable(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.libvirt || package.name != LIBVIRT_CRATE)
    }

    /// A package's features that build on this machine.
    pub(crate) fn features<'a>(&self, package: &'a Package) -> Vec<&'a str> {
        package.features.iter().map(String::as_str).filter(|name| self.libvirt || *name != LIBVIRT).collect()
    }

    /// Arguments that mean every package with all its features. The same wherever something is compiled, so that
    /// dependencies are compiled once.
    pub(crate) fn everything(&self) -> Vec<String> {
        if self.libvirt {
            return vec!["--workspace".into(), "--all-features".into()];
        }
        let features: Vec<_> = self
            .buildable()
            .flat_map(|package| {
                self.features(package).into_iter().map(move |name| format!("{}/{name}", package.name))
            })
            .collect();
        vec![
            "--workspace".into(),
            "--exclude".into(),
            LIBVIRT_CRATE.into(),
            "--features".into(),
            features.join(","),
        ]
    }

    /// Arguments to run an example of the facade with all features, less libvirt where that is not wanted.
    pub(crate) fn example(&self, name: &str) -> Command {
        let facade = self.packages.iter().find(|package| package.name == FACADE);
        let features = facade.map(|package| self.features(package).join(",")).unwrap_or_default();
        let mut command =
            cargo(&["run", "--quiet", "-p", FACADE, "--features", &features, "--example", name]);
        command.arg("--");
        command
    }
}

fn parse(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(metadata.get("packages").unwrap_or(&Value::Null))
        .iter()
        .map(|package| {
            let get = |key| package.get(key).unwrap_or(&Value::Null);
            let features = get("features").as_object().cloned().unwrap_or_default();
            let targets = list(get("targets"));
            let target = |target: &Value| {
                let kind = target.get("kind").and_then(|kinds| kinds.get(0)).map(text)?;
                Some((kind, target.get("name").map(text)?))
            };
            Package {
                name: text(get("name")),
                defaults: features.get("default").is_some_and(|default| !list(default).is_empty()),
                features: features.keys().filter(|name| *name != "default").cloned().collect(),
                targets: targets.iter().filter_map(target).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(libvirt: bool) -> Workspace {
        let metadata = serde_json::json!({"packages": [
            {"name": "hypervisor", "features": {"default": [], "libvirt": [], "conformance": []},
             "targets": [{"kind": ["lib"], "name": "hypervisor"}, {"kind": ["example"], "name": "demo"}]},
            {"name": "hypervisor-libvirt", "features": {}, "targets": []},
        ]});
        Workspace { packages: parse(&metadata), libvirt }
    }

    #[test]
    fn reads_features_and_targets() {
        let all = workspace(true);
        assert!(all.has("example", "demo") && !all.has("example", "other") && !all.has("test", "demo"));
        assert_eq!(all.everything(), ["--workspace", "--all-features"]);
        assert!(all.require("example", "demo").is_ok());
        let missing = all.require("test", "conformance").unwrap_err().to_string();
        assert_eq!(missing, "the crate `hypervisor` has no test `conformance`");
    }

    #[test]
    fn without_the_library_nothing_that_needs_it_is_built() {
        let words = workspace(false).everything();
        assert_eq!(
            words,
            ["--workspace", "--exclude", "hypervisor-libvirt", "--features", "hypervisor/conformance"]
        );
        assert_eq!(workspace(false).buildable().count(), 1);
    }
}
