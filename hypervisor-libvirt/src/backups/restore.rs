//! Taking a guest back, or making a new one, from a backup.

use std::sync::Arc;

use hypervisor_core::model::{
    BackupId, ByteSize, RestoreBackup, RestoreTo, Started, VmId, VolumeFormat, VolumeSpec,
};
use hypervisor_core::{Effect, Error, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;

use super::forget_tracking;
use super::manifest::{Found, SavedDisk};
use crate::backend::Inner;
use crate::blocking::Lane;
use crate::compute::create::undefine;
use crate::compute::identity::new_identity;
use crate::compute::lifecycle::refuse_unless_off;
use crate::compute::lookup;
use crate::compute::volumes::{Made, delete_all, handle_at_path, resolve};
use crate::error::{Fail, Outcome, named};
use crate::storage::{self, usable_pool};
use crate::tasks::{Running, cancelled};
use crate::xml::Element;
use crate::xml::device::{is_own, source_path};
use crate::xml::marks::Marks;
use crate::xml::storage::volume_id;

const OPERATION: Operation = Operation::RestoreBackup;

/// Restores a backup, as a task.
pub(super) async fn restore(
    inner: &Arc<Inner>,
    backup: &BackupId,
    options: RestoreBackup,
) -> Result<Started<VmId>> {
    let id = match &options.id {
        None => Uuid::new_v4(),
        Some(id) => Uuid::parse_str(id.as_str())
            .map_err(|error| named(OPERATION)(Error::invalid("id", format!("must be a UUID: {error}"))))?,
    };
    let job = Arc::new(Job { backup: backup.clone(), options, uuid: id });
    let checked = Arc::clone(&job);
    // Refused here rather than in the task, where nobody may look.
    let vm = inner.call_slow(OPERATION, move |conn| checked.check(conn)).await?;
    let own = Arc::clone(inner);
    let restored = vm.clone();
    let task = inner.tasks.spawn_watched(OPERATION, Some(&vm), |running| async move {
        let work = move |conn: &Connect| job.carry_out(conn, &running);
        let outcome = own.run(OPERATION, Lane::Slow, storage::COPY_LIMIT, work).await;
        own.forget_facts(restored.as_str());
        own.users.forget();
        outcome
    });
    Ok(Started::running(vm, task))
}

struct Job {
    backup: BackupId,
    options: RestoreBackup,
    /// Of a new guest.
    uuid: Uuid,
}

impl Job {
    fn check(&self, conn: &Connect) -> Outcome<VmId> {
        let found = Found::by_id(conn, &self.backup)?;
        for disk in &found.manifest.disks {
            found.whole(disk)?;
        }
        if let Some(pool) = &self.options.pool {
            usable_pool(conn, pool.as_str())?;
        }
        match &self.options.to {
            RestoreTo::New(name) => {
                let id = VmId::from(self.uuid.to_string());
                lookup::refuse_taken_name(conn, name)?;
                if lookup::domain(conn, &id).is_ok() {
                    return Err(Error::already_exists(VmId::NOUN, &id).into());
                }
                Ok(id)
            }
            _ => {
                let vm = found.place.vm();
                let domain = lookup::domain(conn, &vm)?;
                refuse_unless_off(&domain, &vm)?;
                if !domain.list_all_snapshots(0)?.is_empty() {
                    let error = Error::invalid_state("it has snapshots, which would be lost");
                    let error = error.with_hint("Delete them first, or restore to a new guest");
                    return Err(error.with_target(VmId::NOUN, &vm).into());
                }
                let mut before = lookup::whole_definition(&domain)?;
                resolve(conn, &mut before)?;
                for path in replaced(&before, &found) {
                    refuse_backing(conn, &path, &vm)?;
                }
                Ok(vm)
            }
        }
    }

    fn carry_out(&self, conn: &Connect, running: &Running) -> Outcome<()> {
        let found = Found::by_id(conn, &self.backup)?;
        let mut definition = Element::parse(&found.manifest.definition)?;
        let mut made = Made::default();
        let name = match &self.options.to {
            RestoreTo::New(name) => name.clone(),
            _ => lookup::domain(conn, &found.place.vm())?.get_name()?,
        };
        let outcome = self.disks(conn, &found, &mut definition, &name, &mut made, running).and_then(|()| {
            match &self.options.to {
                RestoreTo::New(name) => self.define_new(conn, definition, name),
                _ => self.define_over(conn, definition, &found),
            }
        });
        outcome.map_err(|fail| match fail {
            // The guest is whole again; only what it had before could not be removed.
            Left::Over(fail) => fail,
            Left::Failed(fail) => made.undo(fail),
        })
    }

    /// Copies the disks into volumes of their own, and writes those into the definition.
    fn disks(
        &self,
        conn: &Connect,
        found: &Found,
        definition: &mut Element,
        name: &str,
        made: &mut Made,
        running: &Running,
    ) -> Result<(), Left> {
        let total: u64 = found.manifest.disks.iter().map(|disk| disk.capacity).sum();
        let mut done = 0_u64;
        let devices = definition.ensure("devices");
        // A disk that was attached and not there yet has no content, and its volume is another guest's by now.
        let saved =
            |slot: Option<&str>| found.manifest.disks.iter().find(|disk| Some(disk.slot.as_str()) == slot);
        let lost = |item: &Element| {
            item.name == "disk" && is_own(item) && saved(item.attr_at("target", "dev")).is_none()
        };
        while devices.remove_where(lost).is_some() {}
        for element in devices.elements_mut().filter(|item| item.name == "disk" && is_own(item)) {
            let Some(disk) = saved(element.attr_at("target", "dev")) else { continue };
            if running.is_cancelled() {
                return Err(Left::Failed(cancelled().into()));
            }
            running.stage(format!("copies {}", disk.slot));
            if element.attr_is("type", "network") {
                running.say(format!(
                    "{} was on the network, where it stays as it is: the guest gets a copy here",
                    disk.slot
                ));
            }
            self.disk(conn, found, disk, name, element, made)?;
            done = done.saturating_add(disk.capacity);
            running.bytes(done, total);
        }
        Ok(())
    }

    fn disk(
        &self,
        conn: &Connect,
        found: &Found,
        disk: &SavedDisk,
        name: &str,
        element: &mut Element,
        made: &mut Made,
    ) -> Outcome<()> {
        let content = found.whole(disk)?;
        let usual = |pool: &&str| usable_pool(conn, pool).is_ok();
        let wanted = match &self.options.pool {
            Some(pool) => pool.as_str(),
            None => disk.pool.as_deref().filter(usual).unwrap_or(&found.place.pool),
        };
        let (pool, files) = usable_pool(conn, wanted)?;
        let format = VolumeFormat::parse(&disk.format);
        let format = files.map(|_| format);
        let ending = match &format {
            Some(VolumeFormat::Qcow2) => ".qcow2",
            Some(VolumeFormat::Raw) => ".img",
            _ => "",
        };
        let file = match self.options.to {
            RestoreTo::New(_) => format!("{name}-{}{ending}", disk.slot),
            // The volume that it replaces is still there.
            _ => format!("{name}-{}-{}{ending}", disk.slot, short()),
        };
        storage::refuse_taken_volume(&pool, wanted, &file)?;
        let spec = VolumeSpec::new(wanted, &file, ByteSize::bytes(disk.capacity));
        let volume = storage::make_volume(&pool, &spec, format.as_ref(), None, Some(&content))?;
        let path = volume.get_path();
        made.push(volume_id(wanted, &file), volume);
        let device = format.is_none();
        element.set_attr("type", if device { "block" } else { "file" });
        let key = if device { "dev" } else { "file" };
        element.replace(Element::new("source").with_attr(key, path?));
        let kind = format.as_ref().map_or("raw", VolumeFormat::as_str);
        element.ensure("driver").set_attr("type", kind);
        // What libvirt found out about the original's files, and how the original was opened: the copy is neither locked nor far away.
        for name in ["backingStore", "auth", "encryption"] {
            element.remove(name);
        }
        Ok(())
    }

    fn define_new(&self, conn: &Connect, mut definition: Element, name: &str) -> Result<(), Left> {
        new_identity(&mut definition, name, self.uuid);
        let mut marks = Marks::read(&definition);
        marks.client_token = None;
        marks.created = Some(std::time::SystemTime::now());
        // It goes with the original: two guests must not share it.
        crate::seed::remove(&mut definition, &mut marks);
        marks.write(&mut definition);
        let domain = Domain::define_xml(conn, &definition.to_string()).map_err(Fail::from)?;
        if self.options.start {
            domain.create().map_err(|error| match undefine(&domain, error.into()) {
                // Its definition is still there, and needs the disks.
                Fail::Ours(error) if error.effect() == Effect::Partial => Left::Over(error.into()),
                fail => Left::Failed(fail),
            })?;
        }
        Ok(())
    }

    fn define_over(&self, conn: &Connect, mut definition: Element, found: &Found) -> Result<(), Left> {
        let vm = found.place.vm();
        let domain = lookup::domain(conn, &vm)?;
        refuse_unless_off(&domain, &vm)?;
        let mut before = lookup::whole_definition(&domain)?;
        resolve(conn, &mut before)?;
        definition.set_child_text("name", domain.get_name().map_err(Fail::from)?);
        definition.set_child_text("uuid", domain.get_uuid_string().map_err(Fail::from)?);
        let mut marks = Marks::read(&definition);
        marks.client_token = Marks::read(&before).client_token;
        marks.write(&mut definition);
        forget_tracking(&domain)?;
        Domain::define_xml(conn, &definition.to_string()).map_err(Fail::from)?;
        delete_all(conn, &replaced(&before, found)).map_err(|fail| {
            let error = Error::from(fail);
            Left::Over(
                Error::new(error.kind(), error.message().to_owned())
                    .with_hint(
                        "The guest is restored; the volumes that it had before could not all be deleted",
                    )
                    .with_target(VmId::NOUN, &vm)
                    .into(),
            )
        })?;
        if self.options.start {
            domain.create().map_err(|error| Left::Over(lookup::named(&vm)(error.into())))?;
        }
        Ok(())
    }
}

/// Whether the new volumes are of any use after a failure.
enum Left {
    Failed(Fail),
    Over(Fail),
}

impl From<Fail> for Left {
    fn from(fail: Fail) -> Self {
        Self::Failed(fail)
    }
}

fn short() -> String {
    let id = Uuid::new_v4().simple().to_string();
    id.chars().take(8).collect()
}

/// The files of a guest that a restored one has others instead of.
fn replaced(definition: &Element, found: &Found) -> Vec<String> {
    let saved = |slot: Option<&str>| found.manifest.disks.iter().any(|disk| Some(disk.slot.as_str()) == slot);
    let disks = definition.all("devices/disk").into_iter();
    let disks = disks.filter(|disk| is_own(disk) && saved(disk.attr_at("target", "dev")));
    disks.filter_map(source_path).collect()
}

/// Refuses to replace a volume that others start from.
fn refuse_backing(conn: &Connect, path: &str, vm: &VmId) -> Outcome<()> {
    let Some(volume) = handle_at_path(conn, path)? else { return Ok(()) };
    match storage::upper_of(&volume)? {
        None => Ok(()),
        Some(upper) => {
            let why = format!("the volume `{upper}` starts from its disk at {path}");
            Err(Error::invalid_state(why).with_target(VmId::NOUN, vm).into())
        }
    }
}
