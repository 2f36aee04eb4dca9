//! What is sent to a Proxmox server and what its answers mean, without a connection.
//!
//! Decoding is tolerant: numbers may be strings, booleans are `0`, `1` or words, fields may be missing or `null`,
//! unknown ones are kept, and both the server's `{"data": …}` and a bare document are read.

pub mod agent;
pub mod backup;
pub mod cluster;
pub mod compute;
pub mod config;
pub mod envelope;
pub mod error;
pub mod form;
pub mod marks;
pub mod network;
pub mod node;
pub mod params;
pub mod pool;
pub mod property;
pub mod resources;
pub mod rrd;
pub mod scalar;
pub mod snapshot;
pub mod status;
pub mod storage;
pub mod task;
