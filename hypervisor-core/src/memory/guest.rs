//! What goes through the agent inside a guest: a few programs, and files that belong to the guest.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Memory;
use super::state::{Vm, World};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::model::{
    AddressSource, ByteSize, ExecOutput, ExecSpec, GuestAddress, GuestKind, NicSource, VmId, VmState,
    WriteFile,
};
use crate::operation::Operation;
use crate::traits::Guest;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Guest for Memory {
    async fn ping_agent(&self, vm: &VmId) -> Result<()> {
        self.call(Operation::PingAgent, &[], Ok(()), |world| world.agent(vm).map(|_| ())).await
    }

    async fn list_addresses(&self, vm: &VmId, source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
        let needs = source.map(AddressSource::needs).unwrap_or_default();
        self.call(Operation::ListAddresses, &needs, Ok(()), |world| {
            world.running(vm)?;
            match source {
                Some(source) => world.addresses(vm, source),
                None => {
                    let sources = AddressSource::ALL.iter();
                    let able = sources.filter(|source| {
                        source.needs().into_iter().all(|feature| world.capabilities.has(feature))
                    });
                    Ok(able.filter_map(|source| world.addresses(vm, *source).ok()).flatten().collect())
                }
            }
        })
        .await
    }

    async fn exec_in_guest(&self, vm: &VmId, spec: &ExecSpec) -> Result<ExecOutput> {
        let begin = |world: &mut World| execute(world.thawed(vm)?, spec);
        let (time, output) = self.call(Operation::ExecInGuest, &[], spec.validate(), begin).await?;
        if time > spec.deadline {
            tokio::time::sleep(spec.deadline).await;
            let message = format!("`{}` still runs after {:?}", spec.program, spec.deadline);
            let error = Error::new(ErrorKind::Timeout, message).with_effect(Effect::Partial);
            return Err(super::named(error.with_target(VmId::NOUN, vm), Operation::ExecInGuest));
        }
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        Ok(output)
    }

    async fn read_guest_file(&self, vm: &VmId, path: &str, limit: ByteSize) -> Result<Bytes> {
        self.call(Operation::ReadGuestFile, &[], path_is_valid(path), |world| {
            let content = file(world.thawed(vm)?, path).ok_or_else(|| Error::not_found("file", path))?;
            if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit.as_bytes() {
                let why = format!("the file has {} bytes, more than {limit}", content.len());
                return Err(Error::invalid("limit", why).with_target("file", path));
            }
            Ok(content)
        })
        .await
    }

    async fn write_guest_file(
        &self,
        vm: &VmId,
        path: &str,
        content: Bytes,
        options: &WriteFile,
    ) -> Result<()> {
        self.call(Operation::WriteGuestFile, &[], path_is_valid(path), |world| {
            let before = file(world.thawed(vm)?, path).filter(|_| options.append).unwrap_or_default();
            let whole: Vec<u8> = before.iter().chain(&content).copied().collect();
            world.vm_mut(vm)?.setup.files.insert(path.to_owned(), whole.into());
            Ok(())
        })
        .await
    }

    async fn freeze_filesystems(&self, vm: &VmId) -> Result<u32> {
        self.call(Operation::FreezeFilesystems, &[], Ok(()), |world| {
            let count = filesystems(world.thawed(vm)?);
            world.vm_mut(vm)?.frozen = true;
            Ok(count)
        })
        .await
    }

    async fn thaw_filesystems(&self, vm: &VmId) -> Result<u32> {
        self.call(Operation::ThawFilesystems, &[], Ok(()), |world| {
            let found = world.agent(vm)?;
            let count = if found.frozen { filesystems(found) } else { 0 };
            world.vm_mut(vm)?.frozen = false;
            Ok(count)
        })
        .await
    }
}

fn path_is_valid(path: &str) -> Result<()> {
    if path.is_empty() || path.contains('\0') {
        return Err(Error::invalid("path", "must be a path inside the guest"));
    }
    Ok(())
}

/// One file system for each disk; a guest without disks has the one that it booted from.
fn filesystems(vm: &Vm) -> u32 {
    u32::try_from(vm.setup.own_volumes().count()).unwrap_or(u32::MAX).max(1)
}

/// A file inside the guest: what was written there, or what every guest has.
fn file(vm: &Vm, path: &str) -> Option<Bytes> {
    if let Some(content) = vm.setup.files.get(path) {
        return Some(content.clone());
    }
    match path {
        "/etc/hostname" => Some(format!("{}\n", vm.setup.spec.name).into()),
        "/etc/machine-id" => Some(format!("{}\n", vm.uid.replace('-', "")).into()),
        _ => None,
    }
}

