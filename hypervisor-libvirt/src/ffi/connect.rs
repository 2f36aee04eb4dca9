//! Opening with credentials, bulk statistics, and the host's counters.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ops::Deref;
use std::ptr;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, c_string, check};
use super::params::{DomainStats, Param, Params, field};

/// A connection that is closed when it is dropped, which [`Connect`] is not.
#[derive(Debug)]
pub(crate) struct Connection(Connect);

impl Connection {
    /// One more hold on an open connection, which stays open until all are given up.
    pub(crate) fn share(conn: &Connect) -> Self {
        Self(conn.clone())
    }
}

impl Deref for Connection {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            tracing::debug!(%error, "a libvirt connection did not close");
        }
    }
}

impl crate::blocking::Connection for Connection {
    fn looks_alive(&self) -> bool {
        // Local: it looks at the socket's state, and asks nobody.
        self.is_alive().unwrap_or(false)
    }
}

/// What SASL asks for.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

/// Opens a connection, with credentials where there are some. Nothing is ever asked on a terminal.
pub(crate) fn open(
    uri: &str,
    read_only: bool,
    credentials: Option<&Credentials>,
) -> Result<Connection, LibvirtError> {
    virt::error::clear_error_callback();
    // Before the first connection of the process; one that has none works all the same, but tells no events.
    if let Err(why) = super::start_event_loop() {
        tracing::debug!(why, "libvirt's events are not to be had");
    }
    let name = c_string(uri)?;
    let mut kinds = [
        sys::VIR_CRED_USERNAME,
        sys::VIR_CRED_AUTHNAME,
        sys::VIR_CRED_PASSPHRASE,
        sys::VIR_CRED_NOECHOPROMPT,
    ]
    .map(|kind| c_int::try_from(kind).unwrap_or_default());
    let mut auth = sys::virConnectAuth {
        credtype: kinds.as_mut_ptr(),
        ncredtype: c_uint::try_from(kinds.len()).unwrap_or_default(),
        cb: Some(answer),
        cbdata: credentials.map_or(ptr::null_mut(), |known| ptr::from_ref(known).cast_mut().cast::<c_void>()),
    };
    let flags = if read_only { sys::VIR_CONNECT_RO } else { 0 };
    // SAFETY: `name`, `kinds`, `auth` and `credentials` live until the call returns, and libvirt keeps none of them.
    let connection = unsafe { sys::virConnectOpenAuth(name.as_ptr(), &raw mut auth, flags) };
    if connection.is_null() {
        return Err(LibvirtError::last());
    }
    // SAFETY: a new reference, given to us; `Connection` gives it back on drop.
    Ok(Connection(unsafe { Connect::from_ptr(connection) }))
}

/// libvirt asks for credentials. Answers -1, which fails the opening, when there are none for a question.
unsafe extern "C" fn answer(asked: sys::virConnectCredentialPtr, count: c_uint, data: *mut c_void) -> c_int {
    // SAFETY: `data` is the pointer that `open` gave, to credentials that outlive the opening, or null.
    let Some(known) = (unsafe { data.cast::<Credentials>().as_ref() }) else { return -1 };
    let Ok(count) = usize::try_from(count) else { return -1 };
    if asked.is_null() {
        return -1;
    }
    // SAFETY: libvirt passes `count` questions, ours alone until we return.
    for question in unsafe { std::slice::from_raw_parts_mut(asked, count) } {
        let reply = match sys::virConnectCredentialType::try_from(question.type_) {
            Ok(sys::VIR_CRED_USERNAME | sys::VIR_CRED_AUTHNAME) => known.username.as_str(),
            Ok(sys::VIR_CRED_PASSPHRASE | sys::VIR_CRED_NOECHOPROMPT) => known.password.expose_secret(),
            _ => return -1,
        };
        let (Ok(reply), Ok(length)) = (c_string(reply), c_uint::try_from(reply.len())) else { return -1 };
        // SAFETY: `reply` ends with a zero byte; libvirt frees the copy, which `strdup` makes with its own allocator.
        question.result = unsafe { libc::strdup(reply.as_ptr()) };
        question.resultlen = length;
    }
    0
}

