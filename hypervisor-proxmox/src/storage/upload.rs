//! Images and templates that are brought in: sent from here, or fetched by the server.

use std::sync::Arc;

use hypervisor_core::model::{ByteStream, HostId, PoolId, Started, UploadVolume, VolumeId};
use hypervisor_core::{Error, Operation, Result};

use super::multipart::multipart;
use super::{of_pool, parts, read};
use crate::tasks::begun;
use crate::api::Call;
use crate::backend::{Inner, Proxmox};
use crate::error::named;
use crate::wire::form::{Form, segment};

/// A checksum that the server compares the content with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checksum {
    /// `md5`, `sha1`, `sha224`, `sha256`, `sha384` or `sha512`.
    pub algorithm: String,
    /// The sum in hexadecimal digits.
    pub value: String,
}

impl Checksum {
    /// A checksum of this algorithm.
    pub fn new(algorithm: impl Into<String>, value: impl Into<String>) -> Self {
        Self { algorithm: algorithm.into(), value: value.into() }
    }

    /// A SHA-256.
    pub fn sha256(value: impl Into<String>) -> Self {
        Self::new("sha256", value)
    }

    fn validate(&self) -> Result<()> {
        let known = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];
        if !known.contains(&self.algorithm.as_str()) {
            return Err(Error::invalid("checksum.algorithm", format!("must be one of {}", known.join(", "))));
        }
        if self.value.is_empty() || !self.value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::invalid("checksum.value", "must be hexadecimal digits"));
        }
        Ok(())
    }
}

/// What a file may be uploaded as, by its name.
fn content_of(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&[".iso", ".img"]) {
        Some("iso")
    } else if ends(&[".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2", ".tgz"]) {
        Some("vztmpl")
    } else if ends(&[".qcow2", ".raw", ".vmdk", ".ova"]) {
        Some("import")
    } else {
        None
    }
}

const CONTENTS: [&str; 3] = ["iso", "vztmpl", "import"];

/// Where an upload goes: the storage, what it is there, and the file's name.
struct Target {
    pool: PoolId,
    content: String,
    file: String,
    host: Option<HostId>,
}

async fn target(inner: &Inner, target: &UploadVolume) -> Result<Target> {
    match target {
        UploadVolume::Create(spec) => {
            let content = spec.content.clone().or_else(|| content_of(&spec.name).map(str::to_owned));
            let content = content.filter(|content| CONTENTS.contains(&content.as_str()));
            let content = content.ok_or_else(|| {
                let why = "only ISO images, container templates and images to import are uploaded: name the file so, or say \
                           `iso`, `vztmpl` or `import`";
                Error::invalid("content", why)
            })?;
            Ok(Target { pool: spec.pool.clone(), content, file: spec.name.clone(), host: None })
        }
        UploadVolume::Into(volume) => {
            let (_, host) = read(inner, Operation::UploadVolume, volume, None).await?;
            let (pool, name) = parts(volume)?;
            match name.split_once('/') {
                Some((content, file)) if CONTENTS.contains(&content) => {
                    Ok(Target { pool, content: content.to_owned(), file: file.to_owned(), host: Some(host) })
                }
                _ => Err(Error::invalid("volume", "disks of guests take no upload: upload an image to import")),
            }
        }
        _ => Err(Error::invalid("target", "is not known to this driver")),
    }
}

/// Uploads a file. One of that name is overwritten.
pub(super) async fn upload(
    inner: &Inner,
    to: &UploadVolume,
    content: ByteStream,
    checksum: Option<&Checksum>,
) -> Result<Started<VolumeId>> {
    let operation = Operation::UploadVolume;
    checksum.map_or(Ok(()), Checksum::validate)?;
    let target = target(inner, to).await?;
    let host = match target.host {
        Some(host) => host,
        None => host_for(inner, operation, &target.pool).await?,
    };
    let mut fields = vec![("content", target.content.as_str())];
    if let Some(checksum) = checksum {
        fields.push(("checksum-algorithm", checksum.algorithm.as_str()));
        fields.push(("checksum", checksum.value.as_str()));
    }
    let sent = multipart(&fields, &target.file, content)?;
    let path = upload_path(&host, &target.pool, "upload")?;
    let task = inner.api.upload(operation, &path, &sent.content_type, sent.body).await.map_err(of_pool(&target.pool))?;
    let volume = VolumeId::from(format!("{}:{}/{}", target.pool, target.content, target.file));
    Ok(begun(volume, task))
}

fn upload_path(host: &HostId, pool: &PoolId, call: &str) -> Result<String> {
    Ok(format!("/nodes/{}/storage/{}/{call}", segment("host", host.as_str())?, segment("pool", pool.as_str())?))
}

async fn host_for(inner: &Inner, operation: Operation, pool: &PoolId) -> Result<HostId> {
    let view = inner.recent_view(operation).await?;
    let hosts = view.hosts_of(pool.as_str());
    let preferred = inner.config.host.as_ref().filter(|host| hosts.contains(host));
    match preferred.or(hosts.first()) {
        Some(host) => Ok(host.clone()),
        None => inner.any_host(operation).await,
    }
}

impl Proxmox {
    /// Uploads a file as [`upload_volume`](hypervisor_core::traits::Storage::upload_volume) does, and has the server compare its checksum:
    /// where it differs, the task fails and nothing is stored.
    ///
    /// # Errors
    /// `InvalidInput` naming the field, `NotFound` for the storage, `PermissionDenied`.
    pub async fn upload_with_checksum(
        &self,
        target: &UploadVolume,
        content: ByteStream,
        checksum: &Checksum,
    ) -> Result<Started<VolumeId>> {
        target.validate().map_err(named(Operation::UploadVolume))?;
        self.inner.require(Operation::UploadVolume, &target.needs())?;
        let done = upload(&self.inner, target, content, Some(checksum)).await;
        done.map_err(named(Operation::UploadVolume))
    }

    /// Has the server fetch a file from `url` into a storage (`download-url`). What it is there follows from the name: an ISO image
    /// (`.iso`, `.img`), a container template (`.tar.gz`, …) or an image to import (`.qcow2`, …).
    ///
    /// # Errors
    /// `InvalidInput` naming the field, `NotFound` for the storage. That the file is not there, or not what the checksum says, only the task
    /// tells.
    pub async fn download_url(
        &self,
        pool: &PoolId,
        url: &str,
        name: &str,
        checksum: Option<&Checksum>,
    ) -> Result<Started<VolumeId>> {
        let operation = Operation::CreateVolume;
        let inner = Arc::clone(&self.inner);
        let work = async {
            checksum.map_or(Ok(()), Checksum::validate)?;
            let content = content_of(name).ok_or_else(|| {
                Error::invalid("name", "must end like an ISO image, a container template or an image to import")
            })?;
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                return Err(Error::invalid("url", "must begin with http:// or https://"));
            }
            let host = host_for(&inner, operation, pool).await?;
            let form = Form::new().text("content", content).text("filename", name).text("url", url);
            let form = form
                .maybe("checksum-algorithm", checksum.map(|checksum| checksum.algorithm.clone()))
                .maybe("checksum", checksum.map(|checksum| checksum.value.clone()));
            let call = Call::post(upload_path(&host, pool, "download-url")?, form).operation(operation);
            let task = inner.api.task(&call).await.map_err(of_pool(pool))?;
            Ok(begun(VolumeId::from(format!("{pool}:{content}/{name}")), task))
        };
        work.await.map_err(named(operation))
    }
}
