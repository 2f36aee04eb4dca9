//! `cargo xtask picture`: `docs/hv.svg`, made of what `hv` prints in a terminal against a live libvirtd. Nothing in it is drawn by hand.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use vt100::{Color, Parser};

use crate::live::Live;
use crate::workspace::{Workspace, cargo};
use crate::{paths, run};

const FILE: &str = "docs/hv.svg";
const COLUMNS: u16 = 112;
const ROWS: u16 = 40;
const IMAGE: &str = "base.img";
const POOL: &str = "images";

/// Runs `cargo xtask picture`.
pub(crate) fn command() -> Result<()> {
    let live = Live::start()?;
    let workspace = Workspace::read(true)?;
    workspace.require("example", "hv")?;
    // With the features of the tests, so that nothing is compiled twice.
    run::visible(cargo(&["build", "--quiet", "--example", "hv"]).args(workspace.everything()))?;
    let stage = Stage { hv: paths::build()?.join("examples/hv"), uri: live.uri() };
    let shown = stage.play(&live);
    live.stop()?;
    fs::write(paths::root().join(FILE), svg(&shown?)).with_context(|| format!("cannot write {FILE}"))?;
    println!("{FILE} written; look at it before it is committed");
    Ok(())
}

/// A piece of a line in one look.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    text: String,
    colour: &'static str,
    bold: bool,
    dim: bool,
}

type Line = Vec<Span>;

struct Stage {
    hv: PathBuf,
    uri: String,
}

impl Stage {
    fn play(&self, live: &Live) -> Result<Vec<Line>> {
        let var = |name: &str| {
            let found = live.vars().iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
            found.with_context(|| format!("the live libvirtd has no {name}"))
        };
        let folder = Path::new(&var("HYPERVISOR_TEST_SERIAL_DIR")?).join(POOL);
        self.furnish(&folder, &var("HYPERVISOR_TEST_KERNEL")?, &var("HYPERVISOR_TEST_INITRD")?)?;
        let mut lines = Vec::new();
        for args in [
            &["list"][..],
            &["create", "web-3", "--image", "images/base.img", "--cpus", "2", "--memory", "1GiB", "--wait"],
            &["clone", "web-3", "web-4", "--wait"],
            &["metrics"],
        ] {
            if !lines.is_empty() {
                lines.push(Line::new());
            }
            if args == ["metrics"] {
                // A machine that boots has something to do.
                self.hv(&["reset", "db-1"])?;
            }
            lines.push(prompt(args));
            lines.extend(self.record(args)?);
        }
        Ok(lines)
    }

    /// A pool with an image that takes a while to copy, and a few machines.
    fn furnish(&self, folder: &Path, kernel: &str, initrd: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        // Zeroes would be skipped rather than copied.
        let image = folder.join(IMAGE);
        let fill = format!("head -c 3G /dev/urandom > '{}'", image.display());
        run::visible(Command::new("sh").args(["-c", &fill]))?;
        let virsh = |args: &[&str]| run::output(Command::new("virsh").args(["-c", &self.uri]).args(args));
        virsh(&["pool-create-as", POOL, "dir", "--target", &folder.display().to_string()])?;
        let boots = ["--kernel", kernel, "--initrd", initrd, "--cmdline", "console=ttyS0", "--serial"];
        let machine = |args: &[&str], more: &[&str]| self.hv(&[&["create"], args, more].concat());
        machine(&["db-1", "--memory", "256MiB", "--tag", "db", "--start"], &boots)?;
        machine(&["web-1", "--memory", "128MiB", "--cpus", "2", "--tag", "web", "--start"], &boots)?;
        machine(&["web-2", "--memory", "128MiB", "--cpus", "2", "--tag", "web", "--start"], &boots)?;
        machine(&["build-7", "--memory", "2GiB", "--cpus", "8"], &[])?;
        self.hv(&["pause", "web-2"])?;
        Ok(())
    }

    fn hv(&self, args: &[&str]) -> Result<String> {
        run::output(Command::new(&self.hv).args(args).env("HV_URL", &self.uri))
    }

    /// What a command leaves on the screen and, where a bar was on it, the bar as it was half way.
    fn record(&self, args: &[&str]) -> Result<Vec<Line>> {
        let words: Vec<String> = args.iter().map(|word| format!("'{word}'")).collect();
        let line =
            format!("stty cols {COLUMNS} rows {ROWS}; exec '{}' {}", self.hv.display(), words.join(" "));
        // util-linux's `script` is the terminal.
        let mut child = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env("HV_URL", &self.uri)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run `script`")?;
        let mut out = child.stdout.take().context("`script` has no output")?;
        let mut terminal = terminal();
        let (mut part, mut bar) = ([0; 4096], None);
        loop {
            let count = out.read(&mut part)?;
            if count == 0 {
                break;
            }
            terminal.process(part.get(..count).unwrap_or_default());
            let seen = lines(&terminal);
            // Once the work is about half done, or as far as it came.
            let drawn = seen.into_iter().find(|line| line.iter().any(|span| span.text.contains('━')));
            let done = drawn.iter().flatten().find_map(|span| percent(&span.text));
            if drawn.is_some() && done.is_none_or(|done| done < 80) {
                bar = drawn;
            }
        }
        if !child.wait()?.success() {
            bail!("`hv {}` failed: {:?}", args.join(" "), terminal.screen().contents());
        }
        // A table's own percentages are no bar.
        let bar = bar.filter(|_| args.contains(&"--wait"));
        if args.contains(&"--wait") && bar.is_none() {
            bail!("`hv {}` showed no progress bar", args.join(" "));
        }
        Ok(bar.into_iter().chain(lines(&terminal)).collect())
    }
}

