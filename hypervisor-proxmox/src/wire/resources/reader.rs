//! Reading the list while it comes: only the row that is cut in two at the end of a piece is kept as text.

use std::fmt;

use hypervisor_core::{Error, ErrorKind, Result};
use serde::de::{Deserialize, DeserializeSeed as _, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::row::{Fields, Row};
use super::{Inventory, Reading};
use crate::wire::envelope;

/// Reads `/cluster/resources` piece by piece, in any pieces. Guests are made of the rows at once, so that neither the answer nor its rows are
/// in memory as a whole.
///
/// ```
/// use hypervisor_proxmox::wire::resources::Reader;
/// let mut reader = Reader::new();
/// reader.add(br#"{"data":[{"type":"qemu","vmid":100,"name":"we"#);
/// reader.add(br#"b-1","node":"pve1","status":"running"}]}"#);
/// assert_eq!(reader.finish()?.guests[0].name, "web-1");
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Reader {
    reading: Reading,
    at: At,
    /// Whether the list is in an envelope.
    enveloped: bool,
    /// What was given and not read yet.
    rest: Vec<u8>,
    /// How long `rest` has to be before it is worth another try.
    worth: usize,
    rows: usize,
    /// How many bytes were added.
    read: usize,
}

/// No row of a guest is smaller.
const SMALLEST: usize = 100;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In front of the list.
    #[default]
    Start,
    /// It begins in a way that is read as a whole.
    Odd,
    /// In front of a row, or of the end of an empty list.
    First,
    /// Behind a comma.
    Row,
    /// Behind a row.
    Behind,
    /// Behind the list.
    End,
}

impl Reader {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// So many bytes will still be added: room is made for the rows that they will most likely be.
    pub fn expect(&mut self, bytes: u64) {
        let guests = &mut self.reading.inventory.guests;
        if guests.is_empty() || guests.len() < guests.capacity() / 2 {
            return;
        }
        let each = (self.read / guests.len()).max(SMALLEST);
        let more = usize::try_from(bytes).unwrap_or_default() / each;
        guests.reserve_exact(more.saturating_add(more / 16));
    }

    /// Reads on.
    pub fn add(&mut self, piece: &[u8]) {
        self.read = self.read.saturating_add(piece.len());
        let mut piece = piece;
        if !self.rest.is_empty() && matches!(self.at, At::First | At::Row) {
            // The row that was cut most likely ends with the first brace: what comes after it need not be copied.
            let end = piece.iter().position(|byte| *byte == b'}').map_or(piece.len(), |brace| brace + 1);
            let (row, others) = piece.split_at_checked(end).unwrap_or((piece, &[]));
            self.rest.extend_from_slice(row);
            piece = others;
            self.take_rest();
        }
        if self.rest.is_empty() {
            let used = self.take(piece);
            self.rest.extend_from_slice(piece.get(used..).unwrap_or_default());
        } else {
            self.rest.extend_from_slice(piece);
            self.take_rest();
        }
    }

    /// The whole list.
    ///
    /// # Errors
    /// `Protocol` where it is no such list, or is not at its end.
    pub fn finish(mut self) -> Result<Inventory> {
        match self.at {
            At::Start | At::Odd => self.reading = read_whole(&self.rest)?,
            At::End => self.check_end()?,
            At::First | At::Row | At::Behind => {
                self.worth = 0;
                self.take_rest();
                match self.at {
                    At::End => self.check_end()?,
                    _ => return Err(self.broken()),
                }
            }
        }
        Ok(self.reading.finish())
    }

    fn take_rest(&mut self) {
        if self.rest.len() < self.worth || matches!(self.at, At::Odd | At::End) {
            return;
        }
        let mut rest = std::mem::take(&mut self.rest);
        let used = self.take(&rest);
        rest.drain(..used);
        // A row that is longer than many pieces must not be begun anew with each of them.
        self.worth = rest.len().saturating_mul(2);
        self.rest = rest;
    }

