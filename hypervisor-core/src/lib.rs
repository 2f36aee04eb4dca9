//! Domain types, traits, layers, in-memory backend and conformance suite of the `hypervisor` SDK.
