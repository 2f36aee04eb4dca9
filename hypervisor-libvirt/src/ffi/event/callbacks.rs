//! What libvirt calls, on the thread of its event loop.

use std::ffi::{c_char, c_int, c_void};
use std::mem::transmute;
use std::panic::{AssertUnwindSafe, catch_unwind};

use virt_sys as sys;

use super::super::error::text;
use super::super::params::field;
use super::{DomainCallback, Signal, Told};

/// Hands a signal to who listens. A panic must not run into C.
///
/// # Safety
/// `opaque` came from `hand_over` and is not freed before this returns, which libvirt promises for its callbacks.
unsafe fn tell(opaque: *mut c_void, signal: impl FnOnce() -> Option<Signal>) {
    // SAFETY: the caller's promise.
    let Some(told) = (unsafe { opaque.cast::<Told>().as_ref() }) else { return };
    let told = AssertUnwindSafe(|| signal().into_iter().for_each(|signal| (told.sink)(signal)));
    if catch_unwind(told).is_err() {
        tracing::error!("an event was lost: its listener panicked");
    }
}

/// A domain's UUID, which its handle holds.
///
/// # Safety
/// `domain` is a living domain.
unsafe fn uuid(domain: sys::virDomainPtr) -> Option<String> {
    let mut buffer = [0; sys::VIR_UUID_STRING_BUFLEN as usize];
    // SAFETY: the caller's promise; the buffer has the length that libvirt asks for.
    let known = unsafe { sys::virDomainGetUUIDString(domain, buffer.as_mut_ptr()) } >= 0;
    known.then(|| field(&buffer))
}

/// Tells that a domain has changed.
///
/// # Safety
/// As for [`tell`] and [`uuid`].
unsafe fn tell_change(domain: sys::virDomainPtr, opaque: *mut c_void, what: impl FnOnce() -> String) {
    // SAFETY: the caller's promise.
    unsafe { tell(opaque, || Some(Signal::Changed { uuid: uuid(domain)?, what: what() })) }
}

/// The events of guests that we ask for, each with a callback of the signature that libvirt uses for it.
pub(super) fn domain_events() -> [(sys::virDomainEventID, DomainCallback); 8] {
    type Conn = sys::virConnectPtr;
    type Domain = sys::virDomainPtr;
    type Text = *const c_char;
    type Own = *mut c_void;
    // SAFETY: libvirt takes all callbacks as one type and calls each by the signature of its event's number. The types
    // written out here are those signatures.
    unsafe {
        let with_text =
            |callback| transmute::<unsafe extern "C" fn(Conn, Domain, Text, Own), DomainCallback>(callback);
        [
            (
                sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                transmute::<LifecycleOf<Domain>, DomainCallback>(domain_lifecycle),
            ),
            (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, with_text(device_added)),
            (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, with_text(device_removed)),
            (
                sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                transmute::<unsafe extern "C" fn(Conn, Domain, c_int, Text, Own), DomainCallback>(metadata),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
                transmute::<unsafe extern "C" fn(Conn, Domain, c_int, c_int, Own), DomainCallback>(agent),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
                transmute::<unsafe extern "C" fn(Conn, Domain, Text, c_int, c_int, Own), DomainCallback>(
                    block_job,
                ),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_DISK_CHANGE,
                transmute::<unsafe extern "C" fn(Conn, Domain, Text, Text, Text, c_int, Own), DomainCallback>(
                    disk_change,
                ),
            ),
            (
                sys::VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
                transmute::<unsafe extern "C" fn(Conn, Domain, Text, c_int, Own), DomainCallback>(tray),
            ),
        ]
    }
}

/// The callback of a lifecycle: the object, the event, its detail.
pub(super) type LifecycleOf<T> =
    unsafe extern "C" fn(sys::virConnectPtr, T, event: c_int, detail: c_int, *mut c_void);

