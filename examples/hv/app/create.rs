//! Creating a guest.

use std::path::Path;
use std::sync::Arc;

use hypervisor::model::{CloudInit, DirectBoot, SerialSpec};
use hypervisor::{DiskSpec, Error, Hypervisor, NicSpec, Result, Vm, VmSpec};

use super::Ui;
use super::cli::Create;
use super::exit::Stop;
use super::guests::report;
use super::progress::Waiter;

pub(crate) async fn create(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Create,
) -> Result<u8, Stop> {
    let spec = spec(args)?;
    let label = format!("create {}", spec.name);
    let task = waiter.call(&label, hv.vms().create(&spec)).await?;
    let done = waiter.finish(&label, task).await?;
    let past = if spec.start { "created and started" } else { "created" };
    Ok(report(ui, done, past, &spec.name, |vm: &Vm| Some(vm.id().to_string())))
}

fn spec(args: &Create) -> Result<VmSpec> {
    let mut spec = match &args.spec {
        Some(path) => {
            let text = file("--spec", path)?;
            serde_json::from_str(&text)
                .map_err(|error| Error::invalid("--spec", format!("{}: {error}", path.display())))?
        }
        None => VmSpec::new(""),
    };
    if let Some(name) = &args.name {
        spec.name.clone_from(name);
    }
    spec.cpus = args.cpus.unwrap_or(spec.cpus);
    spec.memory = args.memory.unwrap_or(spec.memory);
    let disks = args
        .image
        .iter()
        .map(|volume| DiskSpec::copy_of(volume.as_str()))
        .chain(args.linked_image.iter().map(|volume| DiskSpec::linked_to(volume.as_str())))
        .chain(args.disk.iter().map(|size| DiskSpec::new_volume(*size)));
    spec.disks.extend(disks.map(|disk| match &args.pool {
        Some(pool) => disk.in_pool(pool.as_str()),
        None => disk,
    }));
    spec.disks.extend(args.cdrom.iter().map(|volume| DiskSpec::cdrom(volume.as_str())));
    spec.nics.extend(args.network.iter().map(|network| NicSpec::network(network.as_str())));
    spec.nics.extend(args.bridge.iter().map(|bridge| NicSpec::bridge(bridge.as_str())));
    if let Some(kernel) = &args.kernel {
        let mut boot = DirectBoot::new(kernel);
        boot.initrd.clone_from(&args.initrd);
        boot.cmdline.clone_from(&args.cmdline);
        spec.boot.direct = Some(boot);
    }
    if let Some(path) = &args.cloud_init {
        spec.cloud_init = Some(CloudInit::user_data(file("--cloud-init", path)?));
    }
    if args.serial {
        spec.serial.get_or_insert_with(SerialSpec::new);
    }
    spec.agent |= args.agent;
    spec.start |= args.start;
    spec.tags.extend(args.tag.iter().cloned());
    spec.host = args.host.as_deref().map(Into::into).or(spec.host);
    spec.id = args.id.as_deref().map(Into::into).or(spec.id);
    spec.description = args.description.clone().or(spec.description);
    spec.client_token = args.client_token.clone().or(spec.client_token);
    Ok(spec)
}

fn file(option: &str, path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(option, format!("{}: {error}", path.display())))
}
