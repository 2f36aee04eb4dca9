//! How the table is written: short names for its rows.

use super::{Access, Endpoint, Format, Kind, Param, Release, Verb};

pub(super) const V8_4: Release = Release::V8_4;
pub(super) const V9_1: Release = Release::V9_1;
pub(super) const V9_2: Release = Release::V9_2;

/// Where a virtual machine's disks are.
pub(super) const VM_USED_SLOTS: &[(&str, u16)] =
    &[("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6), ("efidisk", 1), ("tpmstate", 1)];

/// The same with the volumes that it owns and does not use.
pub(super) const VM_SLOTS: &[(&str, u16)] = &[
    ("ide", 4),
    ("scsi", 31),
    ("virtio", 16),
    ("sata", 6),
    ("efidisk", 1),
    ("tpmstate", 1),
    ("unused", 256),
];

/// Where a container's volumes are.
pub(super) const CT_USED_SLOTS: &[(&str, u16)] = &[("rootfs", 0), ("mp", 256)];

/// The same with the volumes that it owns and does not use.
pub(super) const CT_SLOTS: &[(&str, u16)] = &[("rootfs", 0), ("mp", 256), ("unused", 256)];

pub(super) const fn get(path: &'static str, access: Access, params: &'static [&'static [Param]]) -> Endpoint {
    endpoint(Verb::Get, path, access, params)
}

pub(super) const fn post(
    path: &'static str,
    access: Access,
    params: &'static [&'static [Param]],
) -> Endpoint {
    endpoint(Verb::Post, path, access, params)
}

pub(super) const fn put(path: &'static str, access: Access, params: &'static [&'static [Param]]) -> Endpoint {
    endpoint(Verb::Put, path, access, params)
}

pub(super) const fn delete(
    path: &'static str,
    access: Access,
    params: &'static [&'static [Param]],
) -> Endpoint {
    endpoint(Verb::Delete, path, access, params)
}

const fn endpoint(
    verb: Verb,
    path: &'static str,
    access: Access,
    params: &'static [&'static [Param]],
) -> Endpoint {
    Endpoint { verb, path, access, token: true, since: V8_4, params }
}

impl Endpoint {
    pub(super) const fn no_token(mut self) -> Self {
        self.token = false;
        self
    }

    pub(super) const fn since(mut self, release: Release) -> Self {
        self.since = release;
        self
    }
}

pub(super) const fn perm(path: &'static str, privileges: &'static [&'static str]) -> Access {
    Access::Perm { path, privileges, any: false }
}

pub(super) const fn perm_any(path: &'static str, privileges: &'static [&'static str]) -> Access {
    Access::Perm { path, privileges, any: true }
}

pub(super) const fn given(param: &'static str, access: &'static Access) -> Access {
    Access::Given { param, access }
}

const fn param(name: &'static str, kind: Kind) -> Param {
    Param {
        name,
        kind,
        required: false,
        format: None,
        min: None,
        max: None,
        shortest: None,
        longest: None,
        pattern: None,
        with: None,
        each: 0,
        default_key: false,
        since: V8_4,
        until: None,
    }
}

pub(super) const fn switch(name: &'static str) -> Param {
    param(name, Kind::Switch)
}

pub(super) const fn integer(name: &'static str) -> Param {
    param(name, Kind::Integer)
}

pub(super) const fn number(name: &'static str) -> Param {
    param(name, Kind::Number)
}

pub(super) const fn text(name: &'static str) -> Param {
    param(name, Kind::Text)
}

pub(super) const fn word(name: &'static str, words: &'static [&'static str]) -> Param {
    param(name, Kind::Word(words))
}

pub(super) const fn slot(name: &'static str, families: &'static [(&'static str, u16)]) -> Param {
    param(name, Kind::Slot(families))
}

pub(super) const fn array(name: &'static str, item: &'static Param) -> Param {
    param(name, Kind::Array(item))
}

pub(super) const fn properties(name: &'static str, format: &'static Format) -> Param {
    param(name, Kind::Properties(format))
}

pub(super) const fn alias(name: &'static str, of: &'static str) -> Param {
    param(name, Kind::Alias { of, key: None })
}

impl Param {
    pub(super) const fn key_alias(mut self, key: &'static str) -> Self {
        if let Kind::Alias { of, .. } = self.kind {
            self.kind = Kind::Alias { of, key: Some(key) };
        }
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(super) const fn format(mut self, name: &'static str) -> Self {
        self.format = Some(name);
        self
    }

    pub(super) const fn min(mut self, least: i64) -> Self {
        self.min = Some(least);
        self
    }

    pub(super) const fn max(mut self, most: i64) -> Self {
        self.max = Some(most);
        self
    }

    pub(super) const fn shortest(mut self, chars: usize) -> Self {
        self.shortest = Some(chars);
        self
    }

    pub(super) const fn longest(mut self, chars: usize) -> Self {
        self.longest = Some(chars);
        self
    }

    pub(super) const fn pattern(mut self, pattern: &'static str) -> Self {
        self.pattern = Some(pattern);
        self
    }

    pub(super) const fn with(mut self, other: &'static str) -> Self {
        self.with = Some(other);
        self
    }

    pub(super) const fn each(mut self, count: u16) -> Self {
        self.each = count;
        self
    }

    pub(super) const fn default_key(mut self) -> Self {
        self.default_key = true;
        self
    }

    pub(super) const fn since(mut self, release: Release) -> Self {
        self.since = release;
        self
    }

    pub(super) const fn until(mut self, release: Release) -> Self {
        self.until = Some(release);
        self
    }
}
