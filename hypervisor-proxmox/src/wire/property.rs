//! Property strings, Proxmox's lists of settings in one value: `virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// One setting of a property string.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Entry {
    /// Its key; `None` for a value that stands alone and belongs to the format's default key.
    pub key: Option<String>,
    /// Its value, without quotes.
    pub value: String,
}

/// A property string. The order and what this version does not know stay.
///
/// ```
/// use hypervisor_proxmox::wire::property::Properties;
/// let mut disk: Properties = "local:100/vm-100-disk-0.qcow2,size=32G".parse().unwrap();
/// assert_eq!(disk.get_or_bare("file"), Some("local:100/vm-100-disk-0.qcow2"));
/// disk.set("ssd", "1");
/// assert_eq!(disk.to_string(), "local:100/vm-100-disk-0.qcow2,size=32G,ssd=1");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Properties(Vec<Entry>);

impl Properties {
    /// No settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One value that stands alone.
    pub fn bare(value: impl Into<String>) -> Self {
        Self(vec![Entry { key: None, value: value.into() }])
    }

    /// All settings in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|entry| entry.key.as_deref() == Some(key)).map(|entry| entry.value.as_str())
    }

    /// The first value that stands alone.
    #[must_use]
    pub fn first_bare(&self) -> Option<&str> {
        self.0.iter().find(|entry| entry.key.is_none()).map(|entry| entry.value.as_str())
    }

    /// The value of the format's default key, which may be written with or without the key.
    #[must_use]
    pub fn get_or_bare(&self, default_key: &str) -> Option<&str> {
        self.get(default_key).or_else(|| self.first_bare())
    }

    /// Whether a switch is on; `None` where it is not mentioned.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        super::scalar::Scalar::from_text(self.get(key)?)
    }

    /// The items of a list, which are separated by `;`.
    pub fn list<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.get(key).unwrap_or_default().split(';').filter(|item| !item.is_empty())
    }

    /// Sets a key in its place, or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|entry| entry.key.as_deref() == Some(key)) {
            Some(entry) => entry.value = value,
            None => self.0.push(Entry { key: Some(key.to_owned()), value }),
        }
    }

    /// Sets a key, for chains.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets the first value that stands alone, or puts one in front.
    pub fn set_bare(&mut self, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|entry| entry.key.is_none()) {
            Some(entry) => entry.value = value,
            None => self.0.insert(0, Entry { key: None, value }),
        }
    }

    /// Adds the settings of another one; those that both have are taken from it.
    pub fn merge(&mut self, other: &Self) {
        for Entry { key, value } in &other.0 {
            match key {
                Some(key) => self.set(key, value.as_str()),
                None => self.set_bare(value.as_str()),
            }
        }
    }

    /// Removes the values that stand alone.
    pub fn remove_bare(&mut self) {
        self.0.retain(|entry| entry.key.is_some());
    }

    /// Removes a key; says whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.key.as_deref() != Some(key));
        before != self.0.len()
    }
}

impl FromStr for Properties {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut entries = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let (key, after) = match rest.get(end..) {
                // The server, too, takes a part that begins with `=` or a quote as a value of its own.
                Some(after) if after.starts_with('=') && end > 0 && !rest.starts_with('"') => {
                    (rest.get(..end), after.get(1..).unwrap_or_default())
                }
                _ => (None, rest),
            };
            let (value, left) = quoted(after).unwrap_or_else(|| match after.split_once(',') {
                Some((value, left)) => (value.to_owned(), left),
                None => (after.to_owned(), ""),
            });
            if key.is_some() || !value.trim().is_empty() {
                entries.push(Entry { key: key.map(str::to_owned), value });
            }
            rest = left;
        }
        Ok(Self(entries))
    }
}

