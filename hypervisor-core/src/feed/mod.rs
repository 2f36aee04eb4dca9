//! Events where the server has none, and events of many servers in one stream.
//!
//! - [`Poller`] gives a driver whose server only answers questions the [`Events`](crate::Events) trait: one look at all guests serves every
//!   reader, and what differs from the look before is an event.
//! - [`merge`] makes one feed of several backends and says of each whether it is heard from.

mod diff;
mod merge;
mod poll;
#[cfg(test)]
mod tests;

pub use merge::{Health, MergedStream, SourceEvent, merge};
pub use poll::{Pace, Poller};
