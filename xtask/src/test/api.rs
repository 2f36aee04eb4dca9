//! What the gateway's OpenAPI document promises, held against what it answers, by schemathesis (from PyPI, in a Python environment of our own).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::Session;
use crate::{paths, run, setup};

/// What the run is tried with; a new version may find what is no fault of a change.
const VERSION: &str = "SCHEMATHESIS_VERSION";
/// So many requests are made up for each operation. More of them find more, and take longer.
const EXAMPLES: &str = "4";
const SCRIPT: &str = "hypervisor-gateway/tests/schemathesis.sh";

/// Runs the script, if schemathesis can be had.
pub(super) fn described(session: &mut Session) {
    let mut found = Err(anyhow::anyhow!("it was not looked for"));
    session.step("schemathesis up", || found = install());
    match found {
        Ok(schemathesis) => session.check("gateway's answers against its OpenAPI document", || {
            let program = paths::build()?.join("hypervisor-gateway");
            if !program.is_file() {
                bail!("{} is not built; the gateway's own tests build it", program.display());
            }
            let mut command = Command::new("sh");
            command.arg(SCRIPT).arg(program).arg(schemathesis).arg(EXAMPLES).current_dir(paths::root());
            println!("{}", run::line(&command));
            run::visible(&mut command)
        }),
        Err(error) if std::env::var_os("CI").is_some() => session.fail("schemathesis", &error),
        Err(error) => session.skip("gateway's answers against its OpenAPI document", &format!("{error:#}")),
    }
}

/// The program, installed where it is missing.
fn install() -> Result<PathBuf> {
    let place = paths::state()?.join(format!("schemathesis-{VERSION}"));
    let program = place.join("bin/schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    setup::python("to make an environment for schemathesis, which tries the gateway's API")?;
    eprintln!(
        "setup: pip install schemathesis=={VERSION} into {}, to try the gateway's API",
        place.display()
    );
    run::visible(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let mut pip = Command::new(place.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", &format!("schemathesis=={VERSION}")]);
    if let Err(error) = run::visible(&mut pip) {
        // Half an environment would be taken for a whole one next time.
        let _gone = std::fs::remove_dir_all(&place);
        return Err(error.context("schemathesis cannot be installed from PyPI"));
    }
    Ok(program)
}
