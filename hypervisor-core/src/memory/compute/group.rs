//! Resource groups.

use crate::error::{Error, Result};
use crate::memory::state::{Group, World};
use crate::model::{EventKind, GroupChange, GroupId, GroupInfo, GroupSpec, Started, VmId};

impl World {
    pub(super) fn group_info(&self, id: &GroupId, group: &Group) -> GroupInfo {
        let members = self.vms.values().filter(|vm| vm.setup.spec.group.as_ref() == Some(id));
        let mut info = GroupInfo::new(id).vms(members.map(|vm| vm.id.clone()).collect());
        info.description.clone_from(&group.description);
        info.pools(group.pools.iter().cloned().collect())
    }

    pub(in crate::memory) fn group_exists(&self, id: Option<&GroupId>) -> Result<()> {
        id.map_or(Ok(()), |id| self.groups.get(id).map(|_| ()).ok_or_else(|| id.not_found()))
    }

    pub(super) fn create_group(&mut self, spec: &GroupSpec) -> Result<Started<GroupId>> {
        let id = GroupId::from(spec.name.as_str());
        if self.groups.contains_key(&id) {
            return Err(Error::already_exists(GroupId::NOUN, &id));
        }
        let description = spec.description.clone().filter(|text| !text.is_empty());
        self.groups.insert(id.clone(), Group { description, ..Group::default() });
        Ok(Started::done(id))
    }

    pub(super) fn update_group(&mut self, id: &GroupId, change: &GroupChange) -> Result<Started<()>> {
        self.group_exists(Some(id))?;
        for vm in change.add_vms.iter().chain(&change.remove_vms) {
            self.free_vm(vm)?;
        }
        for pool in change.add_pools.iter().chain(&change.remove_pools) {
            self.pool(pool)?;
        }
        if let Some(group) = self.groups.get_mut(id) {
            if let Some(text) = &change.description {
                group.description = Some(text.clone()).filter(|text| !text.is_empty());
            }
            group.pools.extend(change.add_pools.iter().cloned());
            group.pools.retain(|pool| !change.remove_pools.contains(pool));
        }
        for vm in &change.add_vms {
            self.regroup(vm, Some(id.clone()));
        }
        for vm in &change.remove_vms {
            if self.vm(vm)?.setup.spec.group.as_ref() == Some(id) {
                self.regroup(vm, None);
            }
        }
        Ok(Started::done(()))
    }

    fn regroup(&mut self, id: &VmId, group: Option<GroupId>) {
        if let Some(vm) = self.vms.get_mut(id) {
            vm.setup.spec.group = group;
            vm.revision += 1;
            self.emit(EventKind::VmUpdated(id.clone()));
        }
    }

    pub(super) fn delete_group(&mut self, id: &GroupId) -> Result<Started<()>> {
        let group = self.groups.get(id).ok_or_else(|| id.not_found())?;
        let info = self.group_info(id, group);
        if !(info.vms.is_empty() && info.pools.is_empty()) {
            return Err(Error::invalid_state("it still has members").with_target(GroupId::NOUN, id));
        }
        self.groups.remove(id);
        Ok(Started::done(()))
    }
}
