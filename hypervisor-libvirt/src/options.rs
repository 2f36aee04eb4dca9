//! What only libvirt can be told about a new guest.

use hypervisor_core::model::{BackendOptions, ByteSize, VmSpec};
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::xml::device::kib;
use crate::xml::{Element, XmlError};

/// Room to grow while the guest runs, for [`VmSpec::with`]. A running guest takes CPUs and memory only up to the most that
/// it was started with; by default that is what it has.
///
/// ```
/// use hypervisor_core::model::{ByteSize, VmSpec};
/// use hypervisor_libvirt::VmOptions;
/// let room = VmOptions::new().max_cpus(8).max_memory(ByteSize::gib(16));
/// let spec = VmSpec::new("web-1").cpus(2).memory(ByteSize::gib(4)).with(&room).unwrap();
/// assert_eq!(spec.options.options::<VmOptions>().unwrap(), room);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct VmOptions {
    /// The most CPUs that it can have without a power cycle.
    pub max_cpus: Option<u32>,
    /// The most memory. The guest boots with all of it and its balloon takes the rest away, so it needs the balloon's driver.
    pub max_memory: Option<ByteSize>,
}

impl BackendOptions for VmOptions {
    const BACKEND: &'static str = crate::BACKEND;
}

impl VmOptions {
    /// No room beyond what the spec says.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most CPUs.
    #[must_use]
    pub fn max_cpus(mut self, cpus: u32) -> Self {
        self.max_cpus = Some(cpus);
        self
    }

    /// Sets the most memory.
    #[must_use]
    pub fn max_memory(mut self, memory: ByteSize) -> Self {
        self.max_memory = Some(memory);
        self
    }

    /// Refuses less room than the guest has from the beginning.
    pub(crate) fn validate(&self, spec: &VmSpec) -> Result<()> {
        if self.max_cpus.is_some_and(|most| most < spec.cpus) {
            return Err(Error::invalid("options.libvirt.max_cpus", "is less than the CPUs of the guest"));
        }
        if self.max_memory.is_some_and(|most| most < spec.memory) {
            return Err(Error::invalid("options.libvirt.max_memory", "is less than the memory of the guest"));
        }
        Ok(())
    }

    /// Writes the room into the definition of a new guest.
    pub(crate) fn write(&self, domain: &mut Element) {
        if let Some(most) = self.max_cpus {
            let vcpu = domain.ensure("vcpu");
            let cpus = vcpu.text().into_owned();
            vcpu.set_attr("current", cpus).set_text(most.to_string());
        }
        if let Some(most) = self.max_memory {
            domain.ensure("memory").set_text(kib(most).to_string());
        }
    }

    /// The room that a guest has.
    pub(crate) fn read(domain: &Element) -> Result<Self, XmlError> {
        let mut room = Self::default();
        if let Some(vcpu) = domain.child("vcpu").filter(|vcpu| vcpu.attr("current").is_some()) {
            room.max_cpus = u32::try_from(vcpu.number()?).ok();
        }
        let size = |name: &str| domain.child_bytes(name, "KiB");
        if let (Some(most), Some(now)) = (size("memory")?, size("currentMemory")?)
            && most > now
        {
            room.max_memory = Some(ByteSize::bytes(most));
        }
        Ok(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_written_and_read() {
        let text = "<domain><memory unit='KiB'>1024</memory><currentMemory unit='KiB'>1024</currentMemory><vcpu>2</vcpu></domain>";
        let mut domain = Element::parse(text).unwrap();
        assert_eq!(VmOptions::read(&domain).unwrap(), VmOptions::new());
        let room = VmOptions::new().max_cpus(4).max_memory(ByteSize::mib(2));
        room.write(&mut domain);
        assert_eq!(domain.to_string().matches("current=\"2\">4<").count(), 1);
        assert_eq!(VmOptions::read(&domain).unwrap(), room);
    }

    #[test]
    fn too_little_room_is_refused() {
        let spec = VmSpec::new("a").cpus(4);
        let error = VmOptions::new().max_cpus(3).validate(&spec).unwrap_err();
        assert!(error.fields().contains_key("options.libvirt.max_cpus"));
        let error = VmOptions::new().max_memory(ByteSize::mib(1)).validate(&spec).unwrap_err();
        assert!(error.fields().contains_key("options.libvirt.max_memory"));
    }
}
