//! Writing a guest into a directory on the host, through a pool there: it works with hosts far away as well.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use hypervisor_core::model::{ByteSize, ExportSpec, ExportedVm, Started, VmId, VolumeFormat, VolumeSpec};
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt_sys as sys;

use super::clone::{is_copied, refuse_uncopied};
use super::lifecycle::refuse_unless_off;
use super::volumes::{Made, handle_at_path, resolve};
use super::{Shared, lookup};
use crate::blocking::Lane;
use crate::error::{Fail, Outcome};
use crate::storage::stream::{CHUNK, broken};
use crate::storage::{COPY_LIMIT, make_volume, small};
use crate::tasks::{Running, cancelled};
use crate::xml::Element;
use crate::xml::device::source_path;
use crate::xml::storage::{volume_id, volume_info};

const OPERATION: Operation = Operation::ExportVm;

/// Exports a stopped guest, as a task.
pub(super) async fn export(inner: &Shared, vm: &VmId, spec: ExportSpec) -> Result<Started<ExportedVm>> {
    let (id, wanted) = (vm.clone(), spec.clone());
    // Refused here rather than in the task, where nobody may look.
    let plan = inner.call_slow(OPERATION, move |conn| Plan::make(conn, &id, &wanted)).await?;
    let output = plan.output();
    let own = Arc::clone(inner);
    let task = inner.tasks.spawn_watched(OPERATION, Some(vm), |running| async move {
        let work = move |conn: &Connect| plan.carry_out(conn, &running);
        own.run(OPERATION, Lane::Slow, COPY_LIMIT, work).await
    });
    Ok(Started::running(output, task))
}

struct Plan {
    vm: VmId,
    directory: String,
    definition: String,
    compress: bool,
    disks: Vec<Disk>,
}

struct Disk {
    slot: String,
    from: String,
    /// The file's name before it is compressed.
    file: String,
    format: VolumeFormat,
    capacity: ByteSize,
}

impl Plan {
    fn make(conn: &Connect, vm: &VmId, spec: &ExportSpec) -> Outcome<Self> {
        let domain = lookup::domain(conn, vm)?;
        refuse_unless_off(&domain, vm)?;
        let name = domain.get_name()?;
        let mut disks = Vec::new();
        let mut definition = Element::parse(&lookup::definition(&domain)?)?;
        resolve(conn, &mut definition)?;
        refuse_uncopied(&definition, vm)?;
        for disk in definition.all("devices/disk") {
            let Some(slot) = disk.attr_at("target", "dev").filter(|_| is_copied(disk)) else { continue };
            let from = source_path(disk).unwrap_or_default();
            let Some(volume) = handle_at_path(conn, &from)? else {
                let why = format!("its disk `{slot}` at {from} lies in no pool, and cannot be copied");
                return Err(Error::invalid_state(why).with_target(VmId::NOUN, vm).into());
            };
            let info = volume_info("", &Element::parse(&volume.get_xml_desc(0)?)?)?;
            let format = spec.format.clone().or(info.format).unwrap_or(VolumeFormat::Raw);
            let file = format!("{name}-{slot}.{format}");
            disks.push(Disk { slot: slot.to_owned(), from, file, format, capacity: info.capacity });
        }
        let directory = spec.directory.trim_end_matches('/').to_owned();
        let definition = format!("{name}.xml");
        let plan = Self { vm: vm.clone(), directory, definition, compress: spec.compress, disks };
        let place = Place::open(conn, &plan.directory)?;
        let taken = plan.refuse_taken(&place.pool);
        place.close()?;
        taken.map(|()| plan)
    }

    fn written(&self, disk: &Disk) -> String {
        if self.compress { format!("{}.gz", disk.file) } else { disk.file.clone() }
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.directory)
    }

    fn output(&self) -> ExportedVm {
        let disks = self.disks.iter().map(|disk| self.path(&self.written(disk))).collect();
        ExportedVm::new(self.path(&self.definition), disks)
    }

    /// Nothing that is there is written over.
    fn refuse_taken(&self, pool: &StoragePool) -> Outcome<()> {
        let disks = self.disks.iter().flat_map(|disk| [disk.file.clone(), self.written(disk)]);
        for file in disks.chain([self.definition.clone()]) {
            match StorageVol::lookup_by_name(pool, &file) {
                Ok(_) => return Err(Error::already_exists("file", self.path(&file)).into()),
                Err(error) => match Fail::from(error) {
                    fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) => {}
                    fail => return Err(fail),
                },
            }
        }
        Ok(())
    }

    fn carry_out(&self, conn: &Connect, running: &Running) -> Outcome<()> {
        let place = Place::open(conn, &self.directory)?;
        let mut made = Made::default();
        let outcome =
            self.refuse_taken(&place.pool).and_then(|()| self.write(conn, &place, &mut made, running));
        let outcome = outcome.map_err(|fail| made.undo(fail));
        let closed = place.close();
        outcome.and(closed)
    }

    fn write(&self, conn: &Connect, place: &Place, made: &mut Made, running: &Running) -> Outcome<()> {
        let domain = lookup::domain(conn, &self.vm)?;
        refuse_unless_off(&domain, &self.vm)?;
        let mut definition = Element::parse(&lookup::definition(&domain)?)?;
        let pool = place.pool.get_name()?;
        let total: u64 = self.disks.iter().map(|disk| disk.capacity.as_bytes()).sum();
        let mut done = 0_u64;
        for disk in &self.disks {
            if running.is_cancelled() {
                return Err(cancelled().into());
            }
            running.stage(format!("copies {}", disk.slot));
            let original = handle_at_path(conn, &disk.from)?
                .ok_or_else(|| Error::invalid_state(format!("no pool knows {} any more", disk.from)))?;
            let spec = VolumeSpec::new(pool.as_str(), &disk.file, disk.capacity);
            let copy = make_volume(&place.pool, &spec, Some(&disk.format), None, Some(&original))?;
            if self.compress {
                running.stage(format!("compresses {}", disk.slot));
                let outcome = compress(conn, &place.pool, &copy, &self.written(disk), running);
                made.push(volume_id(&pool, &disk.file), copy);
                made.push(volume_id(&pool, &self.written(disk)), outcome?);
            } else {
                made.push(volume_id(&pool, &disk.file), copy);
            }
            self.point(&mut definition, disk);
            done = done.saturating_add(disk.capacity.as_bytes());
            running.bytes(done, total);
        }
        small::write(conn, &place.pool, &self.definition, definition.to_string().as_bytes())?;
        if self.compress {
            for disk in &self.disks {
                StorageVol::lookup_by_name(&place.pool, &disk.file)?.delete(0)?;
            }
        }
        Ok(())
    }

    /// Lets the definition name the file that was written; of a compressed one, what it will be when it is unpacked.
    fn point(&self, definition: &mut Element, disk: &Disk) {
        let devices = definition.ensure("devices");
        let wanted = |item: &&mut Element| {
            item.name == "disk" && item.attr_at("target", "dev") == Some(disk.slot.as_str())
        };
        if let Some(element) = devices.elements_mut().find(wanted) {
            element.set_attr("type", "file");
            element.replace(Element::new("source").with_attr("file", self.path(&disk.file)));
            element.ensure("driver").set_attr("type", disk.format.as_str());
            element.remove("backingStore");
        }
    }
}

