//! Benches beside peers and beside the least that would do: see `compare.rs`. Nothing here is for programs.
