//! Tables: columns as wide as their widest cell.

use unicode_width::UnicodeWidthStr as _;

use super::text::plain;

/// How a cell looks on a terminal with colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Look {
    #[default]
    Plain,
    Bold,
    Dim,
    Good,
    Warn,
    Bad,
}

impl Look {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
        }
    }

    /// The text in this look.
    pub(crate) fn paint(self, text: &str, colour: bool) -> String {
        match self.code().filter(|_| colour && !text.is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

/// What stands in one place of a table.
pub(crate) struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>, look: Look) -> Self {
        Self { text: plain(text.as_ref()), look }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Look::Plain)
    }
}

/// A table. A heading that begins with `>` has its column aligned to the right.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, the headings first.
    pub(crate) fn lines(&self, colour: bool) -> Vec<String> {
        let names: Vec<&str> = self.head.iter().map(|name| name.trim_start_matches('>')).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.width().max(*width);
            }
        }
        let line = |cells: Vec<(&str, Look)>| {
            let columns = cells.into_iter().zip(&widths).zip(&self.head);
            let cells = columns.map(|(((text, look), width), head)| {
                let space = " ".repeat(width.saturating_sub(text.width()));
                let painted = look.paint(text, colour);
                if head.starts_with('>') { space + &painted } else { painted + &space }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(names.iter().map(|name| (*name, Look::Bold)).collect());
        let rows = self
            .rows
            .iter()
            .map(|row| line(row.iter().map(|cell| (cell.text.as_str(), cell.look)).collect()));
        std::iter::once(head).chain(rows).collect()
    }
}
