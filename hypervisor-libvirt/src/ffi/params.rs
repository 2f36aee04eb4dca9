//! libvirt's typed parameters as an owned map.

use std::ffi::{CStr, c_int};
use std::ptr;

use virt_sys as sys;

use super::error::{LibvirtError, c_string, check, text};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Param {
    Int(i64),
    Uint(u64),
    Double(f64),
    Bool(bool),
    Text(String),
}

/// Named values, as libvirt's statistics come: a few dozen at most, and made anew for every guest, so that a list is faster than a map.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Params(Vec<(String, Param)>);

impl Params {
    fn get(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A count; a negative one counts as absent.
    pub(crate) fn u64(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Param::Uint(value) => Some(*value),
            Param::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A signed number.
    pub(crate) fn i64(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Param::Int(value) => Some(*value),
            Param::Uint(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Param::Text(value) => Some(value),
            _ => None,
        }
    }

    /// Copies `count` parameters that start at `first`; they stay libvirt's.
    ///
    /// # Safety
    /// `first` is null, or points to `count` parameters that libvirt filled.
    pub(super) unsafe fn copy(first: *const sys::virTypedParameter, count: usize) -> Self {
        if first.is_null() {
            return Self::default();
        }
        // SAFETY: the caller's promise; the length cannot overflow, libvirt allocated the array.
        let items = unsafe { std::slice::from_raw_parts(first, count) };
        Self(items.iter().filter_map(|item| Some((field(&item.field), value(item)?))).collect())
    }
}

impl FromIterator<(String, Param)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, Param)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

/// A name in a fixed array, up to its zero byte.
pub(super) fn field(name: &[std::ffi::c_char]) -> String {
    let mut bytes = Vec::with_capacity(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    bytes.extend(name.iter().map(|byte| byte.to_ne_bytes()).map(|[byte]| byte).take_while(|byte| *byte != 0));
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn value(item: &sys::virTypedParameter) -> Option<Param> {
    let kind = sys::virTypedParameterType::try_from(item.type_).ok()?;
    let of = &item.value;
    // SAFETY: `type_` says which member of the union libvirt wrote.
    let value = unsafe {
        match kind {
            sys::VIR_TYPED_PARAM_INT => Param::Int(i64::from(of.i)),
            sys::VIR_TYPED_PARAM_UINT => Param::Uint(u64::from(of.ui)),
            sys::VIR_TYPED_PARAM_LLONG => Param::Int(of.l),
            sys::VIR_TYPED_PARAM_ULLONG => Param::Uint(of.ul),
            sys::VIR_TYPED_PARAM_DOUBLE => Param::Double(of.d),
            sys::VIR_TYPED_PARAM_BOOLEAN => Param::Bool(of.b != 0),
            sys::VIR_TYPED_PARAM_STRING => Param::Text(text(of.s)?),
            _ => return None,
        }
    };
    Some(value)
}

/// Parameters for a call, freed with it. `virt`'s own leak their strings.
#[derive(Debug)]
pub(super) struct ParamList {
    first: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Default for ParamList {
    fn default() -> Self {
        Self { first: ptr::null_mut(), count: 0, room: 0 }
    }
}

impl Drop for ParamList {
    fn drop(&mut self) {
        // SAFETY: null, or an array that libvirt allocated and whose `count` entries it filled; freed once.
        unsafe { sys::virTypedParamsFree(self.first, self.count) };
    }
}

impl ParamList {
    /// Adds a text.
    pub(super) fn add_text(&mut self, name: &CStr, value: &str) -> Result<(), LibvirtError> {
        let value = c_string(value)?;
        let (first, count, room) = (&raw mut self.first, &raw mut self.count, &raw mut self.room);
        // SAFETY: the three belong together and are libvirt's to change; it copies both strings.
        let added =
            unsafe { sys::virTypedParamsAddString(first, count, room, name.as_ptr(), value.as_ptr()) };
        check(added).map(drop)
    }

    /// Adds a number.
    pub(super) fn add_u64(&mut self, name: &CStr, value: u64) -> Result<(), LibvirtError> {
        let (first, count, room) = (&raw mut self.first, &raw mut self.count, &raw mut self.room);
        // SAFETY: the three belong together and are libvirt's to change; it copies the name.
        check(unsafe { sys::virTypedParamsAddULLong(first, count, room, name.as_ptr(), value) }).map(drop)
    }

    /// The array and its length, for a call that only reads it.
    pub(super) fn raw(&self) -> (sys::virTypedParameterPtr, c_int) {
        (self.first, self.count)
    }
}

/// The statistics of one domain.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DomainStats {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) values: Params,
}
