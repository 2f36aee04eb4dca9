//! One async, typed API over hypervisors.
