//! Making guests. Only current servers do, and of what a spec can say they take little.

use hypervisor_core::model::{
    ByteSize, DiskDevice, DiskSource, HostId, NicSource, PowerAction, Started, VmId, VmSpec,
};
use hypervisor_core::traits::Compute as _;
use hypervisor_core::{Effect, Error, Operation, Result};

use super::BACKEND;
use super::api::About;
use super::backend::Virtumancer;
use super::wire::{NewVm, Place, VmRow};

impl Virtumancer {
    pub(super) async fn create(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        self.require(Operation::CreateVm, &[])?;
        spec.validate()?;
        self.require(Operation::CreateVm, &spec.needs())?;
        only_what_it_takes(spec)?;
        let host = self.host_for(spec).await?;
        let disk = disk(spec)?;
        let network = network(spec, &host)?;
        let body = NewVm::new(spec, &host, disk, network.as_deref());
        let request = self.inner.api.request(Operation::CreateVm, &[("host", &host)])?.json(&body);
        let place = Place::new(host.as_str(), spec.name.as_str());
        let row: VmRow = self.inner.api.json(request, &About::Vm(place.clone())).await?;
        let vm = VmId::from(&Place::new(host, row.name));
        if spec.start {
            // The server has no tasks: it runs when the call returns.
            let _ = self.power_vm(&vm, &PowerAction::Start).await.map_err(|error| {
                error.with_effect(Effect::Partial).with_hint("The guest was made, but does not run")
            })?;
        }
        Ok(Started::done(vm))
    }

    /// The host that the spec names, or the only one that there is.
    async fn host_for(&self, spec: &VmSpec) -> Result<String> {
        let hosts = self.inner.api.hosts().await?;
        if let Some(wanted) = &spec.host {
            let known = hosts.into_iter().find(|host| host.id == wanted.as_str());
            return known
                .map(|host| host.id)
                .ok_or_else(|| Error::not_found(HostId::NOUN, wanted).with_backend(BACKEND));
        }
        let mut connected = hosts.into_iter().filter(|host| host.is_connected() != Some(false));
        match (connected.next(), connected.next()) {
            (Some(only), None) => Ok(only.id),
            (None, _) => Err(Error::invalid("host", "the server is connected to no host")),
            (Some(_), Some(_)) => {
                Err(Error::invalid("host", "the server has several hosts and chooses none: name one"))
            }
        }
    }
}

/// Refuses what would be left out silently.
fn only_what_it_takes(spec: &VmSpec) -> Result<()> {
    let refuse = |what: &str| {
        Err(Error::unsupported(Operation::CreateVm, format!("Virtumancer takes no {what} for a new guest")))
    };
    if spec.group.is_some() {
        return refuse("group");
    }
    if spec.machine.is_some() {
        return refuse("machine type");
    }
    if spec.serial.is_some() {
        return refuse("serial port");
    }
    if !spec.boot.order.is_empty() || spec.boot.firmware.is_some() {
        return refuse("boot order or firmware");
    }
    Ok(())
}

/// The size of the one new disk, if any: the server counts in GiB and chooses pool, format and name.
fn disk(spec: &VmSpec) -> Result<Option<ByteSize>> {
    let refuse = |why: &str| Error::unsupported(Operation::CreateVm, format!("disks: {why}"));
    let disk = match spec.disks.as_slice() {
        [] => return Ok(None),
        [disk] => disk,
        _ => return Err(refuse("Virtumancer makes one disk at most for a new guest")),
    };
    match &disk.source {
        DiskSource::New { size, pool: None } if disk.device == DiskDevice::Disk => {
            if disk.bus.is_some()
                || disk.name.is_some()
                || disk.serial.is_some()
                || disk.slot.is_some()
                || disk.read_only
            {
                return Err(refuse("Virtumancer chooses bus, name, serial number and slot itself"));
            }
            if !size.is_multiple_of(ByteSize::gib(1)) {
                return Err(Error::invalid("disks[0].size", format!("{size} is no whole number of GiB")));
            }
            Ok(Some(*size))
        }
        DiskSource::New { pool: Some(_), .. } => {
            Err(refuse("Virtumancer chooses the pool of a new disk itself"))
        }
        _ => Err(refuse("Virtumancer makes new, empty disks only")),
    }
}

/// The name of the network of the one NIC, if any.
fn network(spec: &VmSpec, host: &str) -> Result<Option<String>> {
    let refuse = |why: &str| Error::unsupported(Operation::CreateVm, format!("nics: {why}"));
    let nic = match spec.nics.as_slice() {
        [] => return Ok(None),
        [nic] => nic,
        _ => return Err(refuse("Virtumancer makes one NIC at most for a new guest")),
    };
    if nic.model.is_some() || nic.mac.is_some() || nic.link_down {
        return Err(refuse("Virtumancer chooses model and address itself"));
    }
    let NicSource::Network(network) = &nic.source else {
        return Err(refuse("Virtumancer plugs a new NIC into networks only"));
    };
    let place = Place::network(network)?;
    if place.host != host {
        return Err(Error::invalid("nics[0].network", format!("`{network}` is not on host `{host}`")));
    }
    Ok(Some(place.name))
}
