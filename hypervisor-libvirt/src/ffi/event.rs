//! Registering for a connection's events.
//!
//! libvirt calls back on the thread of the event loop. What it says is copied into a [`Signal`] and handed to a [`Sink`],
//! which must not block and must not call libvirt.

mod callbacks;

use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virt_sys as sys;

use self::callbacks::{
    LifecycleOf, closed, device_lifecycle, domain_events, network_lifecycle, pool_lifecycle, pool_refresh,
};
use super::connect::Connection;
use super::error::LibvirtError;

/// What a connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A guest has begun or ended something: a `virDomainEventType` and its detail.
    Lifecycle { uuid: String, event: u32, detail: u32 },
    /// A guest's definition or devices have changed.
    Changed { uuid: String, what: String },
    /// A network, by its name.
    Network(String),
    /// A pool, by its name.
    Pool(String),
    /// A device of the host has come or gone.
    Device,
    /// The connection is lost.
    Closed(&'static str),
}

/// Who listens.
pub(crate) type Sink = Arc<dyn Fn(Signal) + Send + Sync>;

/// What libvirt keeps for us with a registration.
struct Told {
    sink: Sink,
    /// Set when it is freed, so that it is freed once whatever libvirt does on a failed registration.
    freed: Arc<AtomicBool>,
}

type Id = c_int;
type Deregister = unsafe extern "C" fn(sys::virConnectPtr, Id) -> c_int;
type DomainCallback = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);

/// The registrations on a connection, which it keeps open; a connection has one of them at a time. Dropping it takes them
/// back, which asks the daemon and may block.
pub(crate) struct Listener {
    conn: Connection,
    registered: Vec<(Deregister, Id)>,
    hears_close: bool,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("registered", &self.registered.len()).finish_non_exhaustive()
    }
}

impl Listener {
    /// Registers for all that the driver tells. The lifecycle of guests is needed, the rest is taken where it is there.
    pub(crate) fn new(conn: &Connection, sink: &Sink) -> Result<Self, LibvirtError> {
        let mut own = Self { conn: Connection::share(conn), registered: Vec::new(), hears_close: false };
        for (event, callback) in domain_events() {
            let outcome = own.add(sink, sys::virConnectDomainEventDeregisterAny, |conn, opaque| {
                // SAFETY: the connection is alive; libvirt owns `opaque` until it calls `forget`; the callback has the
                // signature that belongs to the event's number, which `domain_events` pairs.
                unsafe {
                    let event = c_int::try_from(event).unwrap_or(-1);
                    let none = ptr::null_mut();
                    sys::virConnectDomainEventRegisterAny(
                        conn,
                        none,
                        event,
                        Some(callback),
                        opaque,
                        Some(forget),
                    )
                }
            });
            match outcome {
                Err(error) if event == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE => return Err(error),
                other => optional("a guest's", other),
            }
        }
        optional("networks'", own.add_networks(sink));
        for refresh in [false, true] {
            optional("pools'", own.add_pools(sink, refresh));
        }
        optional("devices'", own.add_devices(sink));
        // The driver inside this process takes the callback and forgets it: it would never be freed.
        if conn.get_type().is_ok_and(|driver| driver != "TEST") {
            own.add_close(sink);
        }
        // A hint only: where nothing is on its way, a host that is gone is noticed by libvirt itself.
        if let Err(error) = conn.set_keep_alive(5, 3) {
            tracing::debug!(%error, "no keepalive on the connection for events");
        }
        Ok(own)
    }

    /// The connection that the events come from.
    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    fn add(
        &mut self,
        sink: &Sink,
        deregister: Deregister,
        register: impl FnOnce(sys::virConnectPtr, *mut c_void) -> Id,
    ) -> Result<(), LibvirtError> {
        let (id, error) = hand_over(sink, |opaque| register(self.conn.as_ptr(), opaque));
        match error {
            None => self.registered.push((deregister, id)),
            Some(error) => return Err(error),
        }
        Ok(())
    }