/// What the bulk call says of domains, freed when it is dropped, all of it, which is what `virt` forgets.
#[derive(Debug)]
pub(crate) struct Records {
    first: *mut sys::virDomainStatsRecordPtr,
    count: usize,
}

impl Drop for Records {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: the array came from libvirt and ends with a null; borrows of its records have ended.
            unsafe { sys::virDomainStatsRecordListFree(self.first) };
        }
    }
}

impl Records {
    /// One record for each domain.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let list = match self.first.is_null() {
            true => &[],
            // SAFETY: libvirt's array of so many records, which lives as long as `self`.
            false => unsafe { std::slice::from_raw_parts(self.first, self.count) },
        };
        // SAFETY: each entry is null or points to a record of the array.
        list.iter().filter_map(|record| unsafe { record.as_ref() }).map(Record)
    }
}

/// What the bulk call says of one domain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a>(&'a sys::virDomainStatsRecord);

impl Record<'_> {
    /// The domain's UUID, which its handle holds.
    pub(crate) fn uuid(&self) -> Option<Uuid> {
        let mut uuid = uuid::Bytes::default();
        // SAFETY: the record holds a reference to its domain; the buffer has the length of a UUID.
        let got = unsafe { sys::virDomainGetUUID(self.0.dom, uuid.as_mut_ptr()) };
        (got == 0).then(|| Uuid::from_bytes(uuid))
    }

    /// The domain's name, which its handle holds.
    pub(crate) fn name(&self) -> Option<&str> {
        // SAFETY: the record holds a reference to its domain, whose name lives as long as it does.
        let name = unsafe {
            let name = sys::virDomainGetName(self.0.dom);
            if name.is_null() { None } else { Some(CStr::from_ptr(name)) }
        };
        name?.to_str().ok()
    }

    /// The domain's state and the reason for it: a `virDomainState` and its detail. Copies nothing else.
    pub(crate) fn state(&self) -> (i32, i32) {
        let (mut state, mut reason) = (0, 0);
        for param in self.params() {
            if param.type_ != c_int::try_from(sys::VIR_TYPED_PARAM_INT).unwrap_or_default() {
                continue;
            }
            // SAFETY: libvirt ends names with a zero byte; the type says that it wrote an integer.
            let (name, value) = unsafe { (CStr::from_ptr(param.field.as_ptr()), param.value.i) };
            match name.to_bytes() {
                b"state.state" => state = value,
                b"state.reason" => reason = value,
                _ => {}
            }
        }
        (state, reason)
    }

    /// The domain itself, without asking the daemon for it.
    pub(crate) fn domain(&self) -> Result<Domain, LibvirtError> {
        // SAFETY: the record's reference keeps the domain alive; the new one is the handle's, which gives it back.
        unsafe {
            check(sys::virDomainRef(self.0.dom))?;
            Ok(Domain::from_ptr(self.0.dom))
        }
    }

    fn params(&self) -> &[sys::virTypedParameter] {
        match self.0.params.is_null() {
            true => &[],
            // SAFETY: the record has as many parameters as it says, and they live as long as it does.
            false => unsafe {
                std::slice::from_raw_parts(self.0.params, usize::try_from(self.0.nparams).unwrap_or_default())
            },
        }
    }

    /// All that it says, copied.
    fn stats(&self) -> Option<DomainStats> {
        // SAFETY: libvirt filled as many parameters as the record says.
        let values =
            unsafe { Params::copy(self.0.params, usize::try_from(self.0.nparams).unwrap_or_default()) };
        Some(DomainStats { uuid: self.uuid()?.to_string(), name: self.name()?.to_owned(), values })
    }
}