    /// Reads as many rows as there are, and tells how many bytes they took.
    fn take(&mut self, bytes: &[u8]) -> usize {
        // Text that is known to be UTF-8 is not looked at again for each string.
        let text = std::str::from_utf8(bytes).or_else(|error| {
            // A letter may be cut in two as well.
            std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default())
        });
        let text = text.unwrap_or_default();
        let mut used = 0;
        loop {
            let left = text.get(used..).unwrap_or_default();
            let trimmed = left.trim_ascii_start();
            used += left.len() - trimmed.len();
            if trimmed.is_empty() && self.at != At::End {
                return used;
            }
            match self.step(trimmed) {
                Some(length) => used += length,
                None => return used,
            }
        }
    }

    /// One step on; `None` where more text is needed.
    fn step(&mut self, text: &str) -> Option<usize> {
        match (self.at, text.as_bytes().first()?) {
            (At::Start, _) => {
                let Some((length, enveloped)) = opening(text)? else {
                    self.at = At::Odd;
                    return None;
                };
                (self.at, self.enveloped) = (At::First, enveloped);
                Some(length)
            }
            (At::First | At::Behind, b']') => {
                self.at = At::End;
                Some(1)
            }
            (At::Behind, b',') => {
                self.at = At::Row;
                Some(1)
            }
            (At::First | At::Row, _) => {
                let mut json = serde_json::Deserializer::from_str(text);
                let mut row = Row::default();
                Fields(&mut row).deserialize(&mut json).ok()?;
                let length = json.into_iter::<IgnoredAny>().byte_offset();
                self.reading.add(&mut row);
                self.rows += 1;
                self.at = At::Behind;
                Some(length)
            }
            (At::Odd | At::Behind | At::End, _) => None,
        }
    }

    fn check_end(&self) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Envelope {
            #[serde(rename = "data")]
            _data: IgnoredAny,
        }
        let mut whole = if self.enveloped { b"{\"data\":[]".to_vec() } else { b"[]".to_vec() };
        whole.extend_from_slice(&self.rest);
        let read = if self.enveloped {
            serde_json::from_slice::<Envelope>(&whole).map(drop)
        } else {
            serde_json::from_slice::<IgnoredAny>(&whole).map(drop)
        };
        read.map_err(|error| envelope::broken(&error, &whole))
    }

    /// Why the row that comes next cannot be read.
    fn broken(&self) -> Error {
        let row = serde_json::from_slice::<Row<'_>>(&self.rest);
        let what = row.err().map_or_else(|| "Syntax".to_owned(), |error| format!("{:?}", error.classify()));
        // Only the place, never the text.
        let message =
            format!("the answer is not what this call gives back: {what} error in row {}", self.rows);
        Error::new(ErrorKind::Protocol, message).with_backend(crate::BACKEND)
    }
}

/// How long the text in front of the first row is, and whether that is an envelope; the inner `None` where the list begins in another way,
/// the outer where there is not enough text to tell.
fn opening(text: &str) -> Option<Option<(usize, bool)>> {
    let mut rest = text;
    if let Some(inside) = rest.strip_prefix('[') {
        return Some(Some((text.len() - inside.len(), false)));
    }
    for word in ["{", "\"data\"", ":", "["] {
        let trimmed = rest.trim_ascii_start();
        match trimmed.strip_prefix(word) {
            Some(behind) => rest = behind,
            None if word.starts_with(trimmed) => return None,
            None => return Some(None),
        }
    }
    Some(Some((text.len() - rest.len(), true)))
}

/// A list that has something else in front of it, or is none.
fn read_whole(body: &[u8]) -> Result<Reading> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        data: Rows,
    }

    let read = match body.first() {
        // A struct can also be read from an array, which must not happen to a bare list.
        Some(b'{') => serde_json::from_slice::<Envelope>(body).map(|envelope| envelope.data),
        _ => serde_json::from_slice::<Rows>(body),
    };
    read.map(|rows| rows.0).map_err(|error| envelope::broken(&error, body))
}

struct Rows(Reading);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> std::result::Result<Reading, A::Error> {
                let mut reading = Reading::default();
                while let Some(mut row) = rows.next_element::<Row<'de>>()? {
                    reading.add(&mut row);
                }
                Ok(reading)
            }
        }

        deserializer.deserialize_seq(List).map(Rows)
    }
}