    fn add_networks(&mut self, sink: &Sink) -> Result<(), LibvirtError> {
        let event = c_int::try_from(sys::VIR_NETWORK_EVENT_ID_LIFECYCLE).unwrap_or(-1);
        self.add(sink, sys::virConnectNetworkEventDeregisterAny, |conn, opaque| {
            // SAFETY: as for guests; a network's lifecycle calls back with `network_lifecycle`'s signature.
            unsafe {
                let callback = transmute::<
                    LifecycleOf<sys::virNetworkPtr>,
                    unsafe extern "C" fn(sys::virConnectPtr, sys::virNetworkPtr, *mut c_void),
                >(network_lifecycle);
                let none = ptr::null_mut();
                sys::virConnectNetworkEventRegisterAny(
                    conn,
                    none,
                    event,
                    Some(callback),
                    opaque,
                    Some(forget),
                )
            }
        })
    }

    fn add_pools(&mut self, sink: &Sink, refresh: bool) -> Result<(), LibvirtError> {
        let event = match refresh {
            true => sys::VIR_STORAGE_POOL_EVENT_ID_REFRESH,
            false => sys::VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
        };
        let event = c_int::try_from(event).unwrap_or(-1);
        self.add(sink, sys::virConnectStoragePoolEventDeregisterAny, |conn, opaque| {
            // SAFETY: as for guests; a pool's lifecycle calls back with `pool_lifecycle`'s signature, its refresh with the
            // plain one.
            unsafe {
                let callback = match refresh {
                    true => pool_refresh,
                    false => transmute::<
                        LifecycleOf<sys::virStoragePoolPtr>,
                        unsafe extern "C" fn(sys::virConnectPtr, sys::virStoragePoolPtr, *mut c_void),
                    >(pool_lifecycle),
                };
                let none = ptr::null_mut();
                sys::virConnectStoragePoolEventRegisterAny(
                    conn,
                    none,
                    event,
                    Some(callback),
                    opaque,
                    Some(forget),
                )
            }
        })
    }

    fn add_devices(&mut self, sink: &Sink) -> Result<(), LibvirtError> {
        let event = c_int::try_from(sys::VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE).unwrap_or(-1);
        self.add(sink, sys::virConnectNodeDeviceEventDeregisterAny, |conn, opaque| {
            // SAFETY: as for guests; a device's lifecycle calls back with `device_lifecycle`'s signature.
            unsafe {
                let callback = transmute::<
                    LifecycleOf<sys::virNodeDevicePtr>,
                    unsafe extern "C" fn(sys::virConnectPtr, sys::virNodeDevicePtr, *mut c_void),
                >(device_lifecycle);
                let none = ptr::null_mut();
                sys::virConnectNodeDeviceEventRegisterAny(
                    conn,
                    none,
                    event,
                    Some(callback),
                    opaque,
                    Some(forget),
                )
            }
        })
    }

    fn add_close(&mut self, sink: &Sink) {
        let conn = self.conn.as_ptr();
        let (_, error) = hand_over(sink, |opaque| {
            // SAFETY: the connection is alive; libvirt owns `opaque` until it calls `forget`.
            unsafe { sys::virConnectRegisterCloseCallback(conn, Some(closed), opaque, Some(forget)) }
        });
        self.hears_close = error.is_none();
        optional("the connection's", error.map_or(Ok(()), Err));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let conn = self.conn.as_ptr();
        for (deregister, id) in self.registered.drain(..) {
            // A connection that is lost answers with an error, and has forgotten the callback all the same.
            // SAFETY: `id` came from the registration that belongs to `deregister`, on this connection, which is alive.
            if unsafe { deregister(conn, id) } < 0 {
                tracing::debug!(error = %LibvirtError::last(), "an event could not be deregistered");
            }
        }
        if self.hears_close {
            // SAFETY: the connection is alive; one that was closed has forgotten the callback, and answers with an error.
            unsafe { sys::virConnectUnregisterCloseCallback(conn, Some(closed)) };
        }
    }
}

fn optional(whose: &str, outcome: Result<(), LibvirtError>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the driver does not tell of {whose} events");
    }
}

