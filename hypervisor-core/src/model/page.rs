//! Lists come in pages, and say what they could not see.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::id::HostId;
use super::macros::setters;
use crate::error::{Error, ErrorKind, Result};

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct PageRequest {
    /// The most items that the page may have; without it the backend's own limit.
    pub limit: Option<u32>,
    /// [`Page::next`] of the page before; without it the first page.
    pub cursor: Option<String>,
}

impl PageRequest {
    /// The first page, of the backend's own size.
    #[must_use]
    pub fn first() -> Self {
        Self::default()
    }

    setters! { opt limit: u32; opt_into cursor: String; }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Page<T> {
    /// The items, in an order that does not change from page to page.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last.
    #[serde(default)]
    pub next: Option<String>,
    /// How many items the whole list has, where the backend says.
    #[serde(default)]
    pub total: Option<u64>,
    /// The hosts that could not be asked: their objects are missing from `items`.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
}

/// The cursors of one list so far, so that a server that goes round in a circle is not followed for ever.
#[derive(Debug, Default)]
pub(crate) struct Cursors(BTreeSet<String>);

impl Cursors {
    /// The request for the page after this one; `None` on the last.
    ///
    /// # Errors
    /// `Protocol` for a page that was read before.
    pub(crate) fn after<T>(&mut self, page: &Page<T>) -> Result<Option<PageRequest>> {
        let Some(next) = &page.next else { return Ok(None) };
        if !self.0.insert(next.clone()) {
            let why = format!("the server gives the page `{}` again and again", next.escape_debug());
            return Err(Error::new(ErrorKind::Protocol, why));
        }
        Ok(Some(PageRequest::first().cursor(next)))
    }
}

/// A host that could not be asked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Unreachable {
    /// The host.
    pub host: HostId,
    /// What came instead of an answer.
    pub reason: String,
}

impl Unreachable {
    /// The host `host` could not be asked, for `reason`.
    pub fn new(host: impl Into<HostId>, reason: impl Into<String>) -> Self {
        Self { host: host.into(), reason: reason.into() }
    }
}

impl<T> Page<T> {
    /// The only page of a list.
    #[must_use]
    pub fn only(items: Vec<T>) -> Self {
        let total = u64::try_from(items.len()).ok();
        Self { items, next: None, total, unreachable: Vec::new() }
    }

    /// One page of several.
    #[must_use]
    pub fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next, total: None, unreachable: Vec::new() }
    }

    /// Cuts the page that `request` asks for out of the whole list, for backends that have no paging of their own.
    /// `key` must be unique and give the order; the cursor is the key of the last item seen, so that items which come and go
    /// between two pages neither repeat nor hide others.
    #[must_use]
    pub fn cut(mut all: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        all.sort_by_cached_key(&key);
        Self::cut_sorted(all, request, key)
    }

    /// The same as [`cut`](Self::cut) where the items hold their keys: nothing is copied, and a list in order stays as it
    /// is.
    #[must_use]
    pub fn cut_by(mut all: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> &str) -> Self {
        all.sort_by(|one, other| key(one).cmp(key(other)));
        Self::cut_sorted(all, request, |item| key(item).to_owned())
    }

    fn cut_sorted(mut all: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        let total = u64::try_from(all.len()).ok();
        if let Some(cursor) = &request.cursor {
            all.retain(|item| key(item) > *cursor);
        }
        let limit = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX).max(1);
        let next = if all.len() > limit {
            all.truncate(limit);
            all.last().map(key)
        } else {
            None
        };
        Self { items: all, next, total, unreachable: Vec::new() }
    }

    /// The same page of other items.
    #[must_use]
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
            total: self.total,
            unreachable: self.unreachable,
        }
    }

    /// Names the hosts that could not be asked.
    #[must_use]
    pub fn with_unreachable(mut self, unreachable: Vec<Unreachable>) -> Self {
        self.unreachable = unreachable;
        self
    }

    /// Sets the size of the whole list.
    #[must_use]
    pub fn with_total(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_circle_of_pages_is_not_followed() {
        let mut cursors = Cursors::default();
        let page = |next: &str| Page::new(vec![1], Some(next.to_owned()));
        assert_eq!(cursors.after(&page("a")).unwrap(), Some(PageRequest::first().cursor("a")));
        assert!(cursors.after(&page("b")).unwrap().is_some());
        assert_eq!(cursors.after(&page("a")).unwrap_err().kind(), ErrorKind::Protocol);
        assert_eq!(cursors.after(&Page::only(vec![1])).unwrap(), None);
    }

    proptest! {
        #[test]
        fn pages_add_up_to_the_list(mut all in proptest::collection::btree_set("[a-c]{1,4}", 0..40), limit in 0u32..7) {
            let mut seen = Vec::new();
            let mut request = PageRequest::first().limit(limit);
            loop {
                let page = Page::cut(all.iter().cloned().collect(), &request, Clone::clone);
                let held = Page::cut_by(all.iter().rev().cloned().collect(), &request, String::as_str);
                prop_assert_eq!(&held, &page);
                prop_assert_eq!(page.total, u64::try_from(all.len()).ok());
                seen.extend(page.items);
                match page.next { Some(next) => request.cursor = Some(next), None => break }
            }
            prop_assert!(seen.iter().cloned().eq(std::mem::take(&mut all)));
        }
    }
}
