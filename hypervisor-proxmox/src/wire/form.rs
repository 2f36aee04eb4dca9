//! What is sent: form bodies, queries and paths.

use std::fmt;

use hypervisor_core::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Kept as they are; the server decodes everything else. It splits bodies at `;` as well as at `&`.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// In volume ids the server takes `/`, `:` and `@` as they are.
const SEGMENT: &AsciiSet = &VALUE.remove(b':').remove(b'@').remove(b'!');

/// Parameters in their order. Booleans are `1` and `0`, which is all that the server takes; a list is a repeated key.
///
/// `Debug` shows no value of a parameter that may be a secret.
///
/// ```
/// use hypervisor_proxmox::wire::form::Form;
/// let form = Form::new().text("tags", "a;b").flag("onboot", true).number("cores", 2);
/// assert_eq!(form.encode(), "tags=a%3Bb&onboot=1&cores=2");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a parameter; one that is there keeps its place.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Sets a parameter to a text.
    #[must_use]
    pub fn text(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a parameter to a text, if there is one.
    #[must_use]
    pub fn maybe(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// Sets a switch.
    #[must_use]
    pub fn flag(self, key: &str, on: bool) -> Self {
        self.text(key, if on { "1" } else { "0" })
    }

    /// Sets a switch that is off by default, if it is on.
    #[must_use]
    pub fn flag_if(self, key: &str, on: bool) -> Self {
        if on { self.flag(key, true) } else { self }
    }

    /// Sets a number.
    #[must_use]
    pub fn number(self, key: &str, value: u64) -> Self {
        self.text(key, value.to_string())
    }

    /// Adds an array: the key once for each item.
    #[must_use]
    pub fn each(mut self, key: &str, items: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.extend(items.into_iter().map(|item| (key.to_owned(), item.into())));
        self
    }

    /// Takes a parameter away.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a form body, or as a query without its `?`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        for (key, value) in self.iter() {
            if !out.is_empty() {
                out.push('&');
            }
            out.extend(utf8_percent_encode(key, VALUE));
            out.push('=');
            out.extend(utf8_percent_encode(value, VALUE));
        }
        out
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(key, value)| {
            let secret =
                ["password", "secret", "ticket", "key", "content", "input-data", "otp", "env", "command"];
            if secret.iter().any(|word| key.contains(word)) { (key, "***") } else { (key, value) }
        });
        f.debug_map().entries(shown).finish()
    }
}

/// A value for use inside a value that the server decodes once more (`sshkeys`).
#[must_use]
pub fn encoded_text(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

/// The other way round.
#[must_use]
pub fn decoded_text(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// An id as one part of a path.
///
/// The server decodes a path before it splits it, so an encoded slash still leads elsewhere: such ids are refused.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn segment(field: &str, id: &str) -> Result<String> {
    if id.contains('/') {
        return Err(Error::invalid(field, format!("`{}` must not have a slash", id.escape_debug())));
    }
    path_text(field, id)
}

/// A volume id as the end of a path; it may have slashes.
///
/// # Errors
/// `InvalidInput` naming `field`.
pub fn volume_segment(field: &str, id: &str) -> Result<String> {
    let leads_away = id.split(['/', ':']).any(|part| part == "." || part == "..");
    if leads_away || id.split('/').any(str::is_empty) {
        return Err(Error::invalid(field, format!("`{}` is no volume id", id.escape_debug())));
    }
    path_text(field, id)
}

fn path_text(field: &str, id: &str) -> Result<String> {
    if id.is_empty() || id == "." || id == ".." {
        return Err(Error::invalid(field, format!("`{id}` is no id")));
    }
    if let Some(bad) = id.chars().find(|c| c.is_control()) {
        return Err(Error::invalid(field, format!("has the control character {bad:?}")));
    }
    Ok(utf8_percent_encode(id, SEGMENT).to_string())
}

/// The number of a guest.
///
/// # Errors
/// `NotFound` where the id is none that Proxmox could have given.
pub fn vmid(vm: &hypervisor_core::model::VmId) -> Result<u32> {
    let id = vm.as_str();
    let canonical = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
    let number = canonical.then(|| id.parse::<u32>().ok()).flatten();
    number.filter(|number| (100..=999_999_999).contains(number)).ok_or_else(|| {
        vm.not_found()
            .with_hint("Proxmox numbers its guests from 100 to 999999999")
            .with_backend(crate::BACKEND)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_stay_out_of_debug() {
        let form = Form::new().text("cipassword", "hunter2").text("content", "hunter2").text("name", "web-1");
        assert!(!format!("{form:?}").contains("hunter2"));
        assert!(format!("{form:?}").contains("web-1"));
    }

    #[test]
    fn arrays_repeat_their_key_and_values_are_set_once() {
        let form =
            Form::new().each("command", ["ls", "-l /"]).text("a", "1").text("a", "2").flag_if("b", false);
        assert_eq!(form.encode(), "command=ls&command=-l%20%2F&a=2");
        assert_eq!(
            Form::new().text("net0", "virtio=BC:24,bridge=vmbr0").encode(),
            "net0=virtio%3DBC%3A24%2Cbridge%3Dvmbr0"
        );
    }

    #[test]
    fn ids_cannot_lead_elsewhere() {
        for wrong in ["", ".", "..", "pve1/version", "a\nb", "a\0"] {
            assert!(segment("host", wrong).unwrap_err().fields().contains_key("host"), "{wrong:?}");
        }
        for wrong in ["", "local:../x", "local:iso//x", "/etc", "local:iso/"] {
            assert!(volume_segment("volume", wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(volume_segment("volume", "local:iso/a b.iso").unwrap(), "local:iso%2Fa%20b.iso");
        assert_eq!(segment("task", "UPID:pve1:00:root@pam!lab:").unwrap(), "UPID:pve1:00:root@pam!lab:");
        for wrong in ["", "99", "0100", "+100", "abc", "100/x", "9999999999"] {
            assert!(vmid(&wrong.into()).unwrap_err().is_not_found(), "{wrong}");
        }
        assert_eq!(vmid(&"100".into()).unwrap(), 100);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_on_the_wire(value in ".{0,40}") {
            let body = Form::new().text("k", value.as_str()).encode();
            let sent = body.strip_prefix("k=").unwrap();
            prop_assert!(!sent.contains([';', '&', '=', '+', ' ']));
            prop_assert_eq!(decoded_text(sent), value);
        }
    }
}
