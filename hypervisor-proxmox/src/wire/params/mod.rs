//! What each call takes: a table of our own, with which the fake refuses what a real server refuses.
//!
//! Facts only: names, types, limits and privileges of the calls that the driver makes or may make, as of the releases
//! 8.4.5, 9.1.3 and 9.2.3. A test compares it with the official schema where that is at hand. Parameters that are not
//! named here are refused, as the server does.
//!
//! ```
//! use hypervisor_proxmox::wire::params;
//! let call = params::find("POST", "/nodes/pve1/qemu/100/status/stop").unwrap();
//! assert_eq!(call.path["vmid"], "100");
//! let wrong = call.check(&[("timeout".into(), "soon".into())]).unwrap_err();
//! assert_eq!(wrong["timeout"], "type check ('integer') failed - got 'soon'");
//! ```

mod access;
mod agent;
mod backup;
mod build;
mod check;
mod cluster;
mod common;
mod ct_config;
mod find;
mod firewall;
mod formats;
mod lxc;
mod named;
mod network;
mod node;
mod pool;
mod qemu;
mod storage;
mod vm_config;
mod vm_formats;

use std::fmt;

pub use check::Wrong;
pub use find::{Found, find};
pub use named::named;

/// A release of Proxmox VE. What is in the oldest one here may be older still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Release {
    /// 8.4.
    V8_4,
    /// 9.1.
    V9_1,
    /// 9.2.
    V9_2,
}

/// The method of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Reads.
    Get,
    /// Creates and acts.
    Post,
    /// Changes.
    Put,
    /// Deletes.
    Delete,
}

impl Verb {
    /// As HTTP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call that the server has.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Endpoint {
    /// Its method.
    pub verb: Verb,
    /// Its path, with parameters in braces: `/nodes/{node}/qemu`.
    pub path: &'static str,
    /// Who may make it.
    pub access: Access,
    /// Whether an API token may make it; otherwise it takes a login ticket.
    pub token: bool,
    /// The first release that has it.
    pub since: Release,
    params: &'static [&'static [Param]],
}

impl Endpoint {
    /// The parameters in its query or body.
    pub fn params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        self.params.iter().copied().flatten()
    }

    /// The parameters in its path. One that is in [`params`](Self::params) too is described there.
    pub fn path_params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        let (path, described) = (self.path, self.params);
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        names.filter_map(move |name| {
            let own = described.iter().copied().flatten().find(|param| param.name == name);
            own.or_else(|| common::PATH.iter().find(|param| param.name == name))
        })
    }

    /// The parameter of this name; `net0` is found as `net[n]`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params().find(|param| param.is_named(name))
    }
}

/// A parameter, or a key of a property string.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Param {
    /// Its name; `net[n]` stands for `net0`, `net1`, …
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// The server's name for what a text must look like.
    pub format: Option<&'static str>,
    /// The least number.
    pub min: Option<i64>,
    /// The greatest number.
    pub max: Option<i64>,
    /// The least number of characters.
    pub shortest: Option<usize>,
    /// The greatest number of characters.
    pub longest: Option<usize>,
    /// What the whole text must match.
    pub pattern: Option<&'static str>,
    /// The parameter that has to be there too.
    pub with: Option<&'static str>,
    /// How many there are of `net[n]`; 0 where the name is no such family.
    pub each: u16,
    /// Whether its value may stand without its key; in property strings only.
    pub default_key: bool,
    /// The first release that has it.
    pub since: Release,
    /// The last release that has it.
    pub until: Option<Release>,
}

impl Param {
    /// Whether a release has it.
    #[must_use]
    pub fn is_in(&self, release: Release) -> bool {
        self.since <= release && self.until.is_none_or(|last| release <= last)
    }

    /// Whether this is the parameter's name, with a number that exists in a family.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let Some(family) = self.name.strip_suffix("[n]") else { return self.name == name };
        let Some(digits) = name.strip_prefix(family) else { return false };
        let plain = digits == "0" || !digits.starts_with('0');
        plain
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|number| number < self.each)
    }
}

/// What a parameter is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Kind {
    /// `1` or `0`.
    Switch,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words with a number below the one beside it, or, beside 0, the word itself: `scsi0`, `rootfs`.
    Slot(&'static [(&'static str, u16)]),
    /// The key repeated, each time with such a value.
    Array(&'static Param),
    /// A property string with these keys.
    Properties(&'static Format),
    /// Another name for a key of a property string.
    Alias {
        /// The key that its value belongs to.
        of: &'static str,
        /// The key whose value its name is.
        key: Option<&'static str>,
    },
}

impl Kind {
    /// The words that it takes, where they are listed.
    #[must_use]
    pub fn words(&self) -> Option<Vec<String>> {
        match self {
            Self::Word(words) => Some(words.iter().map(|word| (*word).to_owned()).collect()),
            Self::Slot(families) => {
                let slots = families.iter().flat_map(|(family, count)| match count {
                    0 => vec![(*family).to_owned()],
                    count => (0..*count).map(|number| format!("{family}{number}")).collect(),
                });
                Some(slots.collect())
            }
            _ => None,
        }
    }
}

/// The keys of a property string.
#[derive(Debug, Clone, Copy)]
pub struct Format(&'static [&'static [Param]]);

impl Format {
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static Param> + use<> {
        self.0.iter().copied().flatten()
    }
}

/// Who may make a call. Paths may have the call's parameters in braces.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Access {
    /// Everybody, without logging in.
    World,
    /// Everybody who has logged in. What they may not see is left out, or the call looks at the object's privileges itself.
    Anyone,
    /// `root@pam` with its password only.
    Root,
    /// Who has all, or any, of these privileges on this path.
    Perm {
        /// The path.
        path: &'static str,
        /// The privileges.
        privileges: &'static [&'static str],
        /// Whether one of them is enough.
        any: bool,
    },
    /// This, and not at all where the parameter is missing.
    Given {
        /// The parameter.
        param: &'static str,
        /// What it takes.
        access: &'static Access,
    },
    /// All of these.
    All(&'static [Access]),
    /// Any of these.
    Any(&'static [Access]),
    /// The user that the call is about.
    Myself,
    /// Who has this privilege on the realm of the user that the call is about.
    OfRealm(&'static str),
    /// Who has any of these privileges on a group of the user that the call is about.
    OfGroups(&'static [&'static str]),
    /// Who may change permissions on the path that the parameter names.
    MayModify(&'static str),
}

/// Every call of the table.
pub fn all() -> impl Iterator<Item = &'static Endpoint> {
    let parts = [
        access::ENDPOINTS,
        cluster::ENDPOINTS,
        node::ENDPOINTS,
        network::ENDPOINTS,
        storage::ENDPOINTS,
        backup::ENDPOINTS,
        qemu::ENDPOINTS,
        lxc::ENDPOINTS,
        agent::ENDPOINTS,
        firewall::ENDPOINTS,
        pool::ENDPOINTS,
    ];
    parts.into_iter().flatten()
}
