//! `hv`: virtual machines from the command line, on every hypervisor that the SDK knows.
//!
//! ```sh
//! cargo run --example hv --features libvirt,proxmox,client -- --url qemu:///system list
//! cargo install --path . --example hv --features libvirt,proxmox,client   # to keep it
//! ```

mod app;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