/// How long a program takes and how it ends.
fn execute(vm: &Vm, spec: &ExecSpec) -> Result<(Duration, ExecOutput)> {
    let name = spec.program.rsplit('/').next().unwrap_or_default();
    let exits = |code: i32, out: Bytes, err: String| ExecOutput::exited(code, out, err.into());
    let quick = |output: ExecOutput| Ok((Duration::ZERO, output));
    match name {
        "true" => quick(exits(0, Bytes::new(), String::new())),
        "false" => quick(exits(1, Bytes::new(), String::new())),
        "echo" => quick(exits(0, format!("{}\n", spec.args.join(" ")).into(), String::new())),
        "hostname" => quick(exits(0, file(vm, "/etc/hostname").unwrap_or_default(), String::new())),
        "cat" if spec.args.is_empty() => {
            quick(exits(0, spec.stdin.clone().unwrap_or_default(), String::new()))
        }
        "cat" => {
            let (mut out, mut errors) = (Vec::new(), String::new());
            for path in &spec.args {
                match file(vm, path) {
                    Some(content) => out.extend_from_slice(&content),
                    None => errors.push_str(&format!("cat: {path}: No such file or directory\n")),
                }
            }
            quick(exits(i32::from(!errors.is_empty()), out.into(), errors))
        }
        "sleep" => match spec.args.first().and_then(|arg| arg.parse().ok()) {
            Some(seconds) => Ok((Duration::from_secs(seconds), exits(0, Bytes::new(), String::new()))),
            None => quick(exits(1, Bytes::new(), "sleep: missing operand\n".to_owned())),
        },
        _ => Err(Error::new(ErrorKind::NotFound, "the guest has no such program")
            .with_target("file", &spec.program)),
    }
}

impl World {
    /// The guest, if it runs.
    fn running(&self, id: &VmId) -> Result<&Vm> {
        let vm = self.vm(id)?;
        if vm.state.is_active() {
            return Ok(vm);
        }
        Err(Error::invalid_state(format!("it is {}", vm.state)).with_target(VmId::NOUN, id))
    }

    /// The guest, if its agent answers.
    pub(super) fn agent(&self, id: &VmId) -> Result<&Vm> {
        let vm = self.running(id)?;
        let silent =
            |why: String| Err(Error::new(ErrorKind::AgentUnavailable, why).with_target(VmId::NOUN, id));
        if vm.state != VmState::Running {
            return silent(format!("it is {}", vm.state));
        }
        if !vm.in_force().agent {
            return silent("it has no channel for an agent".to_owned());
        }
        Ok(vm)
    }

    /// The guest, if its agent answers and its file systems are not frozen.
    fn thawed(&self, id: &VmId) -> Result<&Vm> {
        let vm = self.agent(id)?;
        if vm.frozen {
            return Err(Error::invalid_state("its file systems are frozen").with_target(VmId::NOUN, id));
        }
        Ok(vm)
    }

    fn addresses(&self, id: &VmId, source: AddressSource) -> Result<Vec<GuestAddress>> {
        let vm = if source == AddressSource::Agent { self.agent(id)? } else { self.running(id)? };
        // Only what runs in the host's own kernel has addresses in its configuration.
        if source == AddressSource::Config && vm.setup.spec.kind != GuestKind::Container {
            return Ok(Vec::new());
        }
        let leased = vm.setup.nics.iter().zip(0_u32..).filter_map(|(nic, number)| {
            let NicSource::Network(network) = &nic.source else { return None };
            let net = self.networks.get(network)?;
            let mac = nic.mac.filter(|_| !nic.link_down)?;
            let mut address = GuestAddress::new(*net.leases.get(&mac)?, source).mac(mac);
            address.prefix = net.live.as_ref().and_then(|live| live.cidr).map(|cidr| cidr.prefix_len());
            Some(if source == AddressSource::Agent {
                address.interface(format!("eth{number}"))
            } else {
                address
            })
        });
        let mut all: Vec<GuestAddress> = leased.collect();
        if source == AddressSource::Agent {
            let loopback = GuestAddress::new(IpAddr::V4(Ipv4Addr::LOCALHOST), source);
            all.insert(0, loopback.prefix(8).interface("lo"));
        }
        Ok(all)
    }
}
