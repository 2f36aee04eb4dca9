//! What libvirt has no place for, kept in the domain's `<metadata>` under a namespace of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::Element;

/// The namespace of our block.
pub(crate) const NAMESPACE: &str = "https://hypervisor-rs.dev/xmlns/libvirt/1";
/// Its usual prefix.
pub(crate) const PREFIX: &str = "hv";

/// Tags, metadata and marks of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) tags: BTreeSet<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) client_token: Option<String>,
    pub(crate) template: bool,
    pub(crate) created: Option<SystemTime>,
    /// The slot of the disk that is the guest's seed.
    pub(crate) seed: Option<String>,
}

impl Marks {
    /// The marks of a domain; none where there is no block of ours.
    pub(crate) fn read(domain: &Element) -> Self {
        let Some(block) =
            domain.child("metadata").and_then(|metadata| metadata.elements().find(|item| is_ours(item)))
        else {
            return Self::default();
        };
        let mut marks = Self::default();
        for item in block.elements() {
            let text = item.text().into_owned();
            match item.name.rsplit(':').next() {
                Some("tag") => drop(marks.tags.insert(text)),
                Some("entry") => {
                    if let Some(key) = item.attr("key") {
                        marks.metadata.insert(key.to_owned(), text);
                    }
                }
                Some("token") => marks.client_token = Some(text),
                Some("template") => marks.template = true,
                Some("seed") => marks.seed = Some(text),
                Some("created") => {
                    let seconds = text.parse().ok().map(Duration::from_secs);
                    marks.created = seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds));
                }
                _ => {}
            }
        }
        marks
    }

    /// Writes the marks into a domain, in the place of those that it has; others' metadata stays.
    pub(crate) fn write(&self, domain: &mut Element) {
        let metadata = domain.ensure("metadata");
        metadata.remove_where(is_ours);
        if *self == Self::default() {
            if metadata.children.is_empty() {
                domain.remove("metadata");
            }
            return;
        }
        metadata.push(self.block(&format!("{PREFIX}:")).with_attr(&format!("xmlns:{PREFIX}"), NAMESPACE));
    }

    /// The block without prefix and namespace, which libvirt adds; `None` where there is nothing to say.
    pub(crate) fn plain_block(&self) -> Option<Element> {
        (*self != Self::default()).then(|| self.block(""))
    }

    fn block(&self, prefix: &str) -> Element {
        let named = |name: &str| Element::new(format!("{prefix}{name}"));
        let mut block = named("guest");
        for tag in &self.tags {
            block.push(named("tag").with_text(tag));
        }
        for (key, value) in &self.metadata {
            block.push(named("entry").with_attr("key", key).with_text(value));
        }
        if let Some(token) = &self.client_token {
            block.push(named("token").with_text(token));
        }
        if self.template {
            block.push(named("template"));
        }
        let age = self.created.and_then(|created| created.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(age) = age {
            block.push(named("created").with_text(age.as_secs()));
        }
        if let Some(slot) = &self.seed {
            block.push(named("seed").with_text(slot));
        }
        block
    }
}

fn is_ours(element: &Element) -> bool {
    element.attributes.iter().any(|(name, value)| name.starts_with("xmlns") && value == NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_and_others_metadata_stays() {
        let mut domain = Element::parse(
            "<domain><metadata><x:app xmlns:x='urn:x'>keep</x:app></metadata><name>a</name></domain>",
        )
        .unwrap();
        let marks = Marks {
            tags: ["web".into(), "prod".into()].into(),
            metadata: [("owner".into(), "a & b".into())].into(),
            client_token: Some("t-1".into()),
            template: true,
            created: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_700_000_000)),
            seed: Some("vdb".into()),
        };
        marks.write(&mut domain);
        let mut domain = Element::parse(&domain.to_string()).unwrap();
        assert_eq!(Marks::read(&domain), marks);
        marks.write(&mut domain);
        assert_eq!(domain.all("metadata/hv:guest").len(), 1);
        Marks::default().write(&mut domain);
        assert_eq!(Marks::read(&domain), Marks::default());
        assert_eq!(domain.text_at("metadata/x:app").as_deref(), Some("keep"));
    }

    #[test]
    fn an_empty_block_is_not_written() {
        let mut domain = Element::new("domain");
        Marks::default().write(&mut domain);
        assert_eq!(domain.to_string(), "<domain/>");
    }
}