unsafe extern "C" fn domain_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt's promise for a callback: the domain and `opaque` live until it returns.
    unsafe {
        tell(opaque, || {
            let (event, detail) = (u32::try_from(event).ok()?, u32::try_from(detail).unwrap_or_default());
            Some(Signal::Lifecycle { uuid: uuid(domain)?, event, detail })
        });
    }
}

unsafe extern "C" fn device_added(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as above; `alias` is a string that lives until we return.
    unsafe { tell_change(domain, opaque, || format!("device added: {}", text(alias).unwrap_or_default())) }
}

unsafe extern "C" fn device_removed(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { tell_change(domain, opaque, || format!("device removed: {}", text(alias).unwrap_or_default())) }
}

unsafe extern "C" fn metadata(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { tell_change(domain, opaque, || "metadata".into()) }
}

unsafe extern "C" fn agent(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    state: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    let connected = u32::try_from(state) == Ok(sys::VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED);
    let what = if connected { "agent connected" } else { "agent disconnected" };
    // SAFETY: as above.
    unsafe { tell_change(domain, opaque, || what.into()) }
}

unsafe extern "C" fn block_job(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    disk: *const c_char,
    _: c_int,
    status: c_int,
    opaque: *mut c_void,
) {
    let status = match u32::try_from(status) {
        Ok(sys::VIR_DOMAIN_BLOCK_JOB_COMPLETED) => "completed",
        Ok(sys::VIR_DOMAIN_BLOCK_JOB_FAILED) => "failed",
        Ok(sys::VIR_DOMAIN_BLOCK_JOB_CANCELED) => "cancelled",
        Ok(sys::VIR_DOMAIN_BLOCK_JOB_READY) => "ready",
        _ => "changed",
    };
    // SAFETY: as above; `disk` is a string that lives until we return.
    unsafe {
        tell_change(domain, opaque, || format!("block job {status}: {}", text(disk).unwrap_or_default()));
    }
}

unsafe extern "C" fn disk_change(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    _: *const c_char,
    alias: *const c_char,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { tell_change(domain, opaque, || format!("disk changed: {}", text(alias).unwrap_or_default())) }
}

unsafe extern "C" fn tray(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    alias: *const c_char,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { tell_change(domain, opaque, || format!("tray moved: {}", text(alias).unwrap_or_default())) }
}

pub(super) unsafe extern "C" fn network_lifecycle(
    _: sys::virConnectPtr,
    network: sys::virNetworkPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above; the name belongs to the handle.
    unsafe { tell(opaque, || text(sys::virNetworkGetName(network)).map(Signal::Network)) }
}

pub(super) unsafe extern "C" fn pool_lifecycle(
    conn: sys::virConnectPtr,
    pool: sys::virStoragePoolPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { pool_refresh(conn, pool, opaque) }
}

pub(super) unsafe extern "C" fn pool_refresh(
    _: sys::virConnectPtr,
    pool: sys::virStoragePoolPtr,
    opaque: *mut c_void,
) {
    // SAFETY: as above; the name belongs to the handle.
    unsafe { tell(opaque, || text(sys::virStoragePoolGetName(pool)).map(Signal::Pool)) }
}

pub(super) unsafe extern "C" fn device_lifecycle(
    _: sys::virConnectPtr,
    _: sys::virNodeDevicePtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { tell(opaque, || Some(Signal::Device)) }
}

pub(super) unsafe extern "C" fn closed(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    let reason = match u32::try_from(reason) {
        Ok(sys::VIR_CONNECT_CLOSE_REASON_EOF) => "the daemon closed it",
        Ok(sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE) => "the daemon answered no keepalive",
        Ok(sys::VIR_CONNECT_CLOSE_REASON_CLIENT) => "it was closed here",
        _ => "an error on its socket",
    };
    // SAFETY: as above.
    unsafe { tell(opaque, || Some(Signal::Closed(reason))) }
}