/// The directory as a pool: one that is there, or one of our own that vanishes again and leaves the files.
struct Place {
    pool: StoragePool,
    own: bool,
}

impl Place {
    fn open(conn: &Connect, directory: &str) -> Outcome<Self> {
        if let Ok(pool) = StoragePool::lookup_by_target_path(conn, directory)
            && pool.is_active()?
        {
            pool.refresh(0)?;
            return Ok(Self { pool, own: false });
        }
        let name = format!("hv-export-{}", Uuid::new_v4().simple());
        let definition = Element::new("pool")
            .with_attr("type", "dir")
            .with_child("name", name)
            .with(Element::new("target").with_child("path", directory));
        let pool = StoragePool::create_xml(conn, &definition.to_string(), 0).map_err(|error| {
            let error = Error::from(Fail::from(error));
            let why = error.message().to_owned();
            match error.kind() {
                ErrorKind::Transport | ErrorKind::Connect | ErrorKind::PermissionDenied => Fail::Ours(error),
                _ => Error::invalid("directory", why).into(),
            }
        })?;
        Ok(Self { pool, own: true })
    }

    fn close(self) -> Outcome<()> {
        if self.own {
            // It has no definition, so that it is gone.
            self.pool.destroy()?;
        }
        Ok(())
    }
}

/// Writes a volume's file once more, as a gzip file. The bytes pass through this process: libvirt compresses nothing.
fn compress(
    conn: &Connect,
    pool: &StoragePool,
    from: &StorageVol,
    name: &str,
    running: &Running,
) -> Outcome<StorageVol> {
    let pool_name = pool.get_name()?;
    let spec = VolumeSpec::new(pool_name.as_str(), name, ByteSize::bytes(1));
    let target = make_volume(pool, &spec, Some(&VolumeFormat::Raw), None, None)?;
    match pack(conn, from, &target, running) {
        Ok(()) => Ok(target),
        Err(fail) => {
            let mut made = Made::default();
            made.push(volume_id(&pool_name, name), target);
            Err(made.undo(fail))
        }
    }
}

fn pack(conn: &Connect, from: &StorageVol, to: &StorageVol, running: &Running) -> Outcome<()> {
    let input = Stream::new(conn, 0)?;
    from.download(&input, 0, 0, 0)?;
    let output = Stream::new(conn, 0)?;
    if let Err(error) = to.upload(&output, 0, 0, 0) {
        return Err(broken(input, error));
    }
    let mut packer = GzEncoder::new(Sink { stream: &output, error: None }, Compression::default());
    let mut part = vec![0; CHUNK];
    let outcome = loop {
        if running.is_cancelled() {
            break Err(cancelled().into());
        }
        match input.recv(&mut part) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                if let Err(error) = packer.write_all(part.get(..count).unwrap_or_default()) {
                    break Err(refused(&mut packer, &error));
                }
            }
            Err(error) => break Err(Fail::from(error)),
        }
    };
    let outcome = outcome.and_then(|()| packer.try_finish().map_err(|error| refused(&mut packer, &error)));
    drop(packer);
    match outcome {
        Ok(()) => {
            input.finish()?;
            Ok(output.finish()?)
        }
        Err(fail) => {
            // Where the daemon has ended a stream itself, this fails.
            drop(input.abort());
            drop(output.abort());
            Err(fail)
        }
    }
}

/// Why the sink took no more.
fn refused(packer: &mut GzEncoder<Sink<'_>>, error: &io::Error) -> Fail {
    let known = packer.get_mut().error.take();
    known.unwrap_or_else(|| Error::new(ErrorKind::Backend, format!("compressing: {error}")).into())
}

/// A stream into a volume.
struct Sink<'a> {
    stream: &'a Stream,
    error: Option<Fail>,
}

impl Write for Sink<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.stream.send(data.get(..CHUNK.min(data.len())).unwrap_or(data)).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.error = Some(error.into());
            told
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
