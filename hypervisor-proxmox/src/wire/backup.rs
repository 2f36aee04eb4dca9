//! Backups: what lies on storages, and how one is made and restored.

use hypervisor_core::model::{
    BackupId, BackupInfo, BackupSpec, ByteSize, GuestKind, RestoreBackup, RestoreTo, TaskLog, VmId,
};
use hypervisor_core::{Error, Result};

use super::form::{self, Form};
use super::storage::{VolumeRow, time};

/// The backups in a storage's content; other volumes are left out.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn backups(body: &[u8]) -> Result<Vec<BackupInfo>> {
    let rows: Vec<VolumeRow> = super::envelope::data(body)?;
    let is_backup = |row: &VolumeRow| row.content.as_deref().is_none_or(|content| content == "backup");
    let mut backups: Vec<BackupInfo> =
        rows.into_iter().filter(is_backup).filter_map(|row| info(row, None)).collect();
    backups.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(backups)
}

/// One backup, asked for by its id.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn backup(body: &[u8], id: &BackupId) -> Result<Option<BackupInfo>> {
    let row: VolumeRow = super::envelope::data(body)?;
    Ok(info(row, Some(id.as_str())))
}

fn info(row: VolumeRow, volid: Option<&str>) -> Option<BackupInfo> {
    let id = row.volid.or_else(|| volid.map(str::to_owned))?;
    let (pool, name) = id.split_once(':')?;
    let mut backup = BackupInfo::new(id.as_str()).pool(pool);
    let (kind, number) = of_name(name);
    backup.vm = row.vmid.map(|vmid| vmid.to_string()).or(number).map(Into::into);
    backup.created = row.ctime.map(time);
    backup.size = row.size.map(ByteSize::bytes);
    backup.protected = row.protected.unwrap_or(false);
    backup.description = row.notes.map(|notes| notes.trim_end().to_owned()).filter(|notes| !notes.is_empty());
    backup.extra = super::status::extra_of(row.rest);
    for (key, text) in [("subtype", row.subtype.or(kind)), ("format", row.format), ("path", row.path)] {
        if let Some(text) = text {
            backup.extra.insert(crate::BACKEND, key, text);
        }
    }
    Some(backup)
}

/// The kind and the number of the guest in a name like `backup/vzdump-qemu-100-2026_11_18-02_00_01.vma.zst`, or, on a
/// backup server, `backup/vm/100/2026-11-18T02:00:01Z`.
fn of_name(name: &str) -> (Option<String>, Option<String>) {
    let name = name.strip_prefix("backup/").unwrap_or(name);
    let (kind, rest) = match name.strip_prefix("vzdump-") {
        Some(rest) => match rest.split_once('-') {
            Some(parts) => parts,
            None => return (None, None),
        },
        None => match name.split_once('/') {
            Some(("vm", rest)) => ("qemu", rest),
            Some(("ct", rest)) => ("lxc", rest),
            _ => return (None, None),
        },
    };
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (Some(kind.to_owned()), (!number.is_empty()).then_some(number))
}

/// What the backup is of, from its id.
#[must_use]
pub fn kind_of(id: &BackupId) -> Option<GuestKind> {
    match of_name(id.as_str().split_once(':')?.1).0?.as_str() {
        "qemu" => Some(GuestKind::Vm),
        "lxc" => Some(GuestKind::Container),
        _ => None,
    }
}

/// The guest that the backup is of, from its id.
#[must_use]
pub fn guest_of(id: &BackupId) -> Option<VmId> {
    of_name(id.as_str().split_once(':')?.1).1.map(Into::into)
}

/// The storage of a container's root, from its configuration as a backup has it.
#[must_use]
pub fn root_storage(config: &str) -> Option<&str> {
    let root = config.lines().find_map(|line| line.strip_prefix("rootfs:"))?.trim();
    let (storage, rest) = root.split_once(':')?;
    (!rest.is_empty() && !storage.contains(['/', ',', '='])).then_some(storage)
}

/// The backup that a log of `vzdump` tells of: the storage is in the line that repeats the command, the name in the one that
/// begins the archive.
#[must_use]
pub fn made(log: &TaskLog) -> Option<BackupId> {
    let texts = || log.lines.iter().map(|line| line.text.as_str());
    let quoted = |text: &str| Some(text.split_once('\'')?.1.split_once('\'')?.0.to_owned());
    let storage = texts().find(|text| text.contains("starting new backup job")).and_then(|text| {
        let mut words = text.split_whitespace().skip_while(|word| *word != "--storage");
        words.nth(1).map(str::to_owned)
    })?;
    let archive =
        texts().find_map(|text| text.strip_prefix("INFO: creating vzdump archive ").and_then(quoted));
    let snapshot = texts()
        .find_map(|text| text.strip_prefix("INFO: creating Proxmox Backup Server archive ").and_then(quoted));
    let name = match (archive, snapshot) {
        (Some(path), _) => path.rsplit('/').next()?.to_owned(),
        (None, Some(snapshot)) => snapshot,
        (None, None) => return None,
    };
    Some(BackupId::from(format!("{storage}:backup/{name}")))
}