/// What libvirt says of all domains, in one call. `groups` is a set of `VIR_DOMAIN_STATS_*`.
///
/// A domain that is at work on a job is reported with what is known without waiting.
pub(crate) fn all_records(conn: &Connect, groups: c_uint) -> Result<Records, LibvirtError> {
    let mut first = ptr::null_mut();
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    // SAFETY: the connection is alive while borrowed; `first` receives an array that `Records` frees.
    let mut count = unsafe { sys::virConnectGetAllDomainStats(conn.as_ptr(), groups, &raw mut first, flags) };
    if count < 0 && LibvirtError::last().code == sys::VIR_ERR_INVALID_ARG {
        // A driver that does not know the flag (the test driver).
        // SAFETY: as above; a failed call leaves no array.
        count = unsafe { sys::virConnectGetAllDomainStats(conn.as_ptr(), groups, &raw mut first, 0) };
    }
    check(count).map(|count| Records { first, count })
}

/// The statistics of all domains, in one call, as [`all_records`] has them.
pub(crate) fn all_stats(conn: &Connect, groups: c_uint) -> Result<Vec<DomainStats>, LibvirtError> {
    Ok(all_records(conn, groups)?.iter().filter_map(|record| record.stats()).collect())
}

/// The statistics of some domains, in one call.
pub(crate) fn list_stats(domains: &[Domain], groups: c_uint) -> Result<Vec<DomainStats>, LibvirtError> {
    if domains.is_empty() {
        return Ok(Vec::new());
    }
    let mut pointers: Vec<sys::virDomainPtr> = domains.iter().map(Domain::as_ptr).collect();
    pointers.push(ptr::null_mut());
    let mut first = ptr::null_mut();
    // SAFETY: the pointers are of living domains and the list ends with a null; `first` is freed by `Records`.
    let count = unsafe { sys::virDomainListGetStats(pointers.as_mut_ptr(), groups, &raw mut first, 0) };
    let records = check(count).map(|count| Records { first, count })?;
    Ok(records.iter().filter_map(|record| record.stats()).collect())
}

/// The host's CPU time since boot in nanoseconds: `kernel`, `user`, `idle`, `iowait`.
pub(crate) fn node_cpu(conn: &Connect) -> Result<Params, LibvirtError> {
    let all = sys::VIR_NODE_CPU_STATS_ALL_CPUS;
    let mut count: c_int = 0;
    // SAFETY: a null array with a count of zero asks for the count.
    check(unsafe { sys::virNodeGetCPUStats(conn.as_ptr(), all, ptr::null_mut(), &raw mut count, 0) })?;
    let mut values =
        vec![sys::virNodeCPUStats { field: [0; 80], value: 0 }; usize::try_from(count).unwrap_or_default()];
    // SAFETY: the array has room for `count` entries, which libvirt does not exceed.
    check(unsafe { sys::virNodeGetCPUStats(conn.as_ptr(), all, values.as_mut_ptr(), &raw mut count, 0) })?;
    let filled = usize::try_from(count).unwrap_or_default();
    Ok(values.iter().take(filled).map(|item| (field(&item.field), Param::Uint(item.value))).collect())
}

