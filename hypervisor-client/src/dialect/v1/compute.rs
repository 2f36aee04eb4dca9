//! Hosts and machines.

use async_trait::async_trait;
use hypervisor_core::http::Request;
use hypervisor_core::model::{
    ByteSize, CloneSpec, ClusterInfo, ConsoleAccess, ConsoleKind, ConsoleStream, DeleteVm, DeploySpec,
    DetachDisk, DiskId, DiskSpec, ExportSpec, ExportedVm, GroupChange, GroupId, GroupInfo, GroupSpec, HostId,
    HostInfo, MigrateSpec, NetworkId, NicChange, NicId, NicSource, NicSpec, Page, PageRequest, PowerAction,
    Screenshot, Started, TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmQuery, VmSpec,
    VmState,
};
use hypervisor_core::{Compute, Effect, Error, Operation as O, Result, Snapshots as _};
use serde::Serialize;
use serde_json::json;

use super::V1;
use super::call::{about, body, json};
use super::wire::envelope::key;
use super::wire::network::NetworkRecord;
use super::wire::vm::VmRecord;
use super::wire::vm_body as body_of;

#[async_trait]
impl Compute for V1 {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.needs(O::ListVms, &query.needs())?;
        let request = self.request(O::ListVms, &[])?;
        if self.native {
            let request = if *query == VmQuery::all() {
                request
            } else {
                request.query("query", json("query", query)?)
            };
            return self.link.native_page(request, page).await;
        }
        let state = query.state.as_ref().filter(|state| status(state).is_some());
        let request = match state.and_then(status) {
            Some(status) => request.query("status", status),
            None => request,
        };
        let found = self.link.documented_page(request, page, |vm: &VmRecord| vm.id.clone()).await?;
        let whole = *query == VmQuery::all();
        let mut found = found.map(|vm| vm.to_info());
        found.items.retain(|vm| query.matches(vm));
        if !whole {
            found.total = None;
        }
        Ok(found)
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        if self.native {
            let request = self.request(O::GetVm, &[vm.as_str()])?;
            return self.link.info::<key::Vm, _>(request).await.map_err(about(VmId::NOUN, vm));
        }
        Ok(self.details(O::GetVm, vm).await?.to_info())
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.needs(O::CreateVm, &spec.needs())?;
        if self.native {
            let mut sent = body_of::best_body(spec);
            body_of::put_some(&mut sent, "spec", Some(spec));
            let request = marked(self.request(O::CreateVm, &[])?, spec.client_token.as_deref()).json(&sent);
            return self.link.started(request).await.map_err(about(VmId::NOUN, &spec.name));
        }
        let vlan = self.vlan_of(&spec.nics).await?;
        let request = self.request(O::CreateVm, &[])?.json(&body_of::create_body(spec, vlan)?);
        let made = self.make(request, &["vm"]).await.map_err(about(VmId::NOUN, &spec.name))?.map(VmId::from);
        if spec.start { self.follow_with_start(made).await } else { Ok(made) }
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        let operation = action.operation();
        self.needs(operation, &action.needs())?;
        if self.native {
            let request = self.request(operation, &[vm.as_str()])?.json(&body("action", action)?);
            return self.link.started(request).await.map_err(about(VmId::NOUN, vm));
        }
        let state = self.details(operation, vm).await?.state();
        action.check_state(&state).map_err(about(VmId::NOUN, vm))?;
        let request = self.request(operation, &[vm.as_str()])?;
        let request = match action {
            PowerAction::Shutdown(shutdown) => {
                let mut stop = json!({ "graceful": true });
                let seconds = shutdown.power_off_after.map(|after| after.as_millis().div_ceil(1000));
                body_of::put_some(
                    &mut stop,
                    "timeout_seconds",
                    seconds.and_then(|seconds| u64::try_from(seconds).ok()),
                );
                request.json(&stop)
            }
            PowerAction::PowerOff => request.json(&json!({ "graceful": false })),
            _ => request,
        };
        Ok(self.write(request).await.map_err(about(VmId::NOUN, vm))?.started(()))
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.needs(O::DeleteVm, &options.needs())?;
        let mut request = self.request(O::DeleteVm, &[vm.as_str()])?;
        if options.power_off {
            request = request.query("force", "true");
        }
        // Without it the gateway keeps them: that is its default.
        if options.keep_backups {
            request = request.query("keep_backups", "true");
        }
        if self.native {
            let request = request.query("options", json("options", options)?);
            return self.link.started(request).await.map_err(about(VmId::NOUN, vm));
        }
        let info = self.details(O::DeleteVm, vm).await?.to_info();
        info.check_uid(options.expected_uid.as_deref())?;
        if info.state.is_active() && !options.power_off {
            let why = format!("it is {}, but must be stopped", info.state);
            return Err(Error::invalid_state(why).with_operation(O::DeleteVm).with_target(VmId::NOUN, vm));
        }
        if !options.snapshots && !self.list_snapshots(vm).await?.is_empty() {
            let error =
                Error::invalid_state("it has snapshots, which would be lost").with_operation(O::DeleteVm);
            return Err(error.with_target(VmId::NOUN, vm));
        }
        Ok(self.write(request).await.map_err(about(VmId::NOUN, vm))?.started(()))
    }

    async fn get_cluster(&self) -> Result<ClusterInfo> {
        self.link.field::<key::Cluster, _>(self.request(O::GetCluster, &[])?).await
    }

    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        self.link.native_page(self.request(O::ListHosts, &[])?, page).await
    }

    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        let request = self.request(O::GetHost, &[host.as_str()])?;
        self.link.info::<key::Host, _>(request).await.map_err(about(HostId::NOUN, host))
    }

    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        let request = self.request(O::GetVmConfig, &[vm.as_str()])?;
        self.link.field::<key::Config, _>(request).await.map_err(about(VmId::NOUN, vm))
    }

    async fn update_vm(&self, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        change.validate()?;
        self.needs(O::UpdateVm, &change.needs())?;
        if self.native {
            let request = self.request(O::UpdateVm, &[vm.as_str()])?.json(&body("change", change)?);
            return self.link.started(request).await.map_err(about(VmId::NOUN, vm));
        }
        self.update_documented(vm, change).await
    }

    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        self.needs(O::CloneVm, &spec.needs())?;
        spec.validate()?;
        let request = marked(self.request(O::CloneVm, &[vm.as_str()])?, spec.client_token.as_deref());
        self.link.started(request.json(&body("spec", spec)?)).await.map_err(about(VmId::NOUN, vm))
    }

    async fn migrate_vm(&self, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        self.needs(O::MigrateVm, &spec.needs())?;
        spec.validate()?;
        self.posted(O::MigrateVm, vm, "spec", spec).await
    }

    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        self.needs(O::CreateTemplate, &spec.needs())?;
        spec.validate()?;
        self.posted(O::CreateTemplate, vm, "spec", spec).await
    }

    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.needs(O::DeployTemplate, &spec.needs())?;
        if self.native {
            let request = self.request(O::DeployTemplate, &[template.as_str()])?;
            let request = marked(request, spec.clone.client_token.as_deref()).json(&body("spec", spec)?);
            return self.link.started(request).await.map_err(about(VmId::NOUN, template));
        }
        let sent = body_of::deploy_body(template.as_str(), spec)?;
        let request = self.request(O::DeployTemplate, &[])?.json(&sent);
        let made = self.make(request, &["vm"]).await.map_err(|error| {
            let what = if error.is_not_found() { template.as_str() } else { spec.clone.name.as_str() };
            error.with_target(VmId::NOUN, what)
        });
        let made = made?.map(VmId::from);
        if spec.clone.start { self.follow_with_start(made).await } else { Ok(made) }
    }

    async fn export_vm(&self, vm: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        self.needs(O::ExportVm, &[])?;
        spec.validate()?;
        self.posted(O::ExportVm, vm, "spec", spec).await
    }

    async fn attach_disk(&self, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
        self.needs(O::AttachDisk, &disk.needs())?;
        disk.validate("disk")?;
        self.posted(O::AttachDisk, vm, "spec", disk).await
    }

    async fn detach_disk(&self, vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Result<Started<()>> {
        self.needs(O::DetachDisk, &[])?;
        let request = self.request(O::DetachDisk, &[vm.as_str(), disk.as_str()])?;
        let request = request.query("options", json("options", options)?);
        self.link.started(request).await.map_err(about(DiskId::NOUN, disk))
    }

    async fn resize_disk(&self, vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Result<Started<()>> {
        self.needs(O::ResizeDisk, &[])?;
        let request = self.request(O::ResizeDisk, &[vm.as_str(), disk.as_str()])?;
        self.link
            .started(request.json(&body("capacity", &capacity)?))
            .await
            .map_err(about(DiskId::NOUN, disk))
    }

    async fn attach_nic(&self, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
        self.needs(O::AttachNic, &nic.needs())?;
        nic.validate("nic")?;
        self.posted(O::AttachNic, vm, "spec", nic).await
    }

    async fn update_nic(&self, vm: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        self.needs(O::UpdateNic, &change.needs())?;
        change.validate()?;
        let request = self.request(O::UpdateNic, &[vm.as_str(), nic.as_str()])?;
        self.link.started(request.json(&body("change", change)?)).await.map_err(about(NicId::NOUN, nic))
    }

    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        self.needs(O::DetachNic, &[])?;
        let request = self.request(O::DetachNic, &[vm.as_str(), nic.as_str()])?;
        self.link.started(request).await.map_err(about(NicId::NOUN, nic))
    }

    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.needs(O::GetConsole, &[])?;
        let request = self.request(O::GetConsole, &[vm.as_str()])?.query("kind", json("kind", kind)?);
        self.link.field::<key::Access, _>(request).await.map_err(about(VmId::NOUN, vm))
    }

    /// Through a WebSocket of an extended gateway.
    async fn stream_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleStream> {
        Ok(self.open_console(vm, kind).await?.into_console())
    }

    async fn screenshot_vm(&self, vm: &VmId) -> Result<Screenshot> {
        self.needs(O::ScreenshotVm, &[])?;
        let request = self.request(O::ScreenshotVm, &[vm.as_str()])?;
        let response = self.link.send(request).await.map_err(about(VmId::NOUN, vm))?;
        let kind = response.header("content-type").unwrap_or("application/octet-stream").to_owned();
        Ok(Screenshot::new(kind, response.into_bytes()))
    }

    async fn list_groups(&self, page: &PageRequest) -> Result<Page<GroupInfo>> {
        self.link.native_page(self.request(O::ListGroups, &[])?, page).await
    }

    async fn get_group(&self, group: &GroupId) -> Result<GroupInfo> {
        let request = self.request(O::GetGroup, &[group.as_str()])?;
        self.link.info::<key::Group, _>(request).await.map_err(about(GroupId::NOUN, group))
    }

    async fn create_group(&self, spec: &GroupSpec) -> Result<Started<GroupId>> {
        self.needs(O::CreateGroup, &[])?;
        spec.validate()?;
        let request = self.request(O::CreateGroup, &[])?.json(&body("spec", spec)?);
        self.link.started(request).await.map_err(about(GroupId::NOUN, &spec.name))
    }

    async fn update_group(&self, group: &GroupId, change: &GroupChange) -> Result<Started<()>> {
        self.needs(O::UpdateGroup, &[])?;
        change.validate()?;
        let request = self.request(O::UpdateGroup, &[group.as_str()])?.json(&body("change", change)?);
        self.link.started(request).await.map_err(about(GroupId::NOUN, group))
    }

    async fn delete_group(&self, group: &GroupId) -> Result<Started<()>> {
        self.needs(O::DeleteGroup, &[])?;
        let request = self.request(O::DeleteGroup, &[group.as_str()])?;
        self.link.started(request).await.map_err(about(GroupId::NOUN, group))
    }
}

