//! The mark of a create: a tag with the guest's own number in it, so that a clone, which copies the tags, does not carry it.

use std::collections::BTreeSet;

const PREFIX: &str = "hv-ct.";

/// The tag that marks guest `vmid` with this token. Capitals are written `+a`, because the server may fold tags to lower case.
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

/// The tags of guest `vmid` without our marks, and its token.
#[must_use]
pub fn read_tags(vmid: u64, list: &str) -> (BTreeSet<String>, Option<String>) {
    let mut tags = super::status::tags(list);
    let own = format!("{PREFIX}{vmid}.");
    let token = tags.iter().find_map(|tag| tag.strip_prefix(&own)).map(|raw| {
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
    });
    tags.retain(|tag| !tag.starts_with(PREFIX));
    (tags, token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_inherit_the_mark() {
        let list = format!("web;{}", token_tag(100, "Job-7"));
        assert_eq!(read_tags(100, &list), (["web".to_owned()].into(), Some("Job-7".to_owned())));
        assert_eq!(read_tags(101, &list), (["web".to_owned()].into(), None));
    }
}
