//! What Proxmox has beyond the traits, with types.

use hypervisor_core::model::{
    DiskId, GuestKind, HostId, PoolId, PoolInfo, Started, TaskId, TaskInfo, VmId, VolumeId, VolumeInfo,
};
use hypervisor_core::{Operation, Result};
use serde_json::Value;

use crate::tasks::begun;
use crate::api::Call;
use crate::backend::Proxmox;
use crate::error::{named, of_host};
use crate::wire::form::{Form, segment, vmid};
use crate::wire::resources::{Inventory, inventory};
use crate::wire::{storage, task};

/// What of a cluster is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resources {
    /// Everything.
    All,
    /// Virtual machines and containers.
    Guests,
    /// Hosts.
    Hosts,
    /// Storages.
    Pools,
    /// Zones and networks of software-defined networking.
    Networks,
}

impl Resources {
    /// The value of `type`; everything has none.
    const fn filter(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Guests => Some("vm"),
            Self::Hosts => Some("node"),
            Self::Pools => Some("storage"),
            Self::Networks => Some("sdn"),
        }
    }
}

/// Whose firewall is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FirewallScope {
    /// The cluster's.
    Cluster,
    /// A host's.
    Host(HostId),
    /// A guest's.
    Vm(VmId),
}

impl Proxmox {
    /// What the cluster has, by kind or all at once (`/cluster/resources`): up to ten seconds old, in one request.
    ///
    /// # Errors
    /// `PermissionDenied`; what the caller may not see is left out.
    pub async fn cluster_resources(&self, which: Resources) -> Result<Inventory> {
        let form = Form::new().maybe("type", which.filter());
        let call = Call::get("/cluster/resources").query(form).operation(Operation::ListVms);
        inventory(&self.inner.api.bytes(&call).await?).map_err(named(Operation::ListVms))
    }

    /// The storages as they are configured (`/storage`), without how full they are.
    ///
    /// # Errors
    /// `PermissionDenied`; what the caller may not see is left out.
    pub async fn storage_config(&self) -> Result<Vec<PoolInfo>> {
        let call = Call::get("/storage").operation(Operation::ListPools);
        storage::pools(&self.inner.api.bytes(&call).await?, None).map_err(named(Operation::ListPools))
    }

    /// The volumes of a storage as one host sees them, of one content (`images`, `iso`, `backup`, …) or of all.
    ///
    /// # Errors
    /// `NotFound` for the host or the storage, `PermissionDenied`.
    pub async fn storage_content(
        &self,
        host: &HostId,
        pool: &PoolId,
        content: Option<&str>,
    ) -> Result<Vec<VolumeInfo>> {
        let operation = Operation::ListVolumes;
        let path = format!(
            "/nodes/{}/storage/{}/content",
            segment("host", host.as_str())?,
            segment("pool", pool.as_str())?
        );
        let call = Call::get(path).query(Form::new().maybe("content", content)).operation(operation);
        let answer = self.inner.api.bytes(&call).await.map_err(crate::storage::of_pool(pool)).map_err(of_host(host))?;
        storage::volumes(&answer).map_err(named(operation))
    }

    /// The recent tasks of the whole cluster, in one request. Older ones are in [`list_tasks`](hypervisor_core::traits::Tasks::list_tasks).
    ///
    /// # Errors
    /// `PermissionDenied`; what the caller may not see is left out.
    pub async fn recent_tasks(&self) -> Result<Vec<TaskInfo>> {
        let call = Call::get("/cluster/tasks").operation(Operation::ListTasks);
        let tasks = task::tasks(&self.inner.api.bytes(&call).await?);
        tasks.map(|(tasks, _)| tasks).map_err(named(Operation::ListTasks))
    }

    /// Moves a disk to another storage. The old volume is kept as an unused one unless `delete` says otherwise.
    ///
    /// # Errors
    /// `NotFound` for the guest, the disk or the storage; `Locked`, `PermissionDenied`.
    pub async fn move_disk(&self, vm: &VmId, disk: &DiskId, to: &PoolId, delete: bool) -> Result<Started<()>> {
        let operation = Operation::ResizeDisk;
        let inner = &*self.inner;
        let task = inner.on_guest(operation, vm, |found| async move {
            let (call, key) = match found.place.kind {
                GuestKind::Container => ("/move_volume", "volume"),
                _ => ("/move_disk", "disk"),
            };
            let form = Form::new().text(key, disk.as_str()).text("storage", to.as_str()).flag_if("delete", delete);
            inner.api.task(&Call::post(found.path(call)?, form).operation(operation)).await
        });
        Ok(begun((), task.await?))
    }

    /// Gives a disk to another guest of the same host.
    ///
    /// # Errors
    /// `NotFound` for either guest or the disk; `AlreadyExists` where the other one's slot is taken.
    pub async fn give_disk(&self, vm: &VmId, disk: &DiskId, to: &VmId, slot: &DiskId) -> Result<Started<()>> {
        let operation = Operation::DetachDisk;
        let inner = &*self.inner;
        let target = vmid(to)?;
        let task = inner.on_guest(operation, vm, |found| async move {
            let (call, key, other) = match found.place.kind {
                GuestKind::Container => ("/move_volume", "volume", "target-volume"),
                _ => ("/move_disk", "disk", "target-disk"),
            };
            let form = Form::new().text(key, disk.as_str()).number("target-vmid", target.into());
            let form = form.text(other, slot.as_str());
            inner.api.task(&Call::post(found.path(call)?, form).operation(operation)).await
        });
        Ok(begun((), task.await?))
    }

