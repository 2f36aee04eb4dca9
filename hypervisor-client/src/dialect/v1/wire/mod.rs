//! What goes over the wire, without a server: answers into records and infos, specs into bodies.

pub(crate) mod backup;
pub(crate) mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod job;
pub(crate) mod lenient;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod own;
pub(crate) mod pool;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod vm;
pub(crate) mod vm_body;
