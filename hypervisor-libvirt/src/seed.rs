//! Seeds of cloud-init: a small disk that the guest reads at its first boot (the NoCloud source).

use std::io::{Cursor, Read as _, Write as _};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use hypervisor_core::model::{
    ByteSize, CloudInit, DiskBus, DiskSource, DiskSpec, VmSpec, VolumeFormat, VolumeId, VolumeSpec,
};
use hypervisor_core::{Error, ErrorKind, Result};
use virt::connect::Connect;
use virt::stream::Stream;

use crate::compute::volumes::Made;
use crate::error::Outcome;
use crate::storage::{self, stream};
use crate::xml::Element;
use crate::xml::device::{DiskFile, DiskPlan, is_disk, target_of};
use crate::xml::marks::Marks;
use crate::xml::storage::volume_id;

/// What cloud-init looks for; it takes either case.
const LABEL: [u8; 11] = *b"CIDATA     ";
/// More than any seed: images are held in memory.
const MOST: usize = 8 << 20;
/// The smallest image, and what its tables may take beyond the content.
const SPARE: usize = 1 << 20;

/// The files of a seed. `instance` is what tells the guest that it boots for the first time.
fn files(seed: &CloudInit, name: &str, instance: &str) -> Vec<(&'static str, String)> {
    let meta = || format!("instance-id: {instance}\nlocal-hostname: {name}\n");
    // Without user-data there is no seed, even where there is nothing to say in it.
    let mut files = vec![
        ("meta-data", seed.meta_data.clone().unwrap_or_else(meta)),
        ("user-data", seed.user_data.clone().unwrap_or_default()),
    ];
    if let Some(network) = &seed.network_config {
        files.push(("network-config", network.clone()));
    }
    files
}

/// Refuses a seed that is too large.
pub(crate) fn check(seed: &CloudInit) -> Result<()> {
    let parts = [&seed.user_data, &seed.meta_data, &seed.network_config];
    let size: usize = parts.into_iter().flatten().map(String::len).fold(0, usize::saturating_add);
    if size > MOST {
        let why = format!("{size} bytes are more than the {MOST} that a seed may have");
        return Err(Error::invalid("cloud_init", why));
    }
    Ok(())
}

/// A seed as the content of a disk: a FAT file system with the label that cloud-init looks for.
pub(crate) fn image(seed: &CloudInit, name: &str, instance: &str) -> Result<Vec<u8>> {
    check(seed)?;
    let files = files(seed, name, instance);
    let content: usize = files.iter().map(|(_, text)| text.len()).sum();
    // Whole MiB: a volume of any pool can be as large.
    let size = content.saturating_add(SPARE).div_ceil(SPARE).saturating_mul(SPARE);
    let mut disk = Cursor::new(vec![0; size]);
    let written = || -> std::io::Result<Vec<u8>> {
        format_volume(&mut disk, FormatVolumeOptions::new().volume_label(LABEL))?;
        let system = FileSystem::new(&mut disk, FsOptions::new())?;
        for (name, text) in files {
            let mut file = system.root_dir().create_file(name)?;
            file.write_all(text.as_bytes())?;
            file.flush()?;
        }
        system.unmount()?;
        Ok(disk.into_inner())
    };
    written().map_err(|error| Error::new(ErrorKind::Backend, format!("the seed image: {error}")))
}

/// Reads a file of a seed image; `None` where there is none.
///
/// # Errors
/// `Protocol` when the image is no FAT file system.
pub fn read_seed(image: &[u8], name: &str) -> Result<Option<String>> {
    let broken = |error: std::io::Error| Error::new(ErrorKind::Protocol, format!("the seed image: {error}"));
    let system = FileSystem::new(Cursor::new(image.to_vec()), FsOptions::new()).map_err(broken)?;
    let label = system.volume_label();
    if !label.trim_end().eq_ignore_ascii_case("cidata") {
        return Err(Error::new(ErrorKind::Protocol, format!("the image is labelled `{label}`, not CIDATA")));
    }
    let mut text = String::new();
    match system.root_dir().open_file(name) {
        Ok(mut file) => file.read_to_string(&mut text).map_err(broken)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(error)),
    };
    Ok(Some(text))
}

/// The pool of a guest's seed: that of its first disk which says one.
pub(crate) fn pool_of(spec: &VmSpec, default: &str) -> String {
    let named = spec.disks.iter().find_map(|disk| match &disk.source {
        DiskSource::New { pool, .. } | DiskSource::Linked { pool, .. } | DiskSource::Copy { pool, .. } => {
            pool.as_ref().map(ToString::to_string)
        }
        DiskSource::Volume(volume) => {
            crate::xml::storage::split_volume_id(volume).ok().map(|(pool, _)| pool.to_owned())
        }
        _ => None,
    });
    named.unwrap_or_else(|| default.to_owned())
}

