//! Marks that a guest carries for us: the token of its create as a tag, and metadata at the end of its notes.

use std::collections::{BTreeMap, BTreeSet};

use hypervisor_core::{Error, Result};

const PREFIX: &str = "hv-ct.";

/// Hidden where notes are shown, because they are Markdown.
const OPEN: &str = "<!-- hypervisor ";
const CLOSE: &str = " -->";

/// The most that the server takes as notes.
const NOTES: usize = 8192;

/// The tag that marks guest `vmid` with this token. The guest's own number is in it, so that a clone, which copies the
/// tags, does not carry it. Capitals are written `+a`, because the server may fold tags to lower case.
///
/// Proxmox's tags are `[a-z0-9_][a-z0-9_+.-]*` in either case; what a token may have fits into that.
#[must_use]
pub fn token_tag(vmid: u64, token: &str) -> String {
    let mut tag = format!("{PREFIX}{vmid}.");
    for c in token.chars() {
        if c.is_ascii_uppercase() {
            tag.push('+');
        }
        tag.push(c.to_ascii_lowercase());
    }
    tag
}

/// Whether a tag is one of our marks, of whatever guest.
#[must_use]
pub fn is_mark(tag: &str) -> bool {
    tag.starts_with(PREFIX)
}

/// Whether there may be a mark in a list of tags.
pub(crate) fn has_mark(list: &str) -> bool {
    list.contains(PREFIX)
}

/// The tags of guest `vmid` without our marks, and its token.
#[must_use]
pub fn read_tags(vmid: u64, list: &str) -> (BTreeSet<String>, Option<String>) {
    let (mut tags, mut token) = (BTreeSet::new(), None);
    for tag in list.split([';', ',', ' ']).filter(|tag| !tag.is_empty()) {
        match tag.strip_prefix(PREFIX) {
            None => {
                tags.insert(tag.to_owned());
            }
            Some(mark) if token.is_none() => token = of_guest(vmid, mark).map(unfolded),
            Some(_) => {}
        }
    }
    (tags, token)
}

/// What a mark says, if it is that of this guest.
fn of_guest(vmid: u64, mark: &str) -> Option<&str> {
    let (number, token) = mark.split_once('.')?;
    (number.parse() == Ok(vmid)).then_some(token)
}

/// A token with its capitals.
fn unfolded(raw: &str) -> String {
    let mut upper = false;
    let mut token = String::new();
    for c in raw.chars() {
        if c == '+' {
            upper = true;
            continue;
        }
        token.push(if upper { c.to_ascii_uppercase() } else { c });
        upper = false;
    }
    token
}

/// The list of tags that guest `vmid` gets.
#[must_use]
pub fn write_tags(vmid: u64, tags: &BTreeSet<String>, token: Option<&str>) -> String {
    let mark = token.map(|token| token_tag(vmid, token));
    let all: Vec<&str> = tags.iter().map(String::as_str).chain(mark.as_deref()).collect();
    all.join(";")
}

/// What is between a text and our block.
const GAP: &str = "\n\n";

/// Notes without our block, and the metadata in it.
///
/// The server takes blanks and line breaks away at the end of notes, or adds one: those of the text itself survive only in front of our block.
#[must_use]
pub fn read_notes(notes: &str) -> (Option<String>, BTreeMap<String, String>) {
    let notes = notes.trim_end();
    let block = |start: usize| {
        let json = notes.get(start..)?.strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
        // Only a block of its own line is ours.
        let alone = start == 0 || notes.get(..start)?.ends_with('\n');
        let metadata = alone.then(|| serde_json::from_str(json).ok()).flatten()?;
        let text = notes.get(..start)?;
        Some((text.strip_suffix(GAP).unwrap_or(text), metadata))
    };
    let (text, metadata) = notes.rfind(OPEN).and_then(block).unwrap_or((notes, BTreeMap::new()));
    ((!text.is_empty()).then(|| text.to_owned()), metadata)
}

