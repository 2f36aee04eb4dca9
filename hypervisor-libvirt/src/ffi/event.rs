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
type Callback<T> = unsafe extern "C" fn(sys::virConnectPtr, *mut T, *mut c_void);
type DomainCallback = Callback<sys::virDomain>;

/// How libvirt takes callbacks for one kind of object, and how it gives them back.
struct Registry<T> {
    register: unsafe extern "C" fn(
        sys::virConnectPtr,
        *mut T,
        c_int,
        Option<Callback<T>>,
        *mut c_void,
        sys::virFreeCallback,
    ) -> Id,
    deregister: Deregister,
}

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
            // SAFETY: the callback has the signature that belongs to the event's number, which `domain_events` pairs.
            match unsafe { own.add(sink, DOMAINS, event, callback) } {
                Err(error) if event == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE => return Err(error),
                other => optional("a guest's", other),
            }
        }
        // SAFETY: lifecycles call back with a lifecycle's signature, a refresh with the plain one.
        unsafe {
            let event = sys::VIR_NETWORK_EVENT_ID_LIFECYCLE;
            optional("networks'", own.add(sink, NETWORKS, event, plain(network_lifecycle)));
            let event = sys::VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE;
            optional("pools'", own.add(sink, POOLS, event, plain(pool_lifecycle)));
            let event = sys::VIR_STORAGE_POOL_EVENT_ID_REFRESH;
            optional("pools'", own.add(sink, POOLS, event, pool_refresh));
            let event = sys::VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE;
            optional("devices'", own.add(sink, DEVICES, event, plain(device_lifecycle)));
        }
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

    /// Registers for an event of all objects of a kind.
    ///
    /// # Safety
    /// libvirt must call the callback for this event with what it takes.
    unsafe fn add<T>(
        &mut self,
        sink: &Sink,
        registry: Registry<T>,
        event: u32,
        callback: Callback<T>,
    ) -> Result<(), LibvirtError> {
        let (conn, event) = (self.conn.as_ptr(), c_int::try_from(event).unwrap_or(-1));
        let (id, error) = hand_over(sink, |opaque| {
            // SAFETY: the connection is alive; libvirt owns `opaque` until it calls `forget`; for the callback, the
            // caller's promise.
            unsafe { (registry.register)(conn, ptr::null_mut(), event, Some(callback), opaque, Some(forget)) }
        });
        match error {
            None => self.registered.push((registry.deregister, id)),
            Some(error) => return Err(error),
        }
        Ok(())
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

const DOMAINS: Registry<sys::virDomain> = Registry {
    register: sys::virConnectDomainEventRegisterAny,
    deregister: sys::virConnectDomainEventDeregisterAny,
};
const NETWORKS: Registry<sys::virNetwork> = Registry {
    register: sys::virConnectNetworkEventRegisterAny,
    deregister: sys::virConnectNetworkEventDeregisterAny,
};
const POOLS: Registry<sys::virStoragePool> = Registry {
    register: sys::virConnectStoragePoolEventRegisterAny,
    deregister: sys::virConnectStoragePoolEventDeregisterAny,
};
const DEVICES: Registry<sys::virNodeDevice> = Registry {
    register: sys::virConnectNodeDeviceEventRegisterAny,
    deregister: sys::virConnectNodeDeviceEventDeregisterAny,
};

/// A lifecycle's callback as libvirt takes all of them.
///
/// # Safety
/// It may be registered for a lifecycle only, for which libvirt calls it by its own signature.
unsafe fn plain<T>(callback: LifecycleOf<*mut T>) -> Callback<T> {
    // SAFETY: both are pointers to functions; for the call, the caller's promise.
    unsafe { transmute::<LifecycleOf<*mut T>, Callback<T>>(callback) }
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