fn file_of(guest: &str) -> String {
    format!("{guest}-seed.img")
}

/// The volume that a guest's seed will be.
pub(crate) fn volume_of(pool: &str, guest: &str) -> VolumeId {
    volume_id(pool, &file_of(guest))
}

/// Makes a volume with a guest's seed, and writes it into the definition as the last disk, which nobody writes to.
pub(crate) fn add(
    conn: &Connect,
    pool: &str,
    seed: &CloudInit,
    definition: &mut Element,
    made: &mut Made,
) -> Outcome<()> {
    let guest = definition.text_at("name").unwrap_or_default();
    let content = image(seed, &guest, &definition.text_at("uuid").unwrap_or_default())?;
    let (found, usual) = storage::usable_pool(conn, pool)?;
    let name = file_of(&guest);
    storage::refuse_taken_volume(&found, pool, &name)?;
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let spec = VolumeSpec::new(pool, &name, ByteSize::bytes(length));
    let volume = storage::make_volume(&found, &spec, usual.map(|_| VolumeFormat::Raw).as_ref(), None, None)?;
    let path = volume.get_path();
    let filled = || -> Outcome<()> {
        let stream = Stream::new(conn, 0)?;
        volume.upload(&stream, 0, length, 0)?;
        match stream::send_all(&stream, &content) {
            Ok(()) => Ok(stream.finish()?),
            Err(error) => Err(stream::broken(stream, error)),
        }
    };
    let filled = filled();
    made.push(volume_id(pool, &name), volume);
    filled?;
    let taken: Vec<String> = definition
        .all("devices/disk")
        .into_iter()
        .filter_map(|disk| disk.attr_at("target", "dev").map(str::to_owned))
        .collect();
    let disk = DiskSpec::volume(volume_id(pool, &name)).read_only(true);
    let target = target_of(&disk, &DiskBus::Virtio, &taken, "cloud_init")?;
    let plan = DiskPlan::new(&disk, DiskBus::Virtio, target.clone(), DiskFile::at(path?), VolumeFormat::Raw);
    definition.ensure("devices").push(plan.element());
    let mut marks = Marks::read(definition);
    marks.seed = Some(target);
    marks.write(definition);
    Ok(())
}

/// Takes the seed out of a definition: it is for one guest only.
pub(crate) fn remove(definition: &mut Element, marks: &mut Marks) {
    if let Some(target) = marks.seed.take() {
        definition.ensure("devices").remove_where(|device| is_disk(device, &target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_read_back() {
        let user = format!("#cloud-config\n{}", "# long\n".repeat(40_000));
        let seed = CloudInit::user_data(&user).network_config("version: 2\n");
        let image = image(&seed, "web-1", "7c1e2f30").unwrap();
        assert_eq!(image.len() % SPARE, 0);
        let read = |name: &str| read_seed(&image, name).unwrap();
        assert_eq!(read("user-data").as_deref(), Some(user.as_str()));
        assert_eq!(read("meta-data").as_deref(), Some("instance-id: 7c1e2f30\nlocal-hostname: web-1\n"));
        assert_eq!(read("network-config").as_deref(), Some("version: 2\n"));
        assert_eq!(read("vendor-data"), None);
        assert_eq!(read_seed(&[0; 4096], "user-data").unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn what_is_given_is_not_replaced_and_what_is_needed_is_there() {
        let image = image(&CloudInit::default().meta_data("instance-id: mine\n"), "a", "u").unwrap();
        assert_eq!(read_seed(&image, "meta-data").unwrap().as_deref(), Some("instance-id: mine\n"));
        assert_eq!(read_seed(&image, "user-data").unwrap().as_deref(), Some(""));
        let error = check(&CloudInit::user_data("x".repeat(MOST + 1))).unwrap_err();
        assert!(error.fields().contains_key("cloud_init"));
    }

    #[test]
    fn a_seed_lies_beside_the_first_disk() {
        let spec = VmSpec::new("a").disk(DiskSpec::empty_cdrom()).disk(DiskSpec::volume("fast/base"));
        assert_eq!(pool_of(&spec, "default"), "fast");
        assert_eq!(pool_of(&VmSpec::new("a"), "default"), "default");
    }
}
