//! Events where the server has none, and events of many servers in one stream.
//!
//! - [`Poller`] gives a driver whose server only answers questions the [`Events`](crate::Events) trait: one look at all guests serves every
//!   reader, and what differs from the look before is an event.
//! - [`merge`] makes one feed of several backends and says of each whether it is heard from. Of one backend,
//!   `hypervisor.follow_events(query)` gives a stream that goes on.

mod diff;
mod keep;
mod merge;
mod poll;
#[cfg(test)]
mod tests;

pub(crate) use keep::keep;
pub use merge::{Health, MergedStream, SourceEvent, merge};
pub use poll::{Pace, Poller};
