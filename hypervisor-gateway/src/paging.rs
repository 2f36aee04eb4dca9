//! Lists in pages: by offset as the document has it, by the backend's own cursor for those who ask for the model alone.

use std::collections::BTreeSet;

use hypervisor_core::model::{Page, PageRequest, Unreachable};
use hypervisor_core::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::problem::{Problem, Result};

const DEFAULT: u32 = 50;
const MOST: u32 = 200;
const MOST_NATIVE: u32 = 1000;
/// More than so many items are not gathered for a sorted list; whoever has more pages through `view=native`.
const MOST_GATHERED: usize = 100_000;

/// Where a page lies in its list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Pagination {
    pub(crate) total: Option<u64>,
    limit: u64,
    offset: u64,
    pages: Option<u64>,
    current_page: u64,
    has_next: bool,
    has_previous: bool,
    next_cursor: Option<String>,
    previous_cursor: Option<String>,
}

/// Which page is wanted.
pub(crate) struct Wanted {
    limit: u32,
    limited: bool,
    offset: u64,
    cursor: Option<String>,
}

impl Wanted {
    pub(crate) fn read(call: &Call) -> Result<Self> {
        let most = if call.native() { MOST_NATIVE } else { MOST };
        let limit: Option<u32> = call.parsed("limit")?;
        if limit.is_some_and(|limit| limit == 0 || limit > most) {
            let given = limit.unwrap_or_default();
            let why = format!("must be from 1 to {most}");
            return Err(Problem::invalid("limit", why).detail("provided_value", given));
        }
        let mut offset: u64 = call.parsed("offset")?.unwrap_or(0);
        let cursor = call.text("cursor").map(str::to_owned);
        if let (false, Some(cursor)) = (call.native(), &cursor) {
            let place = cursor.strip_prefix("offset-").and_then(|place| place.parse().ok());
            offset =
                place.ok_or_else(|| Problem::invalid("cursor", "is not one that this list has given"))?;
        }
        let default = if call.native() { MOST_NATIVE } else { DEFAULT };
        Ok(Self { limit: limit.unwrap_or(default), limited: limit.is_some(), offset, cursor })
    }

    /// The same page of the backend's own list.
    pub(crate) fn request(&self) -> PageRequest {
        let mut request = PageRequest::first();
        if self.limited {
            request = request.limit(self.limit);
        }
        request.cursor.clone_from(&self.cursor);
        request
    }

    pub(crate) fn limit(&self) -> i64 {
        i64::from(self.limit)
    }

    pub(crate) fn offset(&self) -> i64 {
        i64::try_from(self.offset).unwrap_or(i64::MAX)
    }

    pub(crate) fn of_page<T>(&self, page: &Page<T>) -> Pagination {
        Pagination {
            total: page.total,
            limit: self.limit.into(),
            offset: self.offset,
            pages: None,
            current_page: 1,
            has_next: page.next.is_some(),
            has_previous: self.cursor.is_some(),
            next_cursor: page.next.clone(),
            previous_cursor: None,
        }
    }

    pub(crate) fn of_total(&self, total: u64) -> Pagination {
        let limit = u64::from(self.limit);
        let end = self.offset.saturating_add(limit);
        let cursor = |place: u64| format!("offset-{place}");
        Pagination {
            total: Some(total),
            limit,
            offset: self.offset,
            pages: Some(total.div_ceil(limit)),
            current_page: self.offset / limit + 1,
            has_next: end < total,
            has_previous: self.offset > 0,
            next_cursor: (end < total).then(|| cursor(end)),
            previous_cursor: (self.offset > 0).then(|| cursor(self.offset.saturating_sub(limit))),
        }
    }

    /// Cuts the page out of the whole list.
    pub(crate) fn cut<T>(&self, all: Vec<T>) -> (Vec<T>, Pagination) {
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let take = usize::try_from(self.limit).unwrap_or(usize::MAX);
        (all.into_iter().skip(skip).take(take).collect(), self.of_total(total))
    }
}

/// A model that lists show: itself alone, or within the document's object, which borrows from it.
pub(crate) trait Viewed: Serialize {
    type Item<'a>: Serialize
    where
        Self: 'a;

    fn key(&self) -> &str;
    fn item(&self) -> Self::Item<'_>;
}

/// Items that are made while they are written.
pub(crate) struct Rows<'a, T, F>(&'a [T], F);

impl<'a, T, V, F: Fn(&'a T) -> V> Rows<'a, T, F> {
    pub(crate) fn new(items: &'a [T], row: F) -> Self {
        Self(items, row)
    }
}

impl<'a, T, V: Serialize, F: Fn(&'a T) -> V> Serialize for Rows<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// `{"<key>": items, "pagination": …, "unreachable": …}`
pub(crate) struct Listed<'a, I> {
    pub(crate) key: &'static str,
    pub(crate) items: I,
    pub(crate) pagination: Pagination,
    pub(crate) unreachable: &'a [Unreachable],
}

impl<I: Serialize> Serialize for Listed<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry(self.key, &self.items)?;
        map.serialize_entry("pagination", &self.pagination)?;
        map.serialize_entry("unreachable", self.unreachable)?;
        map.end()
    }
}

/// An item of a list that holds only the model.
#[derive(Serialize)]
pub(crate) struct Bare<'a, T> {
    pub(crate) id: &'a str,
    pub(crate) info: &'a T,
}

/// All pages of a list.
pub(crate) async fn every<T, F, Fut>(fetch: F) -> hypervisor_core::Result<(Vec<T>, Vec<Unreachable>)>
where
    F: Fn(PageRequest) -> Fut,
    Fut: Future<Output = hypervisor_core::Result<Page<T>>>,
{
    let (mut all, mut unreachable, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut request = PageRequest::first();
    loop {
        let page = fetch(request).await?;
        all.extend(page.items);
        for host in page.unreachable {
            if !unreachable.contains(&host) {
                unreachable.push(host);
            }
        }
        let Some(next) = page.next else { return Ok((all, unreachable)) };
        if !seen.insert(next.clone()) {
            return Err(Error::new(ErrorKind::Protocol, "the backend gives the same page again and again"));
        }
        if all.len() >= MOST_GATHERED {
            let why = format!("the list has more than {MOST_GATHERED} items");
            return Err(Error::new(ErrorKind::Exhausted, why).with_hint("Page through it with view=native"));
        }
        request = PageRequest::first().cursor(next);
    }
}

/// A list: `sort` is the document's order; `view=native` has the backend's, and of each item only its id and the model.
pub(crate) async fn list<T, F, Fut>(
    call: &Call,
    key: &'static str,
    sort: impl FnOnce(&mut Vec<T>),
    fetch: F,
) -> Reply
where
    T: Viewed + Send + 'static,
    F: Fn(PageRequest) -> Fut,
    Fut: Future<Output = hypervisor_core::Result<Page<T>>>,
{
    let wanted = Wanted::read(call)?;
    if call.native() {
        let page = fetch(wanted.request()).await?;
        let pagination = wanted.of_page(&page);
        let items = Rows::new(&page.items, |info| Bare { id: info.key(), info });
        let listed = Listed { key, items, pagination, unreachable: &page.unreachable };
        return Ok(Answer::list(&listed, page.items.len())?.with_rest(page.items));
    }
    let (mut all, unreachable) = every(fetch).await?;
    sort(&mut all);
    let (page, pagination) = wanted.cut(all);
    let items = Rows::new(&page, T::item);
    Answer::list(&Listed { key, items, pagination, unreachable: &unreachable }, page.len())
}
