//! The envelope around every answer: `{"success", "data", "error", "message", "meta"}`.

use std::fmt;
use std::marker::PhantomData;

use hypervisor_core::model::Unreachable;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// What is around an answer's data.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
pub(crate) struct Envelope<T> {
    #[serde(default)]
    pub(crate) success: Option<bool>,
    #[serde(default = "none")]
    pub(crate) data: Option<T>,
    #[serde(default)]
    pub(crate) error: Option<Failure>,
    #[serde(default)]
    pub(crate) meta: Option<Meta>,
}

const fn none<T>() -> Option<T> {
    None
}

/// What the gateway says about the call itself. Which of it is there differs from route to route.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Meta {
    /// By which the gateway's log knows the request.
    #[serde(default)]
    pub request_id: Option<String>,
    /// When it answered.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub execution_time_ms: Option<f64>,
    /// Which model generated something.
    #[serde(default)]
    pub ai_model: Option<String>,
    /// How many tokens that took.
    #[serde(default)]
    pub tokens_used: Option<u64>,
    /// What else it says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Why a call failed.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Failure {
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) details: Value,
    #[serde(default)]
    pub(crate) native: Option<Value>,
}

/// The name of what is wanted of `data`.
pub(crate) trait Key {
    const NAME: &'static str;
}

/// Names of what answers carry.
pub(crate) mod key {
    macro_rules! keys {
        ($($name:ident = $text:literal;)*) => { $(
            #[derive(Debug)]
            pub(crate) struct $name;

            impl super::Key for $name {
                const NAME: &'static str = $text;
            }
        )* };
    }

    keys! {
        Access = "access"; Addresses = "addresses"; Cluster = "cluster"; Config = "config"; Count = "count";
        Generated = "generated_code"; Group = "group"; History = "history"; Host = "host"; Job = "job"; Leases = "leases";
        Log = "log"; Metrics = "metrics"; Network = "network"; Output = "output"; Pool = "pool"; Results = "results";
        Scan = "scan"; Snapshot = "snapshot"; Started = "started"; Tree = "tree"; Vm = "vm"; Volume = "volume";
        Webhook = "webhook";
    }
}

/// One entry of `data`; the others are passed over.
pub(crate) struct Keyed<K, T>(pub(crate) T, PhantomData<K>);

impl<'de, K: Key, T: Deserialize<'de>> Deserialize<'de> for Keyed<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry<K, T>(PhantomData<(K, T)>);

        impl<'de, K: Key, T: Deserialize<'de>> Visitor<'de> for Entry<K, T> {
            type Value = Keyed<K, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object with `{}`", K::NAME)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == K::NAME && found.is_none() {
                        found = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                let found = found.ok_or_else(|| serde::de::Error::missing_field(K::NAME))?;
                Ok(Keyed(found, PhantomData))
            }
        }

        deserializer.deserialize_map(Entry(PhantomData))
    }
}

/// A list with its paging. The list is under the plural of what it is of, or under `items`; the document has both.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    pub(crate) pagination: Option<Pagination>,
    pub(crate) unreachable: Vec<Unreachable>,
}

/// The names under which lists come, but for `items`.
const LISTS: [&str; 16] = [
    "vms",
    "networks",
    "pools",
    "storage_pools",
    "storage",
    "backups",
    "jobs",
    "snapshots",
    "hosts",
    "volumes",
    "groups",
    "metrics",
    "webhooks",
    "scans",
    "tokens",
    "items",
];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Page<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Page<T> {
            type Value = Listed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Listed { items, pagination: None, unreachable: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut items, mut pagination, mut unreachable) = (None::<Vec<T>>, None, None);
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "pagination" => pagination = map.next_value::<Option<Pagination>>()?,
                        "unreachable" => unreachable = map.next_value::<Option<Vec<Unreachable>>>()?,
                        name if LISTS.contains(&name) && items.is_none() => {
                            items = Some(map.next_value::<Option<Vec<T>>>()?.unwrap_or_default());
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let items = items.ok_or_else(|| serde::de::Error::missing_field("items"))?;
                Ok(Listed { items, pagination, unreachable: unreachable.unwrap_or_default() })
            }
        }

        deserializer.deserialize_any(Page(PhantomData))
    }
}

/// How a list is cut into pages. The short form has the first five fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Pagination {
    /// How many items the whole list has.
    pub total: Option<u64>,
    /// How many a page has at most.
    pub limit: Option<u64>,
    /// How many came before this page.
    pub offset: Option<u64>,
    /// How many pages there are.
    pub pages: Option<u64>,
    /// Which one this is, from 1.
    pub current_page: Option<u64>,
    /// Whether one follows.
    pub has_next: Option<bool>,
    /// Whether one came before.
    pub has_previous: Option<bool>,
    /// By which the next one is asked for.
    pub next_cursor: Option<String>,
    /// By which the one before is asked for.
    pub previous_cursor: Option<String>,
}

impl Pagination {
    /// Where the page after this one of `here` items starts, where there is one.
    pub(crate) fn next_offset(&self, here: usize) -> Option<u64> {
        let here = u64::try_from(here).ok().filter(|here| *here > 0)?;
        let next = self.offset.unwrap_or_default().checked_add(here)?;
        let more = self.has_next.or_else(|| self.total.map(|total| next < total));
        more.unwrap_or(false).then_some(next)
    }
}

/// A row of a list that carries the whole model.
#[derive(Debug, Deserialize)]
pub(crate) struct Native<T> {
    pub(crate) info: T,
}
