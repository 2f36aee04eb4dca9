//! What the host and its hypervisor say they can do.

use super::Element;

/// What is read from the host's capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostCapabilities {
    pub(crate) uuid: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) cpu_model: Option<String>,
}

/// Reads the host's capabilities; what is missing stays open.
pub(crate) fn host(capabilities: &Element) -> HostCapabilities {
    HostCapabilities {
        uuid: capabilities.text_at("host/uuid"),
        architecture: capabilities.text_at("host/cpu/arch"),
        cpu_model: capabilities.text_at("host/cpu/model"),
    }
}

/// What guests of one kind can have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DomainCapabilities {
    pub(crate) machine: Option<String>,
    pub(crate) max_cpus: Option<u32>,
    pub(crate) uefi: bool,
    pub(crate) secure_boot: bool,
    pub(crate) tpm: bool,
    pub(crate) vnc: bool,
    pub(crate) spice: bool,
}

/// Reads a hypervisor's capabilities.
pub(crate) fn domain(capabilities: &Element) -> DomainCapabilities {
    let os = capabilities.child("os");
    let allows = |parent: Option<&Element>, name: &str, value: &str| {
        parent.into_iter().flat_map(|parent| parent.children("enum")).any(|item| {
            item.attr_is("name", name) && item.children("value").any(|known| known.text() == value)
        })
    };
    let loader = os.and_then(|os| os.child("loader")).filter(|loader| loader.attr_is("supported", "yes"));
    let device = |name: &str| {
        let found = capabilities.path("devices").and_then(|devices| devices.child(name));
        found.filter(|device| device.attr_is("supported", "yes"))
    };
    let uefi = allows(os, "firmware", "efi");
    DomainCapabilities {
        machine: capabilities.text_at("machine"),
        max_cpus: capabilities.child("vcpu").and_then(|vcpu| vcpu.attr_number("max").ok().flatten()),
        uefi,
        secure_boot: uefi && allows(loader, "secure", "yes"),
        tpm: allows(device("tpm"), "backendModel", "emulator"),
        vnc: allows(device("graphics"), "type", "vnc"),
        spice: allows(device("graphics"), "type", "spice"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_found() {
        let xml = "<domainCapabilities><machine>pc-q35-7.2</machine><vcpu max='288'/><os supported='yes'>\
             <enum name='firmware'><value>efi</value></enum>\
             <loader supported='yes'><enum name='secure'><value>no</value></enum></loader></os>\
             <devices><graphics supported='yes'><enum name='type'><value>sdl</value><value>vnc</value></enum></graphics>\
             <tpm supported='no'><enum name='backendModel'><value>emulator</value></enum></tpm></devices></domainCapabilities>";
        let found = domain(&Element::parse(xml).unwrap());
        assert_eq!((found.machine.as_deref(), found.max_cpus), (Some("pc-q35-7.2"), Some(288)));
        assert!(found.uefi && !found.secure_boot && !found.tpm && found.vnc && !found.spice);
        assert_eq!(domain(&Element::new("domainCapabilities")), DomainCapabilities::default());
    }
}
