//! The Virtumancer dialect: one test for each endpoint and each message of its document, and what the servers do beyond it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod driver;
mod endpoints;
mod exchanges;
mod faults;
mod support;
mod websocket;
