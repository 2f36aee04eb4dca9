//! The dialects: one folder for each gateway's document.

pub mod v1;
