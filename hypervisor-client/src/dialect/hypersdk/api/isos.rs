//! ISO images in the daemon's folder.

use bytes::{Bytes, BytesMut};
use hypervisor_core::{Error, Result};

use super::{Api, Call};
use crate::dialect::hypersdk::names::check_plain;
use crate::dialect::hypersdk::routes;
use crate::dialect::hypersdk::wire::Iso;

/// What the daemon takes as a body, less what goes around the image.
const LARGEST: usize = (10 << 20) - 4096;

impl Api {
    /// Lists the images (`GET /libvirt/isos/list`).
    pub async fn isos(&self) -> Result<Vec<Iso>> {
        self.send(Call::new(&routes::ISO_LIST)).await?.list("isos")
    }

    /// Puts an image into the folder (`POST /libvirt/isos/upload`). The daemon takes no body above 10 MiB.
    ///
    /// # Errors
    /// `InvalidInput` for a name that does not end in `.iso` or an image that is too large, `AlreadyExists` or `Conflict` for a name that is
    /// taken, `Exhausted`.
    pub async fn upload_iso(&self, name: &str, content: &Bytes) -> Result<()> {
        iso_name(name)?;
        if content.len() > LARGEST {
            return Err(Error::invalid("content", "hypervisord takes no image above 10 MiB"));
        }
        let boundary = format!("hypervisor-{}", uuid::Uuid::new_v4().simple());
        let mut body = BytesMut::new();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"iso\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let call = Call::new(&routes::ISO_UPLOAD)
            .bytes(format!("multipart/form-data; boundary={boundary}"), body.freeze())
            .about("iso", name);
        self.send(call.slow()).await?.done()
    }

    /// Deletes an image (`POST /libvirt/isos/delete`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_iso(&self, name: &str) -> Result<()> {
        iso_name(name)?;
        let body = serde_json::json!({"filename": name});
        self.send(Call::new(&routes::ISO_DELETE).json(&body)?.about("iso", name)).await?.done()
    }

    /// Puts an image into a running domain's CD drive, `hdc` where none is named (`POST /libvirt/domain/attach-iso`).
    ///
    /// # Errors
    /// `NotFound` for the image or the domain, `InvalidState` for a domain that does not run.
    pub async fn attach_iso(&self, vm: &str, name: &str, device: Option<&str>) -> Result<()> {
        crate::dialect::hypersdk::names::check("vm", vm)?;
        iso_name(name)?;
        let mut body = serde_json::json!({"vm_name": vm, "filename": name});
        drive(&mut body, device)?;
        let call = Call::new(&routes::ISO_ATTACH).json(&body)?.about("vm", vm).about("iso", name);
        self.send(call.slow()).await?.done()
    }

    /// Takes the image out of a running domain's CD drive, `hdc` where none is named (`POST /libvirt/domain/detach-iso`).
    ///
    /// # Errors
    /// `NotFound` for the domain, `InvalidState` for one that does not run.
    pub async fn detach_iso(&self, vm: &str, device: Option<&str>) -> Result<()> {
        crate::dialect::hypersdk::names::check("vm", vm)?;
        let mut body = serde_json::json!({"vm_name": vm});
        drive(&mut body, device)?;
        let call = Call::new(&routes::ISO_DETACH).json(&body)?.about("vm", vm);
        self.send(call.slow()).await?.done()
    }
}

fn drive(body: &mut serde_json::Value, device: Option<&str>) -> Result<()> {
    if let (Some(device), Some(body)) = (device, body.as_object_mut()) {
        check_plain("device", device)?;
        body.insert("device".to_owned(), device.into());
    }
    Ok(())
}

fn iso_name(name: &str) -> Result<()> {
    check_plain("name", name)?;
    if !name.to_ascii_lowercase().ends_with(".iso") {
        return Err(Error::invalid("name", "must end in `.iso`"));
    }
    Ok(())
}