/// A value in quotes and what follows it; `None` where the quotes do not close at the end of a part.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, next)) = chars.next() {
        match next {
            '\\' => value.push(chars.next()?.1),
            '"' => {
                // `at` counts behind the opening quote.
                let left = text.get(at + 2..)?;
                return if left.is_empty() {
                    Some((value, left))
                } else {
                    Some((value, left.strip_prefix(',')?))
                };
            }
            other => value.push(other),
        }
    }
    None
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Entry { key, value }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if let Some(key) = key {
                write!(f, "{key}=")?;
            }
            let ambiguous = key.is_none() && (value.contains('=') || value.trim().is_empty());
            if ambiguous || value.contains(',') || value.starts_with('"') {
                write!(f, "\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
            } else {
                f.write_str(value)?;
            }
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Reads a property string; any text is one.
#[must_use]
pub fn parse(text: &str) -> Properties {
    match text.parse() {
        Ok(properties) => properties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recorded_strings_are_read_and_written_back() {
        for text in [
            "virtio=BC:24:11:81:50:D5,bridge=vmbr0",
            "e1000=BC:24:11:2A:2B:DA,bridge=vmbr0,firewall=1",
            "local:100/vm-100-disk-0.qcow2,size=1G",
            "local:171/vm-171-cloudinit.qcow2,media=cdrom",
            "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:66:6E:2B,ip=dhcp,type=veth",
            "order=scsi0;net0",
            "creation-qemu=10.0.13,ctime=1795197792",
            "uuid=00000000-0000-0000-0000-000000000000",
            "1",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("order=scsi0;net0").list("order").collect::<Vec<_>>(), ["scsi0", "net0"]);
        assert_eq!(parse("1,fstrim_cloned_disks=1").get_or_bare("enabled"), Some("1"));
        assert_eq!(parse("enabled=0").get_or_bare("enabled"), Some("0"));
        assert_eq!(parse("a=1,link_down=1").flag("link_down"), Some(true));
        assert!(parse(" ").is_empty());
    }

    #[test]
    fn quotes_hold_commas() {
        let text = parse(r#"file=x,note="a, \"b\" \\ c",last=1"#);
        assert_eq!(text.get("note"), Some(r#"a, "b" \ c"#));
        assert_eq!(text.get("last"), Some("1"));
        assert_eq!(parse(r#"a="open,b=1"#).get("a"), Some("\"open"));
        assert_eq!(parse(r#"a="x"y,b=1"#).get("b"), Some("1"));
    }

    #[test]
    fn settings_keep_their_place() {
        let mut nic = parse("virtio=BC:24:11:81:50:D5,bridge=vmbr0,mystery=7");
        nic.set("bridge", "vmbr1");
        nic.set("tag", "5");
        assert!(nic.remove("mystery"));
        assert!(!nic.remove("mystery"));
        assert_eq!(nic.to_string(), "virtio=BC:24:11:81:50:D5,bridge=vmbr1,tag=5");
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let keyed =
            ("[a-z][a-z0-9_.-]{0,8}", ".{0,12}").prop_map(|(key, value)| Entry { key: Some(key), value });
        let bare = ".{1,12}".prop_map(|value| Entry { key: None, value });
        // A value of blanks alone says nothing to the server.
        prop_oneof![keyed, bare]
            .prop_filter("says something", |entry| entry.key.is_some() || !entry.value.trim().is_empty())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in prop::collection::vec(entry(), 0..6)) {
            let properties = Properties(entries);
            prop_assert_eq!(parse(&properties.to_string()), properties);
        }

        #[test]
        fn plain_text_is_written_back_unchanged(text in "[a-z]{1,4}=[^,\"]{1,8}(,[a-z]{1,4}=[^,\"]{0,8}){0,4}") {
            prop_assert_eq!(parse(&text).to_string(), text);
        }

        #[test]
        fn no_text_panics_and_reading_settles(text in ".{0,40}") {
            let once = parse(&text);
            prop_assert_eq!(parse(&once.to_string()), once);
        }
    }
}