/// The documented filter for a state, where there is one.
fn status(state: &VmState) -> Option<&'static str> {
    match state {
        VmState::Running => Some("running"),
        VmState::Stopped => Some("stopped"),
        VmState::Paused => Some("paused"),
        _ => None,
    }
}

/// A create that the gateway recognises when it comes twice.
fn marked(request: Request, client_token: Option<&str>) -> Request {
    match client_token {
        Some(token) => request.header("idempotency-key", token),
        None => request,
    }
}

impl V1 {
    /// A call about a machine whose body is one part of the model.
    pub(super) async fn posted<B: Serialize + Sync, T: serde::de::DeserializeOwned>(
        &self,
        operation: O,
        vm: &VmId,
        key: &str,
        value: &B,
    ) -> Result<Started<T>> {
        let request = self.request(operation, &[vm.as_str()])?.json(&body(key, value)?);
        self.link.started(request).await.map_err(about(VmId::NOUN, vm))
    }

    /// The VLAN that puts a new machine into the network of its only NIC.
    async fn vlan_of(&self, nics: &[NicSpec]) -> Result<Option<u16>> {
        let nic = match nics {
            [] => return Ok(None),
            [nic] => nic,
            _ => return Err(Error::invalid("nics", "the gateway makes machines with one NIC")),
        };
        let NicSource::Network(network) = &nic.source else {
            let why =
                "the gateway puts a NIC into one of its networks, or into a VLAN (`V1Options::vlan_id`)";
            return Err(Error::invalid("nics[0]", why));
        };
        if *nic != NicSpec::network(network) {
            return Err(Error::invalid(
                "nics[0]",
                "the gateway takes the network of a NIC and nothing else of it",
            ));
        }
        let found =
            self.find(O::ListNetworks, |record: &NetworkRecord| record.id == network.as_str()).await?;
        let found = found.ok_or_else(|| network.not_found().with_operation(O::CreateVm))?;
        match found.vlan_id {
            Some(vlan) => Ok(Some(vlan)),
            None => {
                let why = format!(
                    "{} `{network}` has no VLAN, by which alone a machine gets into it",
                    NetworkId::NOUN
                );
                Err(Error::invalid("nics[0].network", why))
            }
        }
    }

    /// The documented create starts nothing: the machine is started once its job has ended, unless the gateway has done so.
    async fn follow_with_start(&self, made: Started<VmId>) -> Result<Started<VmId>> {
        let vm = made.output;
        if let Some(job) = &made.task {
            // The job is at work: a look that fails is no reason to make another machine.
            self.settled(job).await.map_err(about(VmId::NOUN, &vm)).map_err(Error::after_part)?;
        }
        if self.details(O::CreateVm, &vm).await.map_err(Error::after_part)?.state() == VmState::Running {
            return Ok(Started::done(vm));
        }
        let started = self.power_vm(&vm, &PowerAction::Start).await.map_err(|error| {
            error.with_effect(Effect::Partial).with_hint("The machine is there, but it was not started")
        })?;
        Ok(started.map(|()| vm))
    }
}
