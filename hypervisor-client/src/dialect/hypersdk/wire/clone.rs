//! Copies and templates. A template is an ordinary domain whose name contains `template`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::soft;

/// A copy of a domain that is off (`POST /libvirt/clone`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CloneDomain {
    /// The original.
    pub source: String,
    /// The name of the copy.
    pub target: String,
    /// Where the copies of its disks go; empty lets `virt-clone` choose.
    pub files: Vec<String>,
    /// New MAC addresses. The daemon makes new ones either way.
    pub new_mac: bool,
    /// Names for the copied disks. The daemon goes by `files` alone.
    pub auto_clone: bool,
    /// Keep the disks that `files` name as they are. It fails where they do not exist, as in the document's own example.
    pub preserve: bool,
}

impl CloneDomain {
    /// A copy with disks and addresses of its own.
    pub fn new(source: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            files: Vec::new(),
            new_mac: true,
            auto_clone: true,
            preserve: false,
        }
    }

    chain! { files: Vec<String>; preserve: bool; }
}

/// Copies `prefix-1` to `prefix-n` of a domain that is off (`POST /libvirt/clone/multiple`), one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CloneMultiple {
    /// The original.
    pub source: String,
    /// How the names begin.
    pub name_prefix: String,
    /// How many, 1 to 100.
    pub count: u32,
    /// The number of the first; 0 is taken for 1.
    pub start_index: u32,
}

impl CloneMultiple {
    /// `count` copies, numbered from 1.
    pub fn new(source: impl Into<String>, name_prefix: impl Into<String>, count: u32) -> Self {
        Self { source: source.into(), name_prefix: name_prefix.into(), count, start_index: 1 }
    }

    chain! { start_index: u32; }
}

/// A template made of a domain (`POST /libvirt/template/create`). The daemon asks the domain to shut down, waits three seconds and copies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewTemplate {
    /// The domain.
    pub domain: String,
    /// The name of the template; the daemon knows templates by a `template` in it.
    pub name: String,
    /// Becomes the copy's title.
    pub description: String,
    /// The daemon takes it and forgets it.
    pub metadata: BTreeMap<String, String>,
    /// Remove what identifies the machine, with `virt-sysprep`. The daemon says that it did even where it could not.
    pub seal: bool,
}

impl NewTemplate {
    /// A template of this name.
    pub fn new(domain: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            name: name.into(),
            description: String::new(),
            metadata: BTreeMap::new(),
            seal: false,
        }
    }

    chain! { description: String; metadata: BTreeMap<String, String>; seal: bool; }
}

/// A domain made from a template (`POST /libvirt/template/deploy`). It starts with its host from then on, whatever is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeployTemplate {
    /// The template.
    pub template: String,
    /// The name of the domain.
    pub name: String,
    /// Its memory in MiB; 0 keeps the template's.
    pub memory: u64,
    /// Its CPUs; 0 keeps the template's.
    pub vcpus: u32,
    /// Its network. The daemon takes it and forgets it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Start it.
    pub autostart: bool,
    /// The daemon takes it and forgets it.
    pub customize: BTreeMap<String, String>,
}

impl DeployTemplate {
    /// A domain like the template, off.
    pub fn new(template: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            template: template.into(),
            name: name.into(),
            memory: 0,
            vcpus: 0,
            network: String::new(),
            autostart: false,
            customize: BTreeMap::new(),
        }
    }

    chain! {
        memory: u64; vcpus: u32; network: String; autostart: bool; customize: BTreeMap<String, String>;
    }
}

/// `POST /libvirt/template/export`
#[derive(Debug, Serialize)]
pub(crate) struct ExportTemplate<'a> {
    pub(crate) template: &'a str,
    pub(crate) export_path: &'a str,
    pub(crate) compress: bool,
}

answers! {
    /// What became of many copies.
    CloneMultipleResult {
        may {
            /// `completed`.
            status: String,
            /// The original.
            source: String,
            /// How many were asked for.
            total: u64,
            /// How many were made.
            successful: u64,
            /// How many were not.
            failed: u64,
            /// One for each copy.
            results: Vec<CloneItem>,
        }
    }

    /// What became of one copy.
    CloneItem {
        must {
            /// Its name.
            name: String,
        }
        may {
            /// Whether it was made.
            success: bool,
            /// Why not, in the words of `virt-clone`.
            error: String,
        }
    }

    /// A template that was made.
    #[derive(Default)]
    TemplateMade {
        may {
            /// Its name.
            template: String,
            /// The domain that it was made of.
            source: String,
            /// Whether sealing was asked for.
            sealed: bool,
        }
    }

    /// A domain that was made from a template.
    #[derive(Default)]
    Deployed {
        may {
            /// Its name.
            vm: String,
            /// The template.
            template: String,
            /// Whether a start was asked for.
            started: bool,
            /// The memory asked for, in MiB.
            memory_mb: u64,
            /// The CPUs asked for.
            vcpus: u32,
        }
    }

    /// A template that was written to files on the host.
    ExportedTemplate {
        may {
            /// The directory.
            export_path: String,
            /// The file with the definition.
            xml_file: String,
            /// The disks of the original, which were copied beside it.
            disk_files: Vec<String>,
            /// Whether a compressed archive of the definition was asked for.
            compressed: bool,
        }
    }
}
