//! The dialects: one folder for each gateway's document.

pub mod hypersdk;
pub mod v1;
pub mod virtualization_mcp;
pub mod virtumancer;