fn terminal() -> Parser {
    let size = |n| NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN);
    Parser::new(size(ROWS), size(COLUMNS), 0)
}

fn percent(text: &str) -> Option<u32> {
    let before = text.split('%').next().filter(|before| before.len() < text.len())?;
    before.rsplit(|each: char| !each.is_ascii_digit()).next()?.parse().ok()
}

fn prompt(args: &[&str]) -> Line {
    let plain = |text: String, colour, bold| Span { text, colour, bold, dim: false };
    vec![plain("$ ".to_owned(), "#3fb950", true), plain(format!("hv {}", args.join(" ")), TEXT, true)]
}

const TEXT: &str = "#e6edf3";

fn colour(colour: Color) -> &'static str {
    match colour {
        Color::Idx(1 | 9) => "#ff7b72",
        Color::Idx(2 | 10) => "#3fb950",
        Color::Idx(3 | 11) => "#d29922",
        Color::Idx(4 | 12) => "#58a6ff",
        Color::Idx(5 | 13) => "#bc8cff",
        Color::Idx(6 | 14) => "#39c5cf",
        Color::Idx(0 | 8) => "#6e7681",
        _ => TEXT,
    }
}

/// The lines of the screen that have something on them.
fn lines(terminal: &Parser) -> Vec<Line> {
    let screen = terminal.screen();
    let mut all: Vec<Line> = (0..ROWS)
        .map(|row| {
            let mut line = Line::new();
            for cell in (0..COLUMNS).filter_map(|column| screen.cell(row, column)) {
                let text = if cell.has_contents() { cell.contents() } else { " " };
                let span = Span {
                    text: text.to_owned(),
                    colour: colour(cell.fgcolor()),
                    bold: cell.bold(),
                    dim: cell.dim(),
                };
                match line.last_mut() {
                    Some(last)
                        if (last.colour, last.bold, last.dim) == (span.colour, span.bold, span.dim) =>
                    {
                        last.text += &span.text;
                    }
                    _ => line.push(span),
                }
            }
            if let Some(last) = line.last_mut() {
                last.text.truncate(last.text.trim_end().len());
            }
            line
        })
        .collect();
    let empty = |line: &Line| line.iter().all(|span| span.text.trim().is_empty());
    while all.last().is_some_and(empty) {
        all.pop();
    }
    all
}

/// A window with these lines, in which each column has its place whatever the font.
fn svg(lines: &[Line]) -> String {
    const WIDE: u32 = 17;
    const HIGH: u32 = 20;
    // A column is half of that.
    let across = |columns: usize| u32::try_from(columns).unwrap_or(0) * WIDE / 2;
    let longest = lines.iter().map(|line| line.iter().map(|span| span.text.chars().count()).sum()).max();
    let width = across(longest.unwrap_or(0)) + 40;
    let height = u32::try_from(lines.len()).unwrap_or(0) * HIGH + 70;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"hv list, hv create with its progress bar, and hv metrics in a terminal\">\n\
         <style>text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; \
         white-space: pre; }}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"10\" fill=\"#0d1117\" stroke=\"#30363d\"/>\n\
         <circle cx=\"22\" cy=\"20\" r=\"6\" fill=\"#ff5f56\"/><circle cx=\"42\" cy=\"20\" r=\"6\" fill=\"#ffbd2e\"/>\
         <circle cx=\"62\" cy=\"20\" r=\"6\" fill=\"#27c93f\"/>\n"
    );
    for (row, line) in (0_u32..).zip(lines) {
        let mut column = 0;
        for span in line {
            let count = span.text.chars().count();
            if !span.text.trim().is_empty() {
                let (x, y) = (across(column) + 20, row * HIGH + 56);
                let weight = if span.bold { " style=\"font-weight:bold\"" } else { "" };
                let faint = if span.dim { " opacity=\"0.6\"" } else { "" };
                let text = span.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                // Writing into a String cannot fail.
                let _ = writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{y}\" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\" \
                     fill=\"{}\"{weight}{faint}>{text}</text>",
                    across(count),
                    span.colour,
                );
            }
            column += count;
        }
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_becomes_spans_and_a_picture() {
        let mut terminal = terminal();
        terminal.process(b"gone\r\x1b[2K\x1b[1mNAME\x1b[0m  \x1b[32mrunning\x1b[0m\r\n<a> 42%  b\r\n");
        let seen = lines(&terminal);
        assert_eq!(seen.len(), 2);
        let texts: Vec<&str> = seen[0].iter().map(|span| span.text.as_str()).collect();
        assert_eq!(texts, ["NAME", "  ", "running", ""]);
        assert!(seen[0][0].bold && seen[0][2].colour == "#3fb950");
        assert_eq!(seen[1].iter().find_map(|span| percent(&span.text)), Some(42));
        let picture = svg(&seen);
        assert!(picture.contains("&lt;a&gt; 42%") && picture.ends_with("</svg>\n"));
    }
}