/// What becomes of each backup by a rule for pruning.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn marks(body: &[u8]) -> Result<Vec<(BackupId, String)>> {
    let rows: Vec<serde_json::Value> = super::envelope::data(body)?;
    let text = |row: &serde_json::Value, key: &str| row.get(key).and_then(super::scalar::text_of);
    let marks = rows.iter().filter_map(|row| Some((text(row, "volid")?.into(), text(row, "mark")?)));
    Ok(marks.collect())
}

/// The parameters of `POST /nodes/{node}/vzdump`.
///
/// # Errors
/// `InvalidInput` where a backup of the changes since another is asked for: only a backup server keeps such, by itself.
pub fn create(vm: &VmId, spec: &BackupSpec) -> Result<Form> {
    spec.validate()?;
    if spec.since.is_some() {
        return Err(Error::invalid("since", "Proxmox makes full backups only"));
    }
    let form = Form::new()
        .number("vmid", form::vmid(vm)?.into())
        .text("mode", spec.mode.as_str())
        .text("compress", if spec.compress { "zstd" } else { "0" })
        // Otherwise the server deletes older backups, where the storage has a rule for that.
        .flag("remove", false)
        .maybe("storage", spec.pool.as_ref().map(AsRef::as_ref).map(str::to_owned));
    // The notes are a template: `{{` begins a variable, line breaks and backslashes have to be escaped.
    let notes = spec.description.as_deref().map(|text| text.replace('\\', "\\\\").replace('\n', "\\n"));
    Ok(form.flag_if("protected", spec.protected).maybe("notes-template", notes))
}

/// The parameters of the create that restores a backup as guest `vmid`.
///
/// # Errors
/// `InvalidInput` naming the field.
pub fn restore(backup: &BackupId, kind: GuestKind, vmid: u32, options: &RestoreBackup) -> Result<Form> {
    options.validate()?;
    let form = Form::new().number("vmid", vmid.into());
    let (form, name) = match kind {
        GuestKind::Container => (form.text("ostemplate", backup.as_str()).flag("restore", true), "hostname"),
        _ => (form.text("archive", backup.as_str()), "name"),
    };
    let form = match &options.to {
        // A new guest beside the old one must not have its addresses.
        RestoreTo::New(wanted) => form.text(name, wanted.as_str()).flag("unique", true),
        RestoreTo::Original => form.flag("force", true),
        _ => return Err(Error::invalid("to", "is not known to this driver")),
    };
    let storage = options.pool.as_ref().map(|pool| pool.as_str().to_owned());
    Ok(form.maybe("storage", storage).flag_if("start", options.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::BackupMode;

    #[test]
    fn a_backup_names_its_guest_even_where_the_row_does_not() {
        let body = br#"[{"volid":"local:backup/vzdump-lxc-200-2026_11_20-02_00_01.tar.zst","size":2,"ctime":1795140001,"notes":"nightly\n","protected":1,"content":"backup"},
            {"volid":"pbs:backup/vm/100/2026-11-18T02:00:01Z","content":"backup"},
            {"volid":"local:iso/a.iso","content":"iso"}]"#;
        let all = backups(body).unwrap();
        assert_eq!(all.len(), 2);
        let lxc = all.iter().find(|backup| backup.protected).unwrap();
        assert_eq!((lxc.vm.as_ref().unwrap().as_str(), lxc.description.as_deref()), ("200", Some("nightly")));
        assert_eq!(kind_of(&lxc.id), Some(GuestKind::Container));
        assert_eq!(kind_of(&"pbs:backup/vm/100/x".into()), Some(GuestKind::Vm));
        assert_eq!(kind_of(&"local:iso/a.iso".into()), None);
    }

    #[test]
    fn the_storage_of_a_root_is_read_of_the_configuration_in_a_backup() {
        let of = |line: &str| root_storage(line).map(str::to_owned);
        assert_eq!(of("arch: amd64\nrootfs: local-lvm:vm-200-disk-0,size=8G\n"), Some("local-lvm".into()));
        assert_eq!(of("rootfs: /srv/root,size=8G"), None);
        assert_eq!(of("mp0: local:200/a.raw,mp=/a"), None);
    }

    #[test]
    fn a_backup_is_asked_for_and_restored() {
        let spec = BackupSpec::new().pool("local").mode(BackupMode::Stop).compress(true).description("a\nb");
        let form = create(&"200".into(), &spec).unwrap();
        assert_eq!(
            form.encode(),
            "vmid=200&mode=stop&compress=zstd&remove=0&storage=local&notes-template=a%5Cnb"
        );
        assert!(create(&"200".into(), &BackupSpec::new().since("x")).is_err());
        let form =
            restore(&"local:backup/x".into(), GuestKind::Vm, 300, &RestoreBackup::new_vm("copy")).unwrap();
        assert_eq!(form.encode(), "vmid=300&archive=local%3Abackup%2Fx&name=copy&unique=1");
        let form =
            restore(&"local:backup/x".into(), GuestKind::Container, 200, &RestoreBackup::original()).unwrap();
        assert_eq!(form.encode(), "vmid=200&ostemplate=local%3Abackup%2Fx&restore=1&force=1");
    }
}
