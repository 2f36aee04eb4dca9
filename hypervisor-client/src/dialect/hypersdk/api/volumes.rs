//! Pools and volumes.

use hypervisor_core::model::{WipeAlgorithm, validate};
use hypervisor_core::{Error, Result};

use super::{Api, Call};
use crate::dialect::hypersdk::names::check;
use crate::dialect::hypersdk::routes;
use crate::dialect::hypersdk::wire::{
    CloneVolume, DeleteVolume, LibvirtVolume, NewVolume, ResizeVolume, StoragePool, UploadVolume,
    UploadedVolume, VolumeMade, WipeVolume,
};

fn both(pool: &str, volume: &str) -> Result<()> {
    check("pool", pool)?;
    check("volume", volume)
}

fn about(call: Call, pool: &str, volume: &str) -> Call {
    call.about("volume", format!("{pool}/{volume}")).about("pool", pool)
}

impl Api {
    /// Lists the pools (`GET /libvirt/pools`): names, and whether they are active.
    pub async fn pools(&self) -> Result<Vec<StoragePool>> {
        self.send(Call::new(&routes::POOLS)).await?.list("pools")
    }

    /// Lists the volumes of a pool, `default` where none is named (`GET /libvirt/volumes`): names and paths.
    pub async fn volumes(&self, pool: Option<&str>) -> Result<Vec<LibvirtVolume>> {
        let mut call = Call::new(&routes::VOLUMES);
        if let Some(pool) = pool {
            check("pool", pool)?;
            call = call.query("pool", pool).about("pool", pool);
        }
        self.send(call).await?.list("volumes")
    }

    /// Reads one volume (`GET /libvirt/volume/info`). Its sizes are in bytes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn volume(&self, pool: &str, volume: &str) -> Result<LibvirtVolume> {
        both(pool, volume)?;
        let call = Call::new(&routes::VOLUME_INFO).query("pool", pool).query("volume", volume);
        self.send(about(call, pool, volume)).await?.object()
    }

    /// Makes a volume (`POST /libvirt/volume/create`). Its size is in GiB.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for the pool, `InvalidInput` for a size that the daemon cannot count.
    pub async fn create_volume(&self, volume: &NewVolume) -> Result<VolumeMade> {
        both(&volume.pool, &volume.name)?;
        check("format", &volume.format)?;
        countable(volume.capacity)?;
        let call = Call::new(&routes::VOLUME_CREATE).json(volume)?;
        self.send(about(call, &volume.pool, &volume.name).slow()).await?.optional()
    }

    /// Copies a volume within its pool (`POST /libvirt/volume/clone`).
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`.
    pub async fn clone_volume(&self, pool: &str, source: &str, target: &str) -> Result<VolumeMade> {
        both(pool, source)?;
        check("name", target)?;
        // The daemon copies within the pool whatever is named here, and looks for the copy in the one named.
        let body = CloneVolume { pool, source_volume: source, target_volume: target, target_pool: pool };
        let call = Call::new(&routes::VOLUME_CLONE).json(&body)?;
        self.send(about(call, pool, source).slow()).await?.optional()
    }

    /// Changes a volume's size, in GiB (`POST /libvirt/volume/resize`).
    ///
    /// # Errors
    /// `NotFound`; the daemon's refusal of a smaller size without `shrink`.
    pub async fn resize_volume(&self, pool: &str, volume: &str, gib: u64, shrink: bool) -> Result<()> {
        both(pool, volume)?;
        countable(gib)?;
        let body = ResizeVolume { pool, volume, capacity: gib, shrink };
        let call = Call::new(&routes::VOLUME_RESIZE).json(&body)?;
        self.send(about(call, pool, volume).slow()).await?.done()
    }

    /// Deletes a volume (`POST /libvirt/volume/delete`), also one that a domain uses.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_volume(&self, pool: &str, volume: &str) -> Result<()> {
        both(pool, volume)?;
        let call = Call::new(&routes::VOLUME_DELETE).json(&DeleteVolume { pool, volume })?;
        self.send(about(call, pool, volume)).await?.done()
    }

    /// Makes a volume of an image file on the daemon's host (`POST /libvirt/volume/upload`). The file goes in as it is, so that `format` has to be
    /// its format.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for the pool, `InvalidInput` where the file cannot be read.
    pub async fn upload_volume(
        &self,
        pool: &str,
        volume: &str,
        source: &str,
        format: &str,
    ) -> Result<UploadedVolume> {
        both(pool, volume)?;
        check("format", format)?;
        validate::host_path("source_path", source)?;
        let body = UploadVolume { pool, volume, source_path: source, format };
        let call = Call::new(&routes::VOLUME_UPLOAD).json(&body)?;
        self.send(about(call, pool, volume).slow()).await?.object()
    }

    /// Overwrites a volume (`POST /libvirt/volume/wipe`). All but `Zero` need `scrub` on the daemon's host.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn wipe_volume(&self, pool: &str, volume: &str, algorithm: WipeAlgorithm) -> Result<()> {
        both(pool, volume)?;
        let body = WipeVolume { pool, volume, algorithm: algorithm.as_str() };
        let call = Call::new(&routes::VOLUME_WIPE).json(&body)?;
        self.send(about(call, pool, volume).slow()).await?.done()
    }
}

/// The daemon counts in Go's `int`, and libvirt the bytes of it in 64 bits.
fn countable(gib: u64) -> Result<()> {
    const MOST: u64 = (1 << 33) - 1;
    if gib > MOST {
        return Err(Error::invalid(
            "capacity",
            format!("{gib} GiB are more than 64 bits of bytes can count"),
        ));
    }
    Ok(())
}
