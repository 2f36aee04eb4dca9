//! The one thread of the process that runs libvirt's event loop.
//!
//! libvirt has one event loop for the whole process. It is registered once, before the first connection that is to use
//! it, and cannot be taken back; from then on it has to run, because connections answer the daemon's keepalive questions
//! from it and the daemon drops whoever does not answer. So it starts with the first connection, whether or not anybody
//! watches. The thread sleeps in `poll` while nothing comes, is woken by libvirt itself when a connection or a timer is
//! added, is never joined, and so keeps no process from ending.
//!
//! A program that has registered an event loop of its own before keeps it: libvirt ignores the second one, and the events
//! come from the program's loop. libvirt's own loop runs GLib's default context, which a program with a GLib main loop
//! shares with it.

use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use virt_sys as sys;

use super::error::LibvirtError;

/// How long to wait after the loop has failed, so that a lasting failure does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

static LOOP: OnceLock<Result<(), String>> = OnceLock::new();

/// Starts the loop, unless it runs already. Why it does not run, where it cannot.
pub(crate) fn start_event_loop() -> Result<(), &'static str> {
    LOOP.get_or_init(start).as_ref().copied().map_err(String::as_str)
}

fn start() -> Result<(), String> {
    let (sender, receiver) = sync_channel(1);
    let body = move || {
        // Registered by the thread that runs it: without a thread there must be no registration.
        // SAFETY: plain calls without arguments; libvirt guards its own initialisation.
        let registered = unsafe { sys::virInitialize() >= 0 && sys::virEventRegisterDefaultImpl() >= 0 };
        if !registered {
            drop(sender.send(Err(LibvirtError::last().to_string())));
            return;
        }
        drop(sender.send(Ok(())));
        loop {
            // SAFETY: registered above, and this thread alone runs the loop.
            if unsafe { sys::virEventRunDefaultImpl() } < 0 {
                tracing::warn!(error = %LibvirtError::last(), "libvirt's event loop failed once");
                thread::park_timeout(AFTER_FAILURE);
            }
        }
    };
    let spawned = thread::Builder::new().name("hv-libvirt-events".into()).spawn(body);
    spawned.map_err(|error| format!("no thread for libvirt's event loop: {error}"))?;
    receiver.recv().unwrap_or_else(|_| Err("the thread of libvirt's event loop ended".into()))
}
