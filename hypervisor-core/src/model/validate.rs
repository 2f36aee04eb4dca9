//! Checks that hold for every backend, made before anything is sent.

use std::collections::BTreeMap;

use super::units::ByteSize;
use crate::error::{Error, Result};

/// A name that every backend and every file system below it can carry: letters, digits, `.`, `_`, `-`, starting with a
/// letter or digit, at most 63 bytes.
///
/// The first character matters: a name like `--all` would be read as an option by the tools behind some gateways.
pub fn name(field: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if value.len() > 63 {
        return Err(Error::invalid(field, format!("is {} bytes long; at most 63 are allowed", value.len())));
    }
    if !value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::invalid(
            field,
            format!("`{}` must start with a letter or a digit", value.escape_debug()),
        ));
    }
    match value.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(bad) => Err(Error::invalid(
            field,
            format!(
                "`{}` has the character {bad:?}; only letters, digits, `.`, `_`, `-`",
                value.escape_debug()
            ),
        )),
        None => Ok(()),
    }
}

/// A tag or a metadata key: like a [`name`], in lower case.
pub fn tag(field: &str, value: &str) -> Result<()> {
    name(field, value)?;
    if value.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(Error::invalid(field, format!("`{value}` must be in lower case")));
    }
    Ok(())
}

/// Free text: no control characters but line breaks and tabs, at most 8192 bytes.
pub fn text(field: &str, value: &str) -> Result<()> {
    if value.len() > 8192 {
        return Err(Error::invalid(
            field,
            format!("is {} bytes long; at most 8192 are allowed", value.len()),
        ));
    }
    match value.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some(bad) => Err(Error::invalid(field, format!("has the control character {bad:?}"))),
        None => Ok(()),
    }
}

/// What somebody says about an object, if anything: free [`text`].
pub(super) fn description(value: Option<&str>) -> Result<()> {
    value.map_or(Ok(()), |value| text("description", value))
}

/// A map of metadata: keys like a [`tag`], free [`text`] as values.
pub(super) fn metadata(entries: &BTreeMap<String, String>) -> Result<()> {
    entries.iter().try_for_each(|(key, value)| {
        tag("metadata", key)?;
        text(&format!("metadata.{key}"), value)
    })
}

/// A number of CPUs: at least one.
pub(super) fn cpus(cpus: u32) -> Result<()> {
    if cpus == 0 { Err(Error::invalid("cpus", "must be at least 1")) } else { Ok(()) }
}

/// A size of memory: at least 1 MiB.
pub(super) fn memory(memory: ByteSize) -> Result<()> {
    if memory < ByteSize::mib(1) {
        let why = format!("{memory} is less than 1 MiB, the least that any backend takes");
        return Err(Error::invalid("memory", why));
    }
    Ok(())
}

/// A VLAN tag, if any: 1 to 4094.
pub(super) fn vlan(field: &str, vlan: Option<u16>) -> Result<()> {
    match vlan {
        Some(tag) if !(1..=4094).contains(&tag) => {
            Err(Error::invalid(field, format!("{tag} is not between 1 and 4094")))
        }
        _ => Ok(()),
    }
}

/// An absolute path on the host, without control characters and without `..`.
pub fn host_path(field: &str, value: &str) -> Result<()> {
    if !value.starts_with('/') {
        return Err(Error::invalid(field, "must be an absolute path on the host"));
    }
    if value.split('/').any(|part| part == "..") {
        return Err(Error::invalid(field, "must not contain `..`"));
    }
    text(field, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_backend_can_carry_are_refused() {
        let long = "x".repeat(64);
        for wrong in ["", "--all", ".hidden", "a b", "a/b", "a\0b", "a\nb", "ü", long.as_str()] {
            let error = name("name", wrong).unwrap_err();
            assert!(error.fields().contains_key("name"), "{wrong:?}");
        }
        for good in ["a", "web-1", "10.0.0.1", "A_b"] {
            name("name", good).unwrap();
        }
        assert!(tag("tag", "Prod").is_err());
        assert!(host_path("path", "/var/../etc").is_err());
        assert!(host_path("path", "relative").is_err());
        assert!(text("description", "two\nlines").is_ok());
        assert!(text("description", "bell\u{7}").is_err());
    }
}