/// Notes with the metadata at their end; empty where there is neither.
///
/// # Errors
/// `InvalidInput` where both together are longer than the server takes.
pub fn write_notes(text: Option<&str>, metadata: &BTreeMap<String, String>) -> Result<String> {
    let text = text.unwrap_or_default();
    // A text that ends like our block would be taken for it, and one that ends with blanks would lose them.
    let plain = !text.ends_with(CLOSE) && !text.ends_with(char::is_whitespace);
    if metadata.is_empty() && plain {
        return Ok(text.to_owned());
    }
    let json =
        serde_json::to_string(metadata).map_err(|error| Error::invalid("metadata", error.to_string()))?;
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e");
    let gap = if text.is_empty() { "" } else { GAP };
    let notes = format!("{text}{gap}{OPEN}{json}{CLOSE}");
    if notes.chars().count() > NOTES {
        let why =
            format!("with the description it takes more than the {NOTES} characters that Proxmox keeps");
        return Err(Error::invalid("metadata", why));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clone_does_not_inherit_the_mark() {
        let list = format!("web;{}", token_tag(100, "Job-7"));
        assert_eq!(read_tags(100, &list), (["web".to_owned()].into(), Some("Job-7".to_owned())));
        assert_eq!(read_tags(101, &list), (["web".to_owned()].into(), None));
        assert_eq!(write_tags(100, &["web".to_owned()].into(), Some("Job-7")), list);
    }

    #[test]
    fn metadata_is_hidden_behind_the_text() {
        let metadata = BTreeMap::from([("owner".to_owned(), "a --> b".to_owned())]);
        let notes = write_notes(Some("what it is for"), &metadata).unwrap();
        assert_eq!(notes, "what it is for\n\n<!-- hypervisor {\"owner\":\"a --\\u003e b\"} -->");
        assert_eq!(read_notes(&format!("{notes}\n")), (Some("what it is for".to_owned()), metadata));
        assert_eq!(read_notes("see <!-- hypervisor {} -->").1, BTreeMap::new());
        assert_eq!(read_notes("<!-- hypervisor oops -->").0.as_deref(), Some("<!-- hypervisor oops -->"));
        assert_eq!(write_notes(None, &BTreeMap::new()).unwrap(), "");
        let long = BTreeMap::from([("a".to_owned(), "x".repeat(NOTES))]);
        assert!(write_notes(None, &long).unwrap_err().fields().contains_key("metadata"));
    }

    proptest! {
        #[test]
        fn tags_are_what_the_server_takes_and_come_back(
            vmid in 100_u64..=999_999_999, token in "[A-Za-z0-9][A-Za-z0-9._-]{0,62}", folded in any::<bool>()
        ) {
            let tag = token_tag(vmid, &token);
            let call = super::super::params::find("PUT", "/nodes/a/qemu/100/config").unwrap();
            prop_assert!(call.check(&[("tags".to_owned(), tag.clone())]).is_ok());
            prop_assert!(tag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_+.-".contains(&b)));
            let list = if folded { tag.to_ascii_lowercase() } else { tag };
            prop_assert_eq!(read_tags(vmid, &list).1, Some(token));
        }

        #[test]
        fn notes_come_back(text in "[^\\s]{0,4}[ -~\n]{0,30}(<!-- hypervisor \\{\\} -->)?", metadata in prop::collection::btree_map("[a-z]{1,4}", ".{1,8}", 0..3)) {
            let notes = write_notes(Some(&text), &metadata).unwrap();
            let expected = ((!text.is_empty()).then_some(text), metadata);
            prop_assert_eq!(read_notes(&notes), expected.clone());
            // As the server keeps them.
            prop_assert_eq!(read_notes(&format!("{}\n", notes.trim_end())), expected);
        }

        #[test]
        fn no_notes_panic(text in ".{0,60}") {
            let _ = read_notes(&text);
        }
    }
}
