//! The recorded facts that lie beside the repository, where they are present.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part, and fails by panicking")]

use std::io::{Read, Write};
use std::path::PathBuf;

use serde_json::Value;

/// The folder, or `None` with a loud word about it.
pub(crate) fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HYPERVISOR_REFERENCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference")),
        PathBuf::from,
    );
    let pve = folder.join("pve");
    if pve.is_dir() {
        return Some(pve);
    }
    // Past the capture of the test harness, which shows nothing of tests that pass.
    let said = format!("SKIPPED: {test}: {} not present\n", pve.display());
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    None
}

/// A compressed JSON document of the folder.
pub(crate) fn unpacked(folder: &std::path::Path, name: &str) -> Value {
    let file = std::fs::File::open(folder.join(name)).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The recorded exchanges.
pub(crate) fn exchanges(folder: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("corpus.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
