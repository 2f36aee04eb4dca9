//! What is written, where, and in which form.

use std::fmt::Display;
use std::io::{BufRead, IsTerminal as _, Write};

use clap_complete::Shell;
use hypervisor::handle::Listing;
use hypervisor::model::Unreachable;
use hypervisor::{Effect, Error, ErrorKind};
use serde::Serialize;
use serde_json::json;

use super::World;
use super::cli::{Colour, Global};
use super::exit;
use super::table::{Look, Table};
use super::text::plain;

/// Both outputs and the input, and what they can do.
pub(crate) struct Ui {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    input: Option<Box<dyn BufRead + Send>>,
    /// Machines read the output.
    pub(crate) json: bool,
    /// The output is a terminal.
    pub(crate) terminal: bool,
    /// Errors and progress go to a terminal.
    pub(crate) err_terminal: bool,
    /// Somebody can answer a question.
    pub(crate) asks: bool,
    colour: bool,
    err_colour: bool,
    /// Nobody reads the output any more.
    pub(crate) broken: bool,
}

impl Ui {
    pub(crate) fn of_process() -> Self {
        let input = std::io::BufReader::new(std::io::stdin());
        let mut ui = Self::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()), Box::new(input));
        ui.terminal = std::io::stdout().is_terminal();
        ui.err_terminal = std::io::stderr().is_terminal();
        ui.asks = std::io::stdin().is_terminal() && ui.err_terminal;
        ui
    }

    /// Of streams that are no terminals.
    pub(crate) fn new(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        input: Box<dyn BufRead + Send>,
    ) -> Self {
        Self {
            out,
            err,
            input: Some(input),
            json: false,
            terminal: false,
            err_terminal: false,
            asks: false,
            colour: false,
            err_colour: false,
            broken: false,
        }
    }

    /// Takes what the arguments and the environment say about the form.
    pub(crate) fn choose(&mut self, global: &Global, world: &World) {
        self.json = global.json;
        let set = |name| (world.variable)(name).is_some_and(|value| !value.is_empty());
        let dumb = (world.variable)("TERM").is_some_and(|term| term == "dumb");
        let paints = |terminal: bool| match global.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !dumb && !set("NO_COLOR"),
        };
        self.colour = paints(self.terminal);
        self.err_colour = paints(self.err_terminal);
    }

    /// A line of output. Where nobody reads it any more, nothing is written.
    pub(crate) fn line(&mut self, text: impl Display) {
        if writeln!(self.out, "{text}").and_then(|()| self.out.flush()).is_err() {
            self.broken = true;
        }
    }

    /// Output that is passed on as it is.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.out.write_all(bytes).and_then(|()| self.out.flush()).is_err() {
            self.broken = true;
        }
    }

    /// As [`bytes`](Self::bytes), of what is written as errors.
    pub(crate) fn error_bytes(&mut self, bytes: &[u8]) {
        let _ = self.err.write_all(bytes).and_then(|()| self.err.flush());
    }

    /// A line about the output, which is no part of it. Where machines read, each line there is an object.
    pub(crate) fn note(&mut self, text: impl Display) {
        if self.json {
            self.error_line(json!({ "note": text.to_string() }));
        } else {
            self.error_line(text);
        }
    }

    fn error_line(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Text for the output in a look.
    pub(crate) fn paint(&self, look: Look, text: &str) -> String {
        look.paint(text, self.colour)
    }

    pub(crate) fn table(&mut self, table: &Table) {
        for line in table.lines(self.colour) {
            self.line(line);
        }
    }

    /// A table without its headings.
    pub(crate) fn rows(&mut self, table: &Table) {
        for line in table.lines(self.colour).into_iter().skip(1) {
            self.line(line);
        }
    }

    /// Clears the screen, for what is shown again and again.
    pub(crate) fn clear(&mut self) {
        if self.terminal {
            let _ = write!(self.out, "\x1b[H\x1b[2J");
        }
    }

    pub(crate) fn value(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(text),
            Err(error) => self.note(format!("error: this cannot be written as JSON: {error}")),
        }
    }

    /// A value on one line.
    pub(crate) fn value_line(&mut self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.line(text),
            Err(error) => self.note(format!("error: this cannot be written as JSON: {error}")),
        }
    }

    /// A list in either form, and the exit code that says whether it is complete.
    pub(crate) fn list<T: Serialize>(
        &mut self,
        listing: &Listing<T>,
        fill: impl FnOnce(&[T]) -> Table,
    ) -> u8 {
        if self.json {
            self.value(&json!({ "items": listing.items, "unreachable": listing.unreachable }));
        } else {
            let table = fill(&listing.items);
            self.table(&table);
        }
        self.missing(&listing.unreachable)
    }

    /// Names the hosts whose part of a list is missing.
    pub(crate) fn missing(&mut self, hosts: &[Unreachable]) -> u8 {
        for away in hosts {
            let line =
                format!("host {} cannot be reached, what is on it is missing: {}", away.host, away.reason);
            self.note(plain(&line));
        }
        if hosts.is_empty() { exit::OK } else { exit::INCOMPLETE }
    }

    /// Prints an error (what happened, to what, whether it had an effect, what to do) and gives its exit code.
    pub(crate) fn failed(&mut self, error: &Error) -> u8 {
        let code = exit::code(error);
        if self.json {
            self.error_line(json!({ "error": error, "exit_code": code }));
            return code;
        }
        let colour = self.err_colour;
        let part = |name: &str| Look::Dim.paint(&format!("  {name:<8}"), colour);
        let mut lines = vec![format!("{} {}", Look::Bad.paint("error:", colour), plain(&what(error)))];
        lines.push(format!("{}{}", part("effect"), effect(error)));
        for (field, why) in error.fields() {
            lines.push(format!("{}{}: {}", part("field"), plain(field), plain(why)));
        }
        for line in error.log_tail() {
            lines.push(format!("{}{}", part("log"), plain(line)));
        }
        if let Some(task) = error.task() {
            lines.push(format!("{}{task}", part("task")));
        }
        if let Some(id) = error.request_id() {
            lines.push(format!("{}{}", part("request"), plain(id)));
        }
        let remedy = error.hint().map_or_else(|| error.kind().remedy().to_owned(), plain);
        lines.push(format!("{}{remedy}", part("to do")));
        for line in lines {
            self.note(line);
        }
        code
    }

    /// What clap has to say: help, or what is wrong with the arguments.
    pub(crate) fn usage(&mut self, error: &clap::Error) -> u8 {
        if error.use_stderr() {
            let said = error.to_string();
            if self.json {
                let said = said.trim_end().trim_start_matches("error: ");
                return self.failed(&Error::new(ErrorKind::Config, said));
            }
            self.note(said.trim_end());
            exit::USAGE
        } else {
            self.line(error.to_string().trim_end());
            exit::OK
        }
    }

    pub(crate) fn completions(&mut self, shell: Shell, command: &mut clap::Command) {
        let mut script = Vec::new();
        clap_complete::generate(shell, command, "hv", &mut script);
        self.line(String::from_utf8_lossy(&script).trim_end());
    }

    /// Asks a question that is answered by yes or no.
    pub(crate) async fn confirm(&mut self, question: &str) -> bool {
        let _ = write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush());
        let Some(mut input) = self.input.take() else { return false };
        let (send, answer) = tokio::sync::oneshot::channel();
        // A thread of its own, so that Ctrl-C is heard meanwhile.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = input.read_line(&mut line);
            let _ = send.send(read.map(|_| line).unwrap_or_default());
        });
        let line = answer.await.unwrap_or_default();
        matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
    }
}

/// What happened, to what.
fn what(error: &Error) -> String {
    let mut text = String::new();
    for part in [error.operation().map(|operation| operation.to_string()), error.target().map(str::to_owned)]
    {
        text.extend(part.into_iter().map(|part| part + ": "));
    }
    text += &error.kind().to_string();
    if !error.message().is_empty() {
        text = format!("{text}: {}", error.message());
    }
    if let Some(code) = error.code() {
        text = format!("{text} (code {code})");
    }
    if error.attempts() > 1 {
        text = format!("{text}; tried {} times", error.attempts());
    }
    text
}

fn effect(error: &Error) -> &'static str {
    match error.effect() {
        Effect::None => "nothing was changed",
        Effect::Partial => "a part was done and could not be undone",
        _ => "it may have had an effect",
    }
}
