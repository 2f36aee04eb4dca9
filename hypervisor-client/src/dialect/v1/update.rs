//! Changing a machine by the documented API, which replaces what it is sent.

use std::collections::BTreeSet;

use hypervisor_core::model::{ApplyPolicy, Started, UpdateOutcome, VmChange, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation as O, Result};

use super::V1;
use super::wire::vm::VmRecord;
use super::wire::vm_body as body_of;

impl V1 {
    pub(super) async fn update_documented(
        &self,
        vm: &VmId,
        change: &VmChange,
    ) -> Result<Started<UpdateOutcome>> {
        if change.apply != ApplyPolicy::AllowPending {
            return Err(Error::invalid("apply", "the gateway decides itself when a change comes into force"));
        }
        // What cannot be said is refused before anything is asked.
        body_of::update_body(change, None)?;
        let present = self.details(O::UpdateVm, vm).await?;
        present.to_info().check_uid(change.expected_uid.as_deref())?;
        if change.is_empty() {
            return Ok(Started::done(UpdateOutcome::new(Vec::new(), Vec::new())));
        }
        let tags = self.tags_after(&present, change).await?;
        let request =
            self.request(O::UpdateVm, &[vm.as_str()])?.json(&body_of::update_body(change, tags.as_ref())?);
        let written = self.write(request).await.map_err(|error| match &change.name {
            Some(name) if error.kind() == ErrorKind::Conflict => {
                let taken = Error::already_exists(VmId::NOUN, name).with_operation(O::UpdateVm);
                taken.with_code(error.code().unwrap_or_default().to_owned())
            }
            _ => error.with_target(VmId::NOUN, vm),
        })?;
        let fields = [
            ("name", change.name.is_some(), false),
            ("description", change.description.is_some(), false),
            ("tags", tags.is_some(), false),
            ("cpus", change.cpus.is_some(), true),
            ("memory", change.memory.is_some(), true),
        ];
        // The gateway does not say what of a running machine it has changed: the hardware is taken to wait.
        let running = present.state().is_active();
        let (pending, applied): (Vec<_>, Vec<_>) = fields
            .into_iter()
            .filter(|(_, changed, _)| *changed)
            .partition(|(_, _, hardware)| *hardware && running);
        let names =
            |fields: Vec<(&str, bool, bool)>| fields.into_iter().map(|(name, ..)| name.to_owned()).collect();
        Ok(written.started(UpdateOutcome::new(names(applied), names(pending))))
    }

    /// All tags that a machine is to have: the documented update replaces them. The details do not always tell those that it has.
    async fn tags_after(&self, present: &VmRecord, change: &VmChange) -> Result<Option<BTreeSet<String>>> {
        if change.add_tags.is_empty() && change.remove_tags.is_empty() {
            return Ok(None);
        }
        let tags = match &present.tags {
            Some(tags) => tags.clone(),
            None => {
                let listed = self.find(O::ListVms, |record: &VmRecord| record.id == present.id).await?;
                listed.and_then(|record| record.tags).ok_or_else(|| {
                    let why = "the gateway does not tell the machine's tags, which a change would replace";
                    Error::new(ErrorKind::Protocol, why).with_effect(Effect::None)
                })?
            }
        };
        let mut tags: BTreeSet<String> = tags.into_iter().collect();
        tags.retain(|tag| !change.remove_tags.contains(tag));
        tags.extend(change.add_tags.iter().cloned());
        Ok(Some(tags))
    }
}