/// The host's memory in KiB: `total`, `free`, `buffers`, `cached`.
pub(crate) fn node_memory(conn: &Connect) -> Result<Params, LibvirtError> {
    let all: c_int = sys::VIR_NODE_MEMORY_STATS_ALL_CELLS;
    let mut count: c_int = 0;
    // SAFETY: a null array with a count of zero asks for the count.
    check(unsafe { sys::virNodeGetMemoryStats(conn.as_ptr(), all, ptr::null_mut(), &raw mut count, 0) })?;
    let mut values = vec![
        sys::virNodeMemoryStats { field: [0; 80], value: 0 };
        usize::try_from(count).unwrap_or_default()
    ];
    // SAFETY: the array has room for `count` entries, which libvirt does not exceed.
    check(unsafe { sys::virNodeGetMemoryStats(conn.as_ptr(), all, values.as_mut_ptr(), &raw mut count, 0) })?;
    let filled = usize::try_from(count).unwrap_or_default();
    Ok(values.iter().take(filled).map(|item| (field(&item.field), Param::Uint(item.value))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::error::text;
    use super::*;
    use std::ffi::c_char;

    #[test]
    fn bulk_statistics_of_the_test_driver() {
        let conn = open("test:///default", false, None).unwrap();
        let stats = all_stats(&conn, sys::VIR_DOMAIN_STATS_STATE).unwrap();
        let test = stats.iter().find(|stats| stats.name == "test").unwrap();
        assert_eq!(test.values.u64("state.state"), Some(1));
        assert_eq!(test.uuid.len(), 36);
        let domain = Domain::lookup_by_uuid_string(&conn, &test.uuid).unwrap();
        let one = list_stats(&[domain], sys::VIR_DOMAIN_STATS_STATE).unwrap();
        assert_eq!(one.first().unwrap().uuid, test.uuid);
        assert!(list_stats(&[], 0).unwrap().is_empty());
        let records = all_records(&conn, sys::VIR_DOMAIN_STATS_STATE).unwrap();
        let record = records.iter().find(|record| record.uuid().unwrap().to_string() == test.uuid).unwrap();
        assert_eq!((record.state().0, record.name()), (1, Some("test")));
        let domain = record.domain().unwrap();
        drop(records);
        assert_eq!(domain.get_name().unwrap(), "test", "the handle outlives the records");
    }

    #[test]
    fn host_cpu_of_the_test_driver() {
        let conn = open("test:///default", true, None).unwrap();
        assert!(node_cpu(&conn).unwrap().u64("idle").is_some());
        let error = node_memory(&conn).unwrap_err();
        assert_eq!(error.code, sys::VIR_ERR_NO_SUPPORT);
    }

    #[test]
    fn a_dropped_connection_is_closed() {
        let connection = open("test:///default", false, None).unwrap();
        let mut other = Connect::clone(&connection);
        drop(connection);
        // What is left is the number of references that are still held.
        assert_eq!(other.close().unwrap(), 0);
    }

    #[test]
    fn a_failed_opening_says_why() {
        let error = open("test:///no/such/file.xml", false, None).unwrap_err();
        assert!(error.message.contains("/no/such/file.xml"), "{error}");
        assert!(open("test:///a\0b", false, None).unwrap_err().message.contains("zero byte"));
    }

    #[test]
    fn credentials_are_given_for_what_is_asked() {
        let known = Credentials { username: "ann".into(), password: "s3cret".into() };
        let ask = |kind: sys::virConnectCredentialType, known: *mut c_void| {
            let mut question = sys::virConnectCredential {
                type_: c_int::try_from(kind).unwrap(),
                prompt: ptr::null(),
                challenge: ptr::null(),
                defresult: ptr::null(),
                result: ptr::null_mut(),
                resultlen: 0,
            };
            // SAFETY: one question, and credentials that live in this test.
            let outcome = unsafe { answer(&raw mut question, 1, known) };
            // SAFETY: null, or the copy that `strdup` made, which is freed once.
            let reply = unsafe {
                let reply = text(question.result.cast_const().cast::<c_char>());
                libc::free(question.result.cast());
                reply
            };
            (outcome, reply)
        };
        let data = ptr::from_ref(&known).cast_mut().cast::<c_void>();
        assert_eq!(ask(sys::VIR_CRED_AUTHNAME, data), (0, Some("ann".into())));
        assert_eq!(ask(sys::VIR_CRED_PASSPHRASE, data), (0, Some("s3cret".into())));
        assert_eq!(ask(sys::VIR_CRED_REALM, data).0, -1);
        assert_eq!(ask(sys::VIR_CRED_PASSPHRASE, ptr::null_mut()).0, -1);
    }
}