/// Makes what libvirt keeps and hands it over; takes it back when libvirt does not want it.
fn hand_over(sink: &Sink, register: impl FnOnce(*mut c_void) -> Id) -> (Id, Option<LibvirtError>) {
    let freed = Arc::new(AtomicBool::new(false));
    let told = Box::into_raw(Box::new(Told { sink: Arc::clone(sink), freed: Arc::clone(&freed) }));
    let id = register(told.cast());
    if id >= 0 {
        return (id, None);
    }
    let error = LibvirtError::last();
    if !freed.load(Ordering::Acquire) {
        // SAFETY: libvirt refused it and has not freed it, which the flag says; nobody else knows the pointer.
        unsafe { forget(told.cast()) };
    }
    (id, Some(error))
}

/// libvirt is done with a registration.
unsafe extern "C" fn forget(opaque: *mut c_void) {
    // SAFETY: made by `hand_over`, and given up by libvirt just now.
    let told = unsafe { Box::from_raw(opaque.cast::<Told>()) };
    told.freed.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use virt::domain::Domain;

    use super::super::open;
    use super::*;

    type Weak = std::sync::Weak<dyn Fn(Signal) + Send + Sync>;

    fn listen(conn: &Connection) -> (Listener, Receiver<Signal>, Weak) {
        let (sender, receiver) = channel();
        let sink: Sink = Arc::new(move |signal| drop(sender.send(signal)));
        let weak = Arc::downgrade(&sink);
        (Listener::new(conn, &sink).unwrap(), receiver, weak)
    }

    #[test]
    fn the_test_driver_tells_of_guests_and_networks() {
        let file = std::env::temp_dir().join(format!("hv-ffi-{}.xml", uuid::Uuid::new_v4()));
        std::fs::write(&file, "<node><network><name>n</name></network></node>").unwrap();
        let conn = open(&format!("test://{}", file.display()), false, None).unwrap();
        std::fs::remove_file(&file).unwrap();
        let (listener, signals, sink) = listen(&conn);
        let next = || signals.recv_timeout(Duration::from_secs(5)).unwrap();
        let xml = "<domain type='test'><name>a</name><memory>8192</memory><os><type>hvm</type></os></domain>";
        let domain = Domain::define_xml(&conn, xml).unwrap();
        let own = domain.get_uuid_string().unwrap();
        let lifecycle = |event| Signal::Lifecycle { uuid: own.clone(), event, detail: 0 };
        assert_eq!(next(), lifecycle(sys::VIR_DOMAIN_EVENT_DEFINED));
        domain.create().unwrap();
        assert_eq!(next(), lifecycle(sys::VIR_DOMAIN_EVENT_STARTED));
        virt::network::Network::lookup_by_name(&conn, "n").unwrap().destroy().unwrap();
        assert_eq!(next(), Signal::Network("n".into()));
        drop(listener);
        // The boxes are given up by the loop's thread.
        for _ in 0..500 {
            if sink.strong_count() == 0 {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        assert_eq!(sink.strong_count(), 0, "a registration was not freed");
        domain.destroy().unwrap();
        assert!(signals.recv_timeout(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn a_listener_that_panics_harms_nobody() {
        let conn = open("test:///default", false, None).unwrap();
        let sink: Sink = Arc::new(|_| panic!("as asked"));
        let _listener = Listener::new(&conn, &sink).unwrap();
        // The driver's state is shared by all connections to this URI.
        let other = open("test:///default", false, None).unwrap();
        let (_other, signals, _) = listen(&other);
        Domain::lookup_by_name(&conn, "test").unwrap().suspend().unwrap();
        let suspended = |signal: &Signal| {
            matches!(signal, Signal::Lifecycle { event: sys::VIR_DOMAIN_EVENT_SUSPENDED, .. })
        };
        while !suspended(&signals.recv_timeout(Duration::from_secs(5)).unwrap()) {}
        Domain::lookup_by_name(&conn, "test").unwrap().resume().unwrap();
    }

    #[test]
    fn a_connection_has_one_listener_at_a_time() {
        let conn = open("test:///default", false, None).unwrap();
        let first = listen(&conn);
        let sink: Sink = Arc::new(|_| {});
        assert!(Listener::new(&conn, &sink).is_err());
        assert_eq!(Arc::strong_count(&sink), 1, "a refused registration was not freed");
        drop(first);
        drop(Listener::new(&conn, &sink).unwrap());
        let mut last = virt::connect::Connect::clone(&conn);
        drop(conn);
        assert_eq!(last.close().unwrap(), 0, "a listener that is gone holds the connection");
    }
}
