//! What may be sent as a name. The daemon hands names to `virsh` as arguments, puts some into paths on its host, some into XML and some into
//! a shell, all as they are.

use hypervisor_core::model::{VolumeId, validate};
use hypervisor_core::{Error, Result};

/// A name that is only looked up: nothing that `virsh` would take for an option, no path, no control character.
///
/// # Errors
/// `InvalidInput` naming the field. Nothing was sent.
pub(crate) fn check(field: &str, name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "must not be empty"
    } else if name.starts_with('-') {
        "must not start with `-`: virsh would take it for an option"
    } else if name.chars().any(char::is_control) {
        "must not have control characters"
    } else if name.contains('/') {
        "must not have a `/`: it would be a path on the daemon's host"
    } else if matches!(name, "." | "..") {
        "would be a folder on the daemon's host"
    } else if name.len() > 255 {
        "is longer than 255 bytes"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(40).collect();
    Err(Error::invalid(field, format!("`{}` {why}", shown.escape_debug())))
}

/// A name that goes through a shell on the daemon's host: letters, digits, `.`, `_` and `-` only.
pub(crate) fn check_plain(field: &str, name: &str) -> Result<()> {
    check(field, name)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !plain(*c)) {
        Some(bad) => Err(Error::invalid(field, format!("has {bad:?}, which the daemon's shell would read"))),
        None => Ok(()),
    }
}

/// A path on the daemon's host that goes through a shell there.
pub(crate) fn check_plain_path(field: &str, path: &str) -> Result<()> {
    validate::host_path(field, path)?;
    path.split('/').filter(|part| !part.is_empty()).try_for_each(|part| check_plain(field, part))
}

/// A value that the daemon puts into XML as it is.
pub(crate) fn check_xml(field: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    match value.chars().find(|c| c.is_control() || matches!(c, '<' | '>' | '&' | '\'' | '"')) {
        Some(bad) => Err(Error::invalid(field, format!("has {bad:?}, which would change the daemon's XML"))),
        None => Ok(()),
    }
}

/// A text behind an option of `virsh`, which takes it as it is unless it looks like the next option.
pub(crate) fn check_text(field: &str, text: &str) -> Result<()> {
    validate::text(field, text)?;
    if text.starts_with('-') {
        return Err(Error::invalid(field, "must not start with `-`: virsh would take it for an option"));
    }
    Ok(())
}

/// The pool and the name in a volume's id.
///
/// # Errors
/// `NotFound` for an id that no volume here can have, `InvalidInput` for a part that must not be sent.
pub(crate) fn volume(id: &VolumeId) -> Result<(&str, &str)> {
    let (pool, name) = id.as_str().split_once('/').ok_or_else(|| id.not_found())?;
    check("volume", pool)?;
    check("volume", name)?;
    Ok((pool, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_be_more_than_a_name_is_refused_by_field() {
        let long = "x".repeat(256);
        for bad in
            ["", "-", "--help", "-c", "a/b", "../x", "a\nb", "a\0b", "\u{7f}", ".", "..", long.as_str()]
        {
            let error = check("vm", bad).unwrap_err();
            assert!(error.fields().contains_key("vm"), "{bad:?}");
        }
        for good in ["web-01", "my web vm", "ü", "10", "a--b", "x'y"] {
            check("vm", good).unwrap();
        }
    }

    #[test]
    fn what_a_shell_would_read_is_refused() {
        for bad in
            ["/srv/$(id)", "/srv/a b", "/srv/a;b", "/srv/`id`", "srv", "/srv/../etc", "/srv/a\nb", "/srv/-x"]
        {
            assert!(check_plain_path("directory", bad).is_err(), "{bad:?}");
        }
        check_plain_path("directory", "/srv/templates_1.d/x").unwrap();
        assert!(check_xml("bridge", "a' onload='b").is_err());
    }

    #[test]
    fn a_volume_id_is_a_pool_and_a_name() {
        assert_eq!(volume(&"default/a.qcow2".into()).unwrap(), ("default", "a.qcow2"));
        assert!(volume(&"a.qcow2".into()).unwrap_err().is_not_found());
        for bad in ["/a", "default/", "default/a/b", "-p/a", "default/--all"] {
            assert!(volume(&bad.into()).unwrap_err().fields().contains_key("volume"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_name_is_an_option_or_a_path(name in "\\PC{0,12}|[-/.a\n]{0,6}") {
            if check("name", &name).is_ok() {
                prop_assert!(!name.starts_with('-') && !name.contains('/') && !name.contains('\n'));
            }
        }
    }
}
