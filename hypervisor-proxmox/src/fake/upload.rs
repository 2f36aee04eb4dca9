//! Uploads, as the server takes them: fields first, the file last and under one name.

use axum::body::Body;
use axum::extract::{FromRequest, Multipart};
use axum::http::Request;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256, Sha512};

use super::call::{Call, Params};
use super::cluster::Cluster;
use super::reply::{Outcome, Refusal, data};
use super::storage::Volume;
use super::tasks::Work;

/// Files up to this size are kept; of larger ones only the size and the checksums.
const KEPT: usize = 64 << 20;

/// A file that was sent.
#[derive(Debug, Clone)]
pub(super) struct Uploaded {
    filename: String,
    size: u64,
    bytes: Option<Bytes>,
    sha256: String,
    sha512: String,
}

/// Whether this path takes files, in the form in which the server looks at it: undecoded and without double slashes.
pub(super) fn is_upload(method: &str, raw_path: &str) -> bool {
    let parts: Vec<&str> = raw_path.split('/').collect();
    method == "POST"
        && matches!(parts.as_slice(), ["", "api2", format, "nodes", node, "storage", storage, "upload"]
            if [format, node, storage].iter().all(|part| !part.is_empty()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the parts of an upload: the fields before the file, and the file.
pub(super) async fn read(request: Request<Body>) -> Result<(Params, Uploaded), Refusal> {
    let broken = |_| Refusal::raw(400, "unable to parse multipart data");
    let mut parts =
        Multipart::from_request(request, &()).await.map_err(|_| Refusal::raw(400, "no boundary"))?;
    let mut params = Params::default();
    while let Some(mut part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        let Some(filename) = part.file_name().map(str::to_owned) else {
            let value = part.text().await.map_err(broken)?;
            params.set(&name, &value);
            continue;
        };
        if name != "filename" {
            return Err(Refusal::raw(
                500,
                format!(
                    "wrong field name '{name}' for file upload, expected 'filename' at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 1322."
                ),
            ));
        }
        let (mut small, mut large) = (Sha256::new(), Sha512::new());
        let (mut kept, mut size) = (BytesMut::new(), 0_usize);
        while let Some(chunk) = part.chunk().await.map_err(broken)? {
            small.update(&chunk);
            large.update(&chunk);
            size += chunk.len();
            if size <= KEPT {
                kept.extend_from_slice(&chunk);
            }
        }
        // What follows the file is not looked at.
        params.set("filename", &filename);
        let uploaded = Uploaded {
            filename,
            size: u64::try_from(size).unwrap_or(u64::MAX),
            bytes: (size <= KEPT).then(|| kept.freeze()),
            sha256: hex(&small.finalize()),
            sha512: hex(&large.finalize()),
        };
        return Ok((params, uploaded));
    }
    Err(Refusal::raw(400, "no file in upload"))
}

fn fits(content: &str, name: &str) -> bool {
    let ends: &[&str] = match content {
        "iso" => &[".iso", ".img"],
        "vztmpl" => &[".tar.gz", ".tar.xz", ".tar.zst", ".tar"],
        _ => &[".ova", ".ovf", ".qcow2", ".raw", ".vmdk", ".img"],
    };
    let name = name.to_lowercase();
    ends.iter().any(|end| name.ends_with(end))
}

fn check(
    cluster: &Cluster,
    call: &Call,
    host: &str,
    storage: &str,
    name: &str,
) -> Result<(String, String), Refusal> {
    cluster.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateTemplate"])?;
    let content = call.params.needed("content")?.to_owned();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '=') { c } else { '_' })
        .collect();
    if !fits(&content, &name) {
        return Err(Refusal::parameter("filename", "wrong file extension"));
    }
    let place = cluster.storage_on(storage, host)?;
    if !place.content.contains(&content) {
        return Err(Refusal::die(format!("storage '{storage}' does not support '{content}' content")));
    }
    let folder = if content == "vztmpl" { "vztmpl" } else { &content };
    Ok((format!("{storage}:{folder}/{name}"), content))
}

fn format_of(content: &str, volid: &str) -> String {
    let end = volid.rsplit_once('.').map_or("raw", |(_, end)| end);
    match content {
        "iso" => "iso".to_owned(),
        "vztmpl" => format!("t{end}"),
        _ => end.to_owned(),
    }
}

/// `POST /nodes/{node}/storage/{storage}/upload`.
pub(super) fn upload(cluster: &mut Cluster, call: &Call, host: &str, storage: &str) -> Outcome {
    let Some(file) = call.upload.clone() else {
        return Err(Refusal::parameter("filename", "property is missing and it is not optional"));
    };
    let (volid, content) = check(cluster, call, host, storage, &file.filename)?;
    let checksum = call.params.text("checksum").map(|sum| sum.to_lowercase());
    let algorithm = call.params.text("checksum-algorithm");
    let host_name = host.to_owned();
    let work = Work { who: &call.who, host, kind: "imgcopy".into(), subject: String::new(), lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, upid| {
            cluster.tasks.log(upid, format!("starting file import from: /var/tmp/pveupload-{}", file.size));
            let got = match algorithm.as_deref() {
                Some("sha256") => Some(&file.sha256),
                Some("sha512") => Some(&file.sha512),
                _ => None,
            };
            if let (Some(got), Some(wanted)) = (got, &checksum)
                && got != wanted
            {
                return Err(format!("checksum mismatch: got '{got}' != expect '{wanted}'"));
            }
            let format = format_of(&content, &volid);
            let mut volume = Volume::new(&content, &format, file.size, cluster.clock.unix());
            volume.bytes = file.bytes;
            cluster.put_volume(&host_name, &volid, volume);
            cluster.tasks.log(upid, "finished file import successfully");
            Ok(())
        },
    );
    data(upid)
}

/// `POST /nodes/{node}/storage/{storage}/download-url`. Nothing is fetched: the file gets the size that its URL asks for
/// (`?size=`), or 1 MiB; the host `unreachable.invalid` fails as a real download does.
pub(super) fn download(cluster: &mut Cluster, call: &Call, host: &str, storage: &str) -> Outcome {
    let name = call.params.needed("filename")?.to_owned();
    let (volid, content) = check(cluster, call, host, storage, &name)?;
    cluster.need(&call.who, "/", &["Sys.Audit", "Sys.AccessNetwork"])?;
    let url = call.params.needed("url")?.to_owned();
    let checksum = call.params.text("checksum");
    let algorithm = call.params.text("checksum-algorithm");
    let host_name = host.to_owned();
    let work = Work { who: &call.who, host, kind: "download".into(), subject: name, lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, upid| {
            cluster.tasks.log(upid, format!("downloading {url} to {volid}"));
            if url.contains("unreachable.invalid") {
                return Err("download failed: exit code 4".to_owned());
            }
            let size = url.split_once("size=").and_then(|(_, rest)| rest.split('&').next()?.parse().ok());
            // What was not fetched has the checksum of nothing.
            let expected = match algorithm.as_deref() {
                Some("sha256") => Some(hex(&Sha256::digest(b""))),
                Some("sha512") => Some(hex(&Sha512::digest(b""))),
                _ => None,
            };
            if let (Some(wanted), Some(got)) = (&checksum, expected)
                && !wanted.eq_ignore_ascii_case(&got)
            {
                return Err(format!("checksum mismatch: got '{got}' != expect '{wanted}'"));
            }
            let format = format_of(&content, &volid);
            let volume = Volume::new(&content, &format, size.unwrap_or(1 << 20), cluster.clock.unix());
            cluster.put_volume(&host_name, &volid, volume);
            cluster.tasks.log(upid, "download finished");
            Ok(())
        },
    );
    data(upid)
}

/// `GET /nodes/{node}/query-url-metadata`.
pub(super) fn url_metadata(call: &Call) -> Outcome {
    let url = call.params.needed("url")?;
    let name = url.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    data(serde_json::json!({ "filename": name, "size": 1_u64 << 20, "mimetype": "application/octet-stream" }))
}