    /// Takes volumes away that a guest has no more use for: its unused ones, by their slots (`unused0`), or others, which it keeps as
    /// unused ones unless `delete` says otherwise.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`. Virtual machines only.
    pub async fn unlink_disks(&self, vm: &VmId, slots: &[DiskId], delete: bool) -> Result<()> {
        let operation = Operation::DetachDisk;
        let inner = &*self.inner;
        let list = slots.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
        let list = &list;
        let done = inner.on_guest(operation, vm, |found| async move {
            let form = Form::new().text("idlist", list.as_str()).flag_if("force", delete);
            inner.api.bytes(&Call::put(found.path("/unlink")?, form).operation(operation)).await
        });
        done.await.map(drop)
    }

    /// Sends keys to a virtual machine, in QEMU's words (`ctrl-alt-delete`).
    ///
    /// # Errors
    /// `InvalidState` for one that does not run, `InvalidInput` for a key that is none.
    pub async fn send_key(&self, vm: &VmId, key: &str) -> Result<()> {
        let operation = Operation::GetConsole;
        let inner = &*self.inner;
        let done = inner.on_guest(operation, vm, |found| async move {
            let form = Form::new().text("key", key);
            inner.api.bytes(&Call::put(found.path("/sendkey")?, form).operation(operation)).await
        });
        done.await.map(drop)
    }

    /// What cloud-init of a virtual machine reads: `user`, `network` or `meta`, as the server would write it.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn cloud_init_document(&self, vm: &VmId, kind: &str) -> Result<String> {
        let operation = Operation::GetVmConfig;
        let inner = &*self.inner;
        let read = inner.on_guest(operation, vm, |found| async move {
            let form = Form::new().text("type", kind);
            inner.api.value(&Call::get(found.path("/cloudinit/dump")?).query(form).operation(operation)).await
        });
        Ok(crate::wire::scalar::text_of(&read.await?).unwrap_or_default())
    }

    /// Where a guest could move to, and what keeps it here, as the server says it.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn migration_check(&self, vm: &VmId, target: Option<&HostId>) -> Result<Value> {
        let operation = Operation::MigrateVm;
        let inner = &*self.inner;
        let read = inner.on_guest(operation, vm, |found| async move {
            let form = Form::new().maybe("target", target.map(|host| host.as_str().to_owned()));
            inner.api.value(&Call::get(found.path("/migrate")?).query(form).operation(operation)).await
        });
        read.await
    }

    /// The rules of a firewall, as the server has them.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn firewall_rules(&self, scope: &FirewallScope) -> Result<Vec<Value>> {
        let answer = self.firewall(scope, "/rules", |path| Call::get(path)).await?;
        Ok(match answer {
            Value::Array(rules) => rules,
            _ => Vec::new(),
        })
    }

    /// Adds a rule to a firewall, with the server's parameters (`action`, `type`, `proto`, `dport`, …).
    ///
    /// # Errors
    /// `InvalidInput` naming the parameter, `NotFound`, `PermissionDenied`.
    pub async fn add_firewall_rule(&self, scope: &FirewallScope, rule: &Form) -> Result<()> {
        self.firewall(scope, "/rules", |path| Call::post(path, rule.clone())).await.map(drop)
    }

    /// Deletes the rule at this place of a firewall.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_firewall_rule(&self, scope: &FirewallScope, position: u32) -> Result<()> {
        let rest = format!("/rules/{position}");
        self.firewall(scope, &rest, |path| Call::delete(path, Form::new())).await.map(drop)
    }

    /// The options of a firewall, as the server has them.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn firewall_options(&self, scope: &FirewallScope) -> Result<Value> {
        self.firewall(scope, "/options", |path| Call::get(path)).await
    }

    async fn firewall(&self, scope: &FirewallScope, rest: &str, call: impl Fn(String) -> Call + Send + Sync) -> Result<Value> {
        let operation = Operation::GetVmConfig;
        let inner = &*self.inner;
        let call = &call;
        match scope {
            FirewallScope::Cluster => inner.api.value(&call(format!("/cluster/firewall{rest}")).operation(operation)).await,
            FirewallScope::Host(host) => {
                let path = format!("/nodes/{}/firewall{rest}", segment("host", host.as_str())?);
                inner.api.value(&call(path).operation(operation)).await.map_err(of_host(host))
            }
            FirewallScope::Vm(vm) => {
                let done = inner.on_guest(operation, vm, |found| async move {
                    let path = found.path(&format!("/firewall{rest}"))?;
                    inner.api.value(&call(path).operation(operation)).await
                });
                done.await
            }
        }
    }

    /// Copies a volume of one host to another storage of it, where the server can (`content/{volume}` by `POST`, an experiment of
    /// Proxmox).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, or what the server refuses it with.
    pub async fn copy_volume(&self, host: &HostId, volume: &VolumeId, target: &str) -> Result<Option<TaskId>> {
        let (pool, _) = crate::storage::parts(volume)?;
        let path = format!(
            "/nodes/{}/storage/{}/content/{}",
            segment("host", host.as_str())?,
            segment("pool", pool.as_str())?,
            crate::wire::form::volume_segment("volume", volume.as_str())?
        );
        let call = Call::post(path, Form::new().text("target", target)).operation(Operation::CloneVolume);
        self.inner.api.task(&call).await
    }

    /// What the caller may do: path -> privilege -> whether it holds below the path too.
    ///
    /// # Errors
    /// Why no answer came.
    pub async fn permissions(&self) -> Result<Value> {
        self.inner.api.get("/access/permissions").await
    }
}
