//! Copying a guest: its disks, then a definition with an identity of its own.

use std::sync::Arc;
use std::time::SystemTime;

use hypervisor_core::model::{
    ByteSize, CloneSpec, CloudInit, NetworkId, NicChange, NicSource, Started, VmChange, VmId, VolumeFormat,
    VolumeSpec,
};
use hypervisor_core::{Effect, Error, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::create::undefine;
use super::identity::new_identity;
use super::lifecycle::refuse_unless_off;
use super::volumes::{Made, handle_at_path, resolve};
use super::{Shared, lookup, template};
use crate::backend::Inner;
use crate::blocking::Lane;
use crate::error::{Fail, Outcome, named};
use crate::seed;
use crate::storage;
use crate::storage::copy::Copies;
use crate::xml::Element;
use crate::xml::device::{change_nic, source_path, uncopied};
use crate::xml::domain::apply;
use crate::xml::marks::Marks;
use crate::xml::storage::{Backing, volume_id, volume_info};

/// What a copy is given beyond what the original has.
#[derive(Debug, Clone, Default)]
pub(super) struct Finish {
    pub(super) change: VmChange,
    pub(super) network: Option<NetworkId>,
    pub(super) template: bool,
    pub(super) autostart: bool,
    pub(super) cloud_init: Option<CloudInit>,
    /// Whether the copies are sealed.
    pub(super) seal: bool,
}

/// Copies a stopped guest. Disks that are copied are a task; links are made at once.
pub(super) async fn clone(
    inner: &Shared,
    operation: Operation,
    vm: &VmId,
    spec: CloneSpec,
    finish: Finish,
) -> Result<Started<VmId>> {
    inner.check_host(spec.host.as_ref()).map_err(named(operation))?;
    if let Some(group) = &spec.group {
        return Err(named(operation)(group.not_found().with_hint("libvirt has no resource groups")));
    }
    let uuid = match &spec.id {
        None => Uuid::new_v4(),
        Some(id) => Uuid::parse_str(id.as_str())
            .map_err(|error| named(operation)(Error::invalid("id", format!("must be a UUID: {error}"))))?,
    };
    finish.cloud_init.as_ref().map_or(Ok(()), seed::check).map_err(named(operation))?;
    let seeded = finish.cloud_init.is_some();
    let default_pool = inner.config.pool.clone();
    let job = Arc::new(Job { vm: vm.clone(), uuid, spec, finish, default_pool, copies: Arc::default() });
    let checked = Arc::clone(&job);
    // Refused here rather than in the task, where nobody may look.
    let copies = inner.call(operation, move |conn| checked.check(conn)).await?;
    let id = VmId::from(uuid.to_string());
    if !copies || job.spec.linked {
        let limit = if seeded { inner.config.slow_timeout } else { inner.config.timeout };
        let lane = if seeded { Lane::Slow } else { Lane::Fast };
        inner.run(operation, lane, limit, move |conn| job.carry_out(conn)).await?;
        inner.uppers.forget();
        inner.users.forget();
        return Ok(Started::done(id));
    }
    let own = Arc::clone(inner);
    let task = inner.tasks.spawn_watched(operation, Some(&id), |running| async move {
        let copies = Arc::clone(&job.copies);
        let work = async {
            if job.finish.seal {
                sealed(&own, operation, job).await
            } else {
                whole(&own, operation, job).await
            }
        };
        let outcome = copies.watch(&own, &running, work).await;
        own.users.forget();
        outcome
    });
    Ok(Started::running(id, task))
}

async fn whole(inner: &Shared, operation: Operation, job: Arc<Job>) -> Result<()> {
    inner.run(operation, Lane::Slow, storage::COPY_LIMIT, move |conn| job.carry_out(conn)).await
}

/// Copies, seals the copies, and only then defines the guest.
async fn sealed(inner: &Shared, operation: Operation, job: Arc<Job>) -> Result<()> {
    let copying = Arc::clone(&job);
    let copies =
        inner.run(operation, Lane::Slow, storage::COPY_LIMIT, move |conn| copying.copy(conn)).await?;
    let (definition, made) = copies;
    let outcome = template::seal(inner, &definition).await.map_err(named(operation));
    let end = move |conn: &Connect| match outcome {
        Ok(()) => job.define(conn, &definition).map_err(|fail| made.undo_undefined(fail)),
        // The copies are taken back: nothing is left that is half sealed.
        Err(error) => Err(made.undo(Fail::Ours(error.with_effect(Effect::None)))),
    };
    inner.call_slow(operation, end).await
}

struct Job {
    vm: VmId,
    uuid: Uuid,
    spec: CloneSpec,
    finish: Finish,
    copies: Arc<Copies>,
    /// Where the seed goes if the guest has no disk of its own.
    default_pool: String,
}

impl Job {
    /// Refuses what cannot be, and says whether there is anything to copy.
    fn check(&self, conn: &Connect) -> Outcome<bool> {
        let domain = lookup::domain(conn, &self.vm)?;
        refuse_unless_off(&domain, &self.vm)?;
        lookup::refuse_taken_name(conn, &self.spec.name)?;
        if lookup::domain(conn, &VmId::from(self.uuid.to_string())).is_ok() {
            return Err(Error::already_exists(VmId::NOUN, self.uuid).into());
        }
        if let Some(pool) = &self.spec.pool {
            super::volumes::check_pool(conn, pool.as_str())?;
        }
        if let Some(network) = &self.finish.network {
            crate::network::find(conn, network)?;
        }
        let mut definition = lookup::whole_definition(&domain)?;
        resolve(conn, &mut definition)?;
        refuse_uncopied(&definition, &self.vm)?;
        let (mut any, mut size) = (false, 0_u64);
        for disk in definition.all("devices/disk").into_iter().filter(|disk| is_copied(disk)) {
            let path = source_path(disk).unwrap_or_default();
            let Some(volume) = handle_at_path(conn, &path)? else {
                let slot = disk.attr_at("target", "dev").unwrap_or_default();
                let why = format!("its disk `{slot}` at {path} lies in no pool, and cannot be copied");
                return Err(Error::invalid_state(why).with_target(VmId::NOUN, &self.vm).into());
            };
            size = size.saturating_add(volume.get_info()?.allocation);
            any = true;
        }
        self.copies.expect(size);
        Ok(any)
    }

    fn carry_out(&self, conn: &Connect) -> Outcome<()> {
        let (definition, made) = self.copy(conn)?;
        self.define(conn, &definition).map_err(|fail| made.undo_undefined(fail))
    }

    /// Makes the copies, and the definition that names them.
    fn copy(&self, conn: &Connect) -> Outcome<(Element, Made)> {
        let domain = lookup::domain(conn, &self.vm)?;
        let mut definition = lookup::whole_definition(&domain)?;
        resolve(conn, &mut definition)?;
        self.identify(&mut definition)?;
        let mut made = Made::default();
        for disk in
            definition.ensure("devices").elements_mut().filter(|item| item.name == "disk" && is_copied(item))
        {
            if let Err(fail) = self.copy_disk(conn, disk, &mut made) {
                return Err(made.undo(fail));
            }
        }
        if let Err(fail) = self.copies.check() {
            return Err(made.undo(fail));
        }
        if let Some(seed) = &self.finish.cloud_init {
            let pool = made.first_pool().unwrap_or_else(|| self.default_pool.clone());
            if let Err(fail) = seed::add(conn, &pool, seed, &mut definition, &mut made) {
                return Err(made.undo(fail));
            }
        }
        Ok((definition, made))
    }

    fn define(&self, conn: &Connect, definition: &Element) -> Outcome<()> {
        let copy = Domain::define_xml(conn, &definition.to_string())?;
        let finish = || -> Outcome<()> {
            if self.finish.autostart {
                copy.set_autostart(true)?;
            }
            if self.spec.start {
                copy.create()?;
            }
            Ok(())
        };
        finish().map_err(|fail| undefine(&copy, fail))
    }

    /// Gives the definition a name, a UUID, addresses and marks of its own.
    fn identify(&self, definition: &mut Element) -> Outcome<()> {
        new_identity(definition, &self.spec.name, self.uuid);
        if let Some(description) = &self.spec.description {
            definition.set_child_text("description", description);
        }
        let mut marks = Marks::read(definition);
        marks.client_token.clone_from(&self.spec.client_token);
        marks.template = self.finish.template;
        marks.created = Some(SystemTime::now());
        seed::remove(definition, &mut marks);
        marks.write(definition);
        apply(definition, &self.finish.change);
        let plug = self.finish.network.as_ref().map(|network| NicSource::Network(network.clone()));
        let mut first = plug.map(|source| NicChange::new().source(source));
        let nics = definition.ensure("devices").elements_mut().filter(|device| device.name == "interface");
        for nic in nics {
            if let Some(change) = first.take() {
                change_nic(nic, &change)?;
            }
        }
        Ok(())
    }

    fn copy_disk(&self, conn: &Connect, disk: &mut Element, made: &mut Made) -> Outcome<()> {
        let path = source_path(disk).unwrap_or_default();
        let volume = handle_at_path(conn, &path)?;
        let volume = volume.ok_or_else(|| Error::invalid_state(format!("no pool knows {path} any more")))?;
        let from = virt::storage_pool::StoragePool::lookup_by_volume(&volume)?.get_name()?;
        let original = volume_info(&from, &Element::parse(&volume.get_xml_desc(0)?)?)?;
        let wanted = self.spec.pool.as_ref().map_or(from.as_str(), |pool| pool.as_str());
        let (pool, usual) = storage::usable_pool(conn, wanted)?;
        let format = original.format.clone().unwrap_or(VolumeFormat::Raw);
        let (format, backing) = if self.spec.linked {
            (Some(VolumeFormat::Qcow2), Some(Backing { path: path.clone(), format }))
        } else {
            (usual.map(|_| format), None)
        };
        let slot = disk.attr_at("target", "dev").unwrap_or("disk").to_owned();
        let ending = match &format {
            Some(VolumeFormat::Qcow2) => ".qcow2",
            Some(VolumeFormat::Raw) => ".img",
            _ => "",
        };
        let name = format!("{}-{slot}{ending}", self.spec.name);
        storage::refuse_taken_volume(&pool, wanted, &name)?;
        let spec = VolumeSpec::new(wanted, &name, original.capacity.max(ByteSize::bytes(1)));
        let copied = (!self.spec.linked).then_some(&volume);
        if copied.is_some() {
            self.copies.begin(volume_id(wanted, &name), volume.get_info()?.allocation)?;
        }
        let copy = storage::make_volume(&pool, &spec, format.as_ref(), backing.as_ref(), copied)?;
        let (at, info) = (copy.get_path(), copy.get_info());
        made.push(volume_id(wanted, &name), copy);
        // The copy may lie in a pool of another kind than the original.
        let block = info?.kind == sys::VIR_STORAGE_VOL_BLOCK;
        let (kind, key, other) = if block { ("block", "dev", "file") } else { ("file", "file", "dev") };
        disk.set_attr("type", kind);
        let source = disk.ensure("source");
        source.remove_attr(other);
        source.set_attr(key, at?);
        let format = format.as_ref().map_or("raw", VolumeFormat::as_str);
        disk.ensure("driver").set_attr("type", format);
        // What libvirt found out about the original's files.
        disk.remove("backingStore");
        Ok(())
    }
}

/// Refuses a guest with a disk that a copy would leave out, or would write to together with the original.
pub(crate) fn refuse_uncopied(definition: &Element, vm: &VmId) -> Outcome<()> {
    let memory = || definition.all("devices/memory").into_iter().find_map(lasting);
    match definition.all("devices/disk").into_iter().find_map(uncopied).or_else(memory) {
        Some(why) => Err(Error::invalid_state(why).with_target(VmId::NOUN, vm).into()),
        None => Ok(()),
    }
}

/// Why memory that keeps its content in a file of the host (an NVDIMM) keeps a guest from being copied.
pub(crate) fn lasting(memory: &Element) -> Option<String> {
    let path = memory.text_at("source/path").filter(|_| memory.path("target/readonly").is_none())?;
    let model = memory.attr("model").unwrap_or("dimm");
    Some(format!("its memory of model `{model}` keeps its content in {path}, and cannot be copied"))
}

/// Whether a disk has content of its own: drives and disks that nobody writes to are shared.
pub(crate) fn is_copied(disk: &Element) -> bool {
    let hard_disk = disk.attr("device").is_none_or(|device| device == "disk");
    hard_disk && disk.child("readonly").is_none() && source_path(disk).is_some()
}

impl Inner {
    /// Makes a template of a guest, or a guest of a template.
    pub(super) fn mark_template(conn: &Connect, vm: &VmId, description: Option<&str>) -> Outcome<()> {
        let domain = lookup::domain(conn, vm)?;
        refuse_unless_off(&domain, vm)?;
        let mut definition = lookup::whole_definition(&domain)?;
        let mut marks = Marks::read(&definition);
        marks.template = true;
        marks.write(&mut definition);
        if let Some(description) = description {
            definition.set_child_text("description", description);
        }
        Domain::define_xml(conn, &definition.to_string())?;
        Ok(())
    }
}
