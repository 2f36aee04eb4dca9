//! What a token may do.

use crate::problem::{Problem, Result};

/// The nouns of permissions; each has `:read` and `:write`.
pub(crate) const NOUNS: &[&str] = &[
    "vm",
    "host",
    "storage",
    "network",
    "snapshot",
    "backup",
    "job",
    "monitoring",
    "guest",
    "group",
    "webhook",
    "token",
    "security",
    "ai",
    "batch",
];

/// Whether permissions cover one: it itself, `<noun>:*`, or `*`.
pub(crate) fn covers(permissions: &[String], wanted: &str) -> bool {
    let noun = wanted.split(':').next().unwrap_or_default();
    permissions
        .iter()
        .any(|has| has == "*" || has == wanted || has.strip_suffix(":*").is_some_and(|all_of| all_of == noun))
}

/// Refuses what is no permission.
pub(crate) fn check(permission: &str) -> Result<()> {
    let known = permission == "*"
        || permission
            .split_once(':')
            .is_some_and(|(noun, verb)| NOUNS.contains(&noun) && matches!(verb, "read" | "write" | "*"));
    if known {
        return Ok(());
    }
    let shown = permission.escape_debug();
    Err(Problem::invalid(
        "permissions",
        format!(
            "`{shown}` is neither `*` nor `<noun>:read` or `<noun>:write` with one of {}",
            NOUNS.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_covers_itself_and_stars_cover_more() {
        let has = |permissions: &[&str], wanted: &str| {
            covers(&permissions.iter().map(|each| (*each).to_owned()).collect::<Vec<_>>(), wanted)
        };
        assert!(has(&["vm:read"], "vm:read"));
        assert!(!has(&["vm:read"], "vm:write"));
        assert!(!has(&["vm:write"], "vm:read"));
        assert!(has(&["vm:*"], "vm:write") && !has(&["vm:*"], "host:read"));
        assert!(has(&["*"], "token:write"));
        assert!(!has(&[], "vm:read"));
        assert!(check("vm:read").is_ok() && check("*").is_ok() && check("vm:*").is_ok());
        assert!(check("vm").is_err() && check("cat:read").is_err() && check("vm:pet").is_err());
    }
}
