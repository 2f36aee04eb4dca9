//! The gateway's program against generated requests: each answer must be as its OpenAPI document says, and none a 500.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::session::Session;
use crate::{paths, run, setup};

const TITLE: &str = "schemathesis on the gateway";
const VERSION: &str = "4.32.5";
/// Requests for each operation.
const EXAMPLES: &str = "10";

/// Runs it; a person without Python goes on without, a machine that vouches for a change may not.
pub(super) fn step(session: &mut Session) {
    let program = match session.prepare("set up schemathesis", installed) {
        Ok(program) => program,
        Err(error) if std::env::var_os("CI").is_some() => return session.fail(TITLE, &error),
        Err(error) => return session.skip(TITLE, &format!("{error:#}")),
    };
    match command(&program) {
        Ok(command) => session.program(TITLE, command),
        Err(error) => session.fail(TITLE, &error),
    }
}

fn command(schemathesis: &Path) -> Result<Command> {
    let gateway = paths::build()?.join("hypervisor-gateway");
    let script = paths::root().join("hypervisor-gateway/tests/schemathesis.sh");
    let mut command = Command::new("sh");
    command.arg(script).arg(gateway).arg(schemathesis).arg(EXAMPLES);
    Ok(command)
}

/// The program in a virtual environment of ours, installed where it is missing.
fn installed() -> Result<PathBuf> {
    let folder = paths::state()?.join(format!("schemathesis-{VERSION}"));
    let program = folder.join("bin/schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    setup::python("to make an environment for schemathesis, which tries the gateway's API")?;
    println!("setup: pip install schemathesis=={VERSION} into {}", folder.display());
    run::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let package = format!("schemathesis=={VERSION}");
    let mut pip = Command::new(folder.join("bin/pip"));
    if let Err(error) = run::output(pip.args(["install", "--quiet", "--disable-pip-version-check", &package]))
    {
        // Half an environment would be taken for a whole one next time.
        let _gone = std::fs::remove_dir_all(&folder);
        return Err(
            error.context("schemathesis cannot be installed from PyPI: see that this machine reaches it")
        );
    }
    Ok(program)
}
