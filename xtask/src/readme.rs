//! The part of README.md that the code itself knows best: which backend can do what.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Level};
use crate::workspace::Workspace;
use crate::{paths, run};

/// The example that prints the table.
pub(crate) const EXAMPLE: &str = "capabilities";
const BEGIN: &str = "<!-- capabilities: begin (made by `cargo xtask readme --write`) -->";
const END: &str = "<!-- capabilities: end -->";

/// Runs `cargo xtask readme`.
pub(crate) fn command(write: bool) -> Result<()> {
    setup::ensure(Level::Driver)?;
    let workspace = Workspace::read(true)?;
    workspace.require("example", EXAMPLE)?;
    let mut program = workspace.example(EXAMPLE);
    if !write {
        return compare(&mut program);
    }
    let file = paths::root().join("README.md");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, replace(&text, &run::output(&mut program)?)?).context("cannot write README.md")
}

/// Fails where README.md does not hold what the program prints.
pub(crate) fn compare(program: &mut Command) -> Result<()> {
    let text = fs::read_to_string(paths::root().join("README.md")).context("cannot read README.md")?;
    if replace(&text, &run::output(program)?)? != text {
        bail!("README.md is out of date: run `cargo xtask readme --write`");
    }
    Ok(())
}

fn replace(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("README.md has no `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("README.md has no `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_what_is_between_the_marks_and_settles() {
        let text = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n");
        let once = replace(&text, "| a |\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\n| a |\n\n{END}\n\nrest\n"));
        assert_eq!(replace(&once, "| a |\n").unwrap(), once);
        assert!(replace("no marks", "x").is_err());
    }
}
