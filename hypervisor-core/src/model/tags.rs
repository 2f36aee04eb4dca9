//! The tags of a guest in a list.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

static NONE: BTreeSet<String> = BTreeSet::new();

/// The tags of a guest: read and changed as the set that they are, but clones share it until one of them is changed. Of ten thousand guests
/// in a list most have the same few tags.
///
/// ```
/// use hypervisor_core::model::Tags;
/// let mut tags: Tags = ["web", "prod"].into_iter().collect();
/// let before = tags.clone();
/// tags.insert("new".to_owned());
/// assert!(tags.contains("web") && tags.len() == 3 && before.len() == 2);
/// ```
#[derive(Clone, Default)]
pub struct Tags(Option<Arc<BTreeSet<String>>>);

impl Tags {
    /// The tags as a set of one's own.
    #[must_use]
    pub fn into_set(self) -> BTreeSet<String> {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default()
    }
}

impl Deref for Tags {
    type Target = BTreeSet<String>;

    fn deref(&self) -> &BTreeSet<String> {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Tags {
    fn deref_mut(&mut self) -> &mut BTreeSet<String> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for Tags {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Tags {}

impl PartialEq<BTreeSet<String>> for Tags {
    fn eq(&self, other: &BTreeSet<String>) -> bool {
        **self == *other
    }
}

impl From<BTreeSet<String>> for Tags {
    fn from(tags: BTreeSet<String>) -> Self {
        Self((!tags.is_empty()).then(|| Arc::new(tags)))
    }
}

impl From<Tags> for BTreeSet<String> {
    fn from(tags: Tags) -> Self {
        tags.into_set()
    }
}

impl<T: Into<String>> FromIterator<T> for Tags {
    fn from_iter<I: IntoIterator<Item = T>>(tags: I) -> Self {
        tags.into_iter().map(Into::into).collect::<BTreeSet<String>>().into()
    }
}

impl IntoIterator for Tags {
    type Item = String;
    type IntoIter = std::collections::btree_set::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_set().into_iter()
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a String;
    type IntoIter = std::collections::btree_set::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Tags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeSet::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Tags {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        BTreeSet::<String>::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeSet::<String>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_set_until_one_is_changed() {
        let tags: Tags = ["a", "b"].into_iter().collect();
        let mut other = tags.clone();
        assert!(std::ptr::eq(&raw const *tags, &raw const *other));
        other.remove("a");
        assert_eq!((tags.len(), other.into_set()), (2, ["b".to_owned()].into()));
        assert_eq!(serde_json::to_string(&tags).unwrap(), r#"["a","b"]"#);
        assert_eq!(serde_json::from_str::<Tags>(r#"["b","a"]"#).unwrap(), tags);
        assert_eq!(serde_json::to_string(&Tags::default()).unwrap(), "[]");
    }
}
