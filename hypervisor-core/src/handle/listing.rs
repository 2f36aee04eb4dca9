use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};

use super::link::Link;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Cursors, Feature, Page, PageRequest, Unreachable};
use crate::operation::Operation;

/// A whole list, and the hosts that could not be asked for their part of it.
///
/// An empty `unreachable` means that the list is complete. Who cannot do with less than everything calls [`complete`](Self::complete).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listing<T> {
    /// The items of all pages.
    pub items: Vec<T>,
    /// The hosts whose objects are missing from `items`.
    #[serde(default = "Vec::new")]
    pub unreachable: Vec<Unreachable>,
}

impl<T> Listing<T> {
    /// The items, if no host was missing.
    ///
    /// # Errors
    /// `HostUnreachable` naming the hosts.
    pub fn complete(self) -> Result<Vec<T>> {
        if self.unreachable.is_empty() { Ok(self.items) } else { Err(missing(&self.unreachable)) }
    }

    /// Names further hosts that could not be asked, each reason once.
    pub(super) fn miss(&mut self, hosts: impl IntoIterator<Item = Unreachable>) {
        for host in hosts {
            if !self.unreachable.contains(&host) {
                self.unreachable.push(host);
            }
        }
    }

    /// Iterates over the items.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item. Not the same as "nothing exists": see [`unreachable`](Self::unreachable).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), unreachable: Vec::new() }
    }
}

/// A complete list.
impl<T> From<Vec<T>> for Listing<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, unreachable: Vec::new() }
    }
}

impl<T> IntoIterator for Listing<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listing<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

pub(super) fn missing(hosts: &[Unreachable]) -> Error {
    let hosts: Vec<String> = hosts.iter().map(|each| format!("{} ({})", each.host, each.reason)).collect();
    Error::new(ErrorKind::HostUnreachable, format!("the list lacks what is on {}", hosts.join(", ")))
}

/// How one page of a list is fetched.
pub(super) type Fetch<T> =
    Box<dyn Fn(Link, PageRequest) -> BoxFuture<'static, Result<Page<T>>> + Send + Sync>;

/// A list over all its pages.
pub(super) struct Pages<T> {
    link: Link,
    operation: Operation,
    needs: Vec<Feature>,
    fetch: Fetch<T>,
    next: Option<PageRequest>,
    seen: Cursors,
}

impl<T: Send + 'static> Pages<T> {
    pub(super) fn new(
        link: &Link,
        operation: Operation,
        fetch: impl Fn(Link, PageRequest) -> BoxFuture<'static, Result<Page<T>>> + Send + Sync + 'static,
    ) -> Self {
        let (next, seen) = (Some(PageRequest::first()), Cursors::default());
        Self { link: link.clone(), operation, needs: Vec::new(), fetch: Box::new(fetch), next, seen }
    }

    /// What the backend must be able to do besides.
    pub(super) fn needs(mut self, needs: Vec<Feature>) -> Self {
        self.needs = needs;
        self
    }

    async fn page(&mut self) -> Option<Result<Page<T>>> {
        let request = self.next.take()?;
        let call = (self.fetch)(self.link.clone(), request);
        let page = match self.link.call(self.operation, &self.needs, call).await {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        match self.seen.after(&page) {
            Ok(next) => self.next = next,
            Err(error) => return Some(Err(self.link.name(self.operation, error))),
        }
        Some(Ok(page))
    }

    /// Everything.
    pub(super) async fn all(mut self) -> Result<Listing<T>> {
        let mut listing = Listing::default();
        while let Some(page) = self.page().await {
            let page = page?;
            listing.items.extend(page.items);
            listing.miss(page.unreachable);
        }
        Ok(listing)
    }

    /// One item after the other; the hosts that could not be asked are the last item, as an error.
    pub(super) fn stream(self) -> BoxStream<'static, Result<T>> {
        let pages = stream::unfold((self, Vec::new(), false), |(mut pages, mut unreachable, ended)| {
            async move {
                if ended {
                    return None;
                }
                let (items, ended): (Vec<Result<T>>, bool) = match pages.page().await {
                    Some(Ok(page)) => {
                        unreachable.extend(page.unreachable);
                        (page.items.into_iter().map(Ok).collect(), false)
                    }
                    Some(Err(error)) => (vec![Err(error)], true),
                    None if unreachable.is_empty() => return None,
                    None => (vec![Err(pages.link.name(pages.operation, missing(&unreachable)))], true),
                };
                Some((stream::iter(items), (pages, unreachable, ended)))
            }
            .boxed()
        });
        pages.flatten().boxed()
    }
}

/// `list`, `page`, `all` and `stream` of a collection's handle.
macro_rules! lists {
    ($items:literal: $item:ty, $operation:ident, $method:ident $(, $query:ident: $query_type:ty)?) => {
        #[doc = concat!("The first page of the ", $items, ", of the backend's own size.")]
        ///
        /// # Errors
        /// As the backend gives them.
        pub async fn list(&self $(, $query: &$query_type)?) -> Result<Page<$item>> {
            self.page($($query,)? &PageRequest::first()).await
        }

        #[doc = concat!("One page of the ", $items, ".")]
        ///
        /// # Errors
        /// As the backend gives them.
        pub async fn page(&self $(, $query: &$query_type)?, page: &PageRequest) -> Result<Page<$item>> {
            self.link.call(Operation::$operation, &[], self.link.hv.$method($($query,)? page)).await
        }

        #[doc = concat!("All ", $items, ", with the hosts that could not be asked.")]
        ///
        /// # Errors
        /// As the backend gives them.
        pub async fn all(&self $(, $query: &$query_type)?) -> Result<Listing<$item>> {
            self.pages($($query)?).all().await
        }

        #[doc = concat!("All ", $items, ", one after the other, a page being fetched when it is needed. Hosts that could not be asked are the last item, as `HostUnreachable`.")]
        #[must_use]
        pub fn stream(&self $(, $query: &$query_type)?) -> BoxStream<'static, Result<$item>> {
            self.pages($($query)?).stream()
        }

        fn pages(&self $(, $query: &$query_type)?) -> Pages<$item> {
            $(let $query = $query.clone();)?
            Pages::new(&self.link, Operation::$operation, move |link, page| {
                $(let $query = $query.clone();)?
                async move { link.hv.$method($(&$query,)? &page).await }.boxed()
            })
        }
    };
}

pub(super) use lists;
