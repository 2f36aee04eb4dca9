//! Writing a file into a volume.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use hypervisor::handle::Volume;
use hypervisor::model::{ByteStream, UploadVolume, VolumeFormat};
use hypervisor::{ByteSize, Error, Hypervisor, Result, VolumeSpec};

use super::Ui;
use super::cli::Upload;
use super::exit::Stop;
use super::guests::report;
use super::progress::Waiter;

pub(crate) async fn run(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Upload,
) -> Result<u8, Stop> {
    let path = args.file.as_path();
    let content = ByteStream::from_file(path).await?;
    let length = content.length();
    let name = name(args)?;
    let target = match (&args.into, &args.pool) {
        (Some(volume), _) => UploadVolume::to(volume.as_str()),
        (None, Some(pool)) => {
            let mut spec = VolumeSpec::new(pool.as_str(), &name, ByteSize::bytes(length));
            spec.format = args.format.as_deref().map(VolumeFormat::parse).or_else(|| format_of(path));
            spec.content.clone_from(&args.content);
            UploadVolume::Create(spec)
        }
        (None, None) => return Err(Error::invalid("POOL", "say where to").into()),
    };
    let label = format!("upload {name}");
    let bar = waiter.bytes(&label, length);
    let counted = bar.clone();
    let chunks = content.into_chunks().inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            counted.inc(u64::try_from(chunk.len()).unwrap_or(0));
        }
    });
    let started = hv.volumes().upload(&target, ByteStream::new(length, chunks)).await;
    bar.finish_and_clear();
    let done = waiter.finish(&label, started?).await?;
    Ok(report(ui, done, "uploaded", &name, |volume: &Volume| Some(volume.id().to_string())))
}

fn name(args: &Upload) -> Result<String> {
    let of_file = || args.file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name = args.name.clone().or_else(|| args.into.clone()).or_else(of_file);
    name.ok_or_else(|| Error::invalid("FILE", "its name is no text: say --name"))
}

fn format_of(path: &Path) -> Option<VolumeFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "qcow2" => Some(VolumeFormat::Qcow2),
        "iso" => Some(VolumeFormat::Iso),
        "img" | "raw" => Some(VolumeFormat::Raw),
        "vmdk" => Some(VolumeFormat::Vmdk),
        "vhdx" => Some(VolumeFormat::Vhdx),
        _ => None,
    }
}
