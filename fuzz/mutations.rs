//! Input for the decoders in ordinary tests: anything at all, and the seeds of the fuzz targets with a few things wrong. A part of the tests of each crate that has
//! targets, not a crate of its own.

use std::ops::Range;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What decoders find hard to count, to nest or to cut.
const WORDS: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "-0.0",
    "0.1",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "4294967296",
    "\"\"",
    "{}",
    "[]",
    "[[",
    "{\"a\":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\x3a",
    "\u{0}",
    "é",
    "\u{1f980}",
    "&#0;",
    "&lt;",
    "&amp",
    "<",
    "<a/>",
    "</a>",
    "<!--",
    "<![CDATA[",
    "]]>",
    "<?",
    ",",
    "=",
    ";",
    ":",
    "::",
    "/",
    "..",
    "%",
    "%zz",
    "\r\n",
    "9999-12-31T23:59:59Z",
    "1969-12-31T23:59:59Z",
    "0000-00-00",
    "99999999999999T",
];

/// The seeds of a target, each with its name.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds.sort();
    seeds
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
enum Wrong {
    Bit(Index, u8),
    Cut(Index),
    Without(Index, usize),
    Twice(Index, usize),
    Word(Index, &'static str),
    /// The number, string or name at this place is another.
    Instead(Index, &'static str),
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        1 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Wrong::Bit(at, bit)),
        1 => any::<Index>().prop_map(Wrong::Cut),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Wrong::Without(at, len)),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Wrong::Twice(at, len)),
        2 => (any::<Index>(), select(WORDS)).prop_map(|(at, word)| Wrong::Word(at, word)),
        6 => (any::<Index>(), select(WORDS)).prop_map(|(at, word)| Wrong::Instead(at, word)),
    ]
}

impl Wrong {
    fn apply(&self, data: &mut Vec<u8>) {
        if data.is_empty() {
            return;
        }
        let piece = |at: &Index, len: usize| -> Range<usize> {
            let at = at.index(data.len());
            at..data.len().min(at + len)
        };
        match self {
            Self::Bit(at, bit) => {
                let at = at.index(data.len());
                data[at] ^= 1 << bit;
            }
            Self::Cut(at) => data.truncate(at.index(data.len())),
            Self::Without(at, len) => drop(data.drain(piece(at, *len))),
            Self::Twice(at, len) => {
                let range = piece(at, *len);
                let again = data[range.clone()].to_vec();
                drop(data.splice(range.end..range.end, again));
            }
            Self::Word(at, word) => {
                let at = at.index(data.len());
                drop(data.splice(at..at, word.bytes()));
            }
            Self::Instead(at, word) => {
                let at = at.index(data.len());
                let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
                let start = data[..at].iter().rposition(|byte| !is_word(byte)).map_or(0, |before| before + 1);
                let end =
                    data[at..].iter().position(|byte| !is_word(byte)).map_or(data.len(), |len| at + len);
                drop(data.splice(start..end.max(start), word.bytes()));
            }
        }
    }
}

/// Anything, text and bytes, and the seeds with up to four things wrong.
pub(crate) fn inputs(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = seeds(target).into_iter().map(|(_, seed)| seed).collect();
    let broken = (select(seeds), prop::collection::vec(wrong(), 0..5)).prop_map(|(mut seed, wrongs)| {
        wrongs.iter().for_each(|wrong| wrong.apply(&mut seed));
        seed
    });
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => "\\PC{0,80}".prop_map(String::into_bytes),
        14 => broken,
    ]
}

/// For each target a test that every seed is taken for what it is, and one that nothing makes it panic.
macro_rules! targets {
    ($prefix:literal: $($target:ident)*) => { $(
        mod $target {
            #[test]
            fn every_seed_is_taken() {
                for (name, seed) in super::super::mutations::seeds(concat!($prefix, stringify!($target))) {
                    assert!(super::super::$target(&seed), "{name} is refused");
                }
            }

            proptest::proptest! {
                #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
                #[test]
                fn nothing_panics(data in super::super::mutations::inputs(concat!($prefix, stringify!($target)))) {
                    super::super::$target(&data);
                }
            }
        }
    )* };
}
pub(crate) use targets;
