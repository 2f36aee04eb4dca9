//! Writing a volume into a file.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use hypervisor::{ByteStream, DownloadVolume, Error, Hypervisor};
use serde_json::json;
use tokio::fs::{File, OpenOptions};

use super::Ui;
use super::cli::Download;
use super::exit::{self, Stop};
use super::progress::Waiter;
use super::text::plain;

pub(crate) async fn run(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Download,
) -> Result<u8, Stop> {
    let path = args.file.as_path();
    let to_output = path.as_os_str() == "-";
    if to_output && ui.terminal {
        return Err(Error::invalid("FILE", "a volume's bytes are nothing for a terminal").into());
    }
    let content = hv.volume(args.volume.as_str()).download(&DownloadVolume::all()).await?;
    let length = content.length();
    let bar = waiter.bytes(&format!("download {}", args.volume), length);
    let counted = bar.clone();
    let content = ByteStream::new(
        length,
        content.into_chunks().inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                counted.inc(u64::try_from(chunk.len()).unwrap_or(0));
            }
        }),
    );
    if to_output {
        let mut chunks = content.into_chunks();
        while let Some(chunk) = chunks.next().await {
            ui.bytes(&chunk?);
            if ui.broken {
                break;
            }
        }
        bar.finish_and_clear();
        return Ok(exit::OK);
    }
    let mut file = create(path, args.force).await?;
    let written = content.write_to(&mut file).await;
    bar.finish_and_clear();
    if let Err(error) = written {
        // Half a volume looks like a whole one.
        let _ = tokio::fs::remove_file(path).await;
        return Err(error.into());
    }
    let shown = path.display().to_string();
    if ui.json {
        ui.value_line(
            &json!({ "volume": args.volume, "file": shown, "bytes": length, "verb": "downloaded" }),
        );
    } else {
        ui.line(format!("{}: downloaded to {}", plain(&args.volume), plain(&shown)));
    }
    Ok(exit::OK)
}

async fn create(path: &Path, over: bool) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(over).create_new(!over).truncate(over);
    options.open(path).await.map_err(|error| {
        let hint =
            if error.kind() == std::io::ErrorKind::AlreadyExists { "; --force writes over it" } else { "" };
        Error::invalid("FILE", format!("{}: {error}{hint}", path.display()))
    })
}
