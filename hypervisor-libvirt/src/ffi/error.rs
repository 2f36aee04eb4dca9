//! An error of libvirt's, with all that the library says about it.

use std::ffi::{CStr, c_char};

use virt_sys as sys;

/// An error of libvirt's: its numbers, its message, and the details that `virt` drops.
///
/// It is the source of the SDK's errors: `error.source()` downcasts to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (libvirt error {code}, domain {domain})")]
#[non_exhaustive]
pub struct LibvirtError {
    /// What went wrong: a `virErrorNumber`.
    pub code: u32,
    /// The part of libvirt that says so: a `virErrorDomain`.
    pub domain: u32,
    /// The reason in words.
    pub message: String,
    /// Details that depend on the code.
    pub details: Vec<String>,
}

impl LibvirtError {
    /// An error that libvirt itself did not report.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            code: sys::VIR_ERR_INTERNAL_ERROR,
            domain: sys::VIR_FROM_NONE,
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// The error that the last call of this thread left behind.
    pub(crate) fn last() -> Self {
        // SAFETY: the pointer is null, or points to this thread's error, which lives until the thread's next call.
        let Some(error) = (unsafe { sys::virGetLastError().as_ref() }) else {
            return Self::internal("libvirt reported a failure without saying which");
        };
        let details = [error.str1, error.str2, error.str3];
        Self {
            code: u32::try_from(error.code).unwrap_or(sys::VIR_ERR_INTERNAL_ERROR),
            domain: u32::try_from(error.domain).unwrap_or(sys::VIR_FROM_NONE),
            // SAFETY: null or a string of the error, which lives until the thread's next call.
            message: unsafe { text(error.message) }.unwrap_or_default(),
            // SAFETY: as above.
            details: details.into_iter().filter_map(|detail| unsafe { text(detail) }).collect(),
        }
    }

    /// Whether the connection is of no use any more, so that the next call needs a new one.
    pub(crate) fn is_disconnect(&self) -> bool {
        match self.code {
            sys::VIR_ERR_INVALID_CONN => true,
            sys::VIR_ERR_RPC => self.domain == sys::VIR_FROM_RPC,
            sys::VIR_ERR_SYSTEM_ERROR => self.domain == sys::VIR_FROM_RPC && !self.is_of_another_daemon(),
            sys::VIR_ERR_INTERNAL_ERROR => {
                const GONE: [&str; 3] = [
                    "connection closed due to keepalive timeout",
                    "hangup event on socket",
                    "error event on socket",
                ];
                self.was_not_sent() || GONE.iter().any(|text| self.message.contains(text))
            }
            _ => false,
        }
    }

    /// Whether our daemon answers, and could not reach the one that storage or networks have for themselves on newer hosts. While a
    /// connection is being opened, it is our own daemon that could not be reached.
    pub(crate) fn is_of_another_daemon(&self) -> bool {
        self.domain == sys::VIR_FROM_RPC && self.message.contains("Failed to connect socket to")
    }

    /// Whether the library has refused to send the call, because it knew that the socket is closed.
    pub(crate) fn was_not_sent(&self) -> bool {
        self.code == sys::VIR_ERR_INTERNAL_ERROR && self.message.contains("client socket is closed")
    }
}

impl From<virt::error::Error> for LibvirtError {
    fn from(error: virt::error::Error) -> Self {
        // `virt` keeps the number and the message only. The thread's error is still there when it is the same one.
        let last = Self::last();
        if last.message == error.message() {
            return last;
        }
        Self {
            code: error.code().to_raw(),
            domain: error.domain().to_raw(),
            message: error.message().to_owned(),
            details: Vec::new(),
        }
    }
}

/// A C string of libvirt's as an owned one; `None` for a null pointer.
///
/// # Safety
/// `pointer` is null, or points to a string that ends with a zero byte and lives during the call.
pub(super) unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller's promise.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// What a call that answers -1 on failure means.
pub(super) fn check(answer: std::ffi::c_int) -> Result<usize, LibvirtError> {
    usize::try_from(answer).map_err(|_| LibvirtError::last())
}

/// A Rust string for libvirt; one with a zero byte inside cannot be passed.
pub(super) fn c_string(value: &str) -> Result<std::ffi::CString, LibvirtError> {
    std::ffi::CString::new(value).map_err(|_| LibvirtError::internal("a zero byte inside a string"))
}

impl crate::blocking::CallError for LibvirtError {
    fn is_disconnect(&self) -> bool {
        Self::is_disconnect(self)
    }
}
