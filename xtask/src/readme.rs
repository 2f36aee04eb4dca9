//! The parts of the documentation that the code itself knows best: which backend can do what, and what each error means.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::setup::{self, Level};
use crate::workspace::Workspace;
use crate::{paths, run};

/// The example that prints them.
pub(crate) const EXAMPLE: &str = "capabilities";
/// A part of a page, between two marks, and the arguments with which the example prints it.
struct Part {
    file: &'static str,
    begin: &'static str,
    end: &'static str,
    args: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part {
        file: "README.md",
        begin: "<!-- capabilities: begin (made by `cargo xtask readme --write`) -->",
        end: "<!-- capabilities: end -->",
        args: &[],
    },
    Part {
        file: "docs/errors.md",
        begin: "<!-- errors: begin (made by `cargo xtask readme --write`) -->",
        end: "<!-- errors: end -->",
        args: &["--errors"],
    },
];

/// Runs `cargo xtask readme`.
pub(crate) fn command(write: bool) -> Result<()> {
    setup::ensure(Level::Driver)?;
    let workspace = Workspace::read(true)?;
    workspace.require("example", EXAMPLE)?;
    let mut program = workspace.example(EXAMPLE);
    if !write {
        return compare(&mut program);
    }
    each(&mut program, |part, _, new| {
        fs::write(paths::root().join(part.file), new).with_context(|| format!("cannot write {}", part.file))
    })
}

/// Fails where a page does not hold what the program prints.
pub(crate) fn compare(program: &mut Command) -> Result<()> {
    each(program, |part, old, new| {
        ensure!(old == new, "{} is out of date: run `cargo xtask readme --write`", part.file);
        Ok(())
    })
}

/// Each page as it is and as it should be. Arguments of the parts add up: the part without any comes first.
fn each(program: &mut Command, act: impl Fn(&Part, &str, &str) -> Result<()>) -> Result<()> {
    for part in PARTS {
        let old = fs::read_to_string(paths::root().join(part.file))
            .with_context(|| format!("cannot read {}", part.file))?;
        let new = part.replace(&old, &run::output(program.args(part.args))?)?;
        act(part, &old, &new)?;
    }
    Ok(())
}

impl Part {
    fn replace(&self, text: &str, made: &str) -> Result<String> {
        let Self { file, begin, end, .. } = self;
        let (before, rest) = text.split_once(begin).with_context(|| format!("{file} has no `{begin}`"))?;
        let (_, after) = rest.split_once(end).with_context(|| format!("{file} has no `{end}`"))?;
        Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", made.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_what_is_between_the_marks_and_settles() {
        for part in PARTS {
            let Part { begin, end, .. } = part;
            let text = format!("# Title\n\n{begin}\nold\n{end}\n\nrest\n");
            let once = part.replace(&text, "| a |\n").unwrap();
            assert_eq!(once, format!("# Title\n\n{begin}\n\n| a |\n\n{end}\n\nrest\n"));
            assert_eq!(part.replace(&once, "| a |\n").unwrap(), once);
            assert!(part.replace("no marks", "x").is_err());
        }
    }
}
