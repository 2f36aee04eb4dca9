//! What goes wrong on purpose, so that it is known that the verdict would find it.

use clap::ValueEnum;
use hypervisor_core::model::{ByteSize, DeleteVm, PoolQuery, PowerAction, VmSpec, VolumeSpec};
use hypervisor_core::{Error, ErrorKind, Result};

use crate::model::Model;
use crate::world::World;

/// One thing that must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// A create that was acknowledged and is not there.
    LostCreate,
    /// A create that was done twice.
    DoubledCreate,
    /// A delete that was acknowledged and not done.
    LostDelete,
    /// A change that was acknowledged and not done.
    LostChange,
    /// A disk that is left over.
    Orphan,
    /// A task of the runtime that nobody ends.
    LeakedTask,
    /// Memory that nobody frees.
    LeakedMemory,
}

/// So much is leaked: more than a process may grow by.
const LEAK: usize = 64 * 1024 * 1024;

impl Plant {
    /// Does it behind the back of the workers, who have ended.
    pub(crate) async fn sow(self, world: &World, models: &[Model]) -> Result<()> {
        let nothing = || Error::new(ErrorKind::NotFound, "the workers have left nothing to do harm to");
        let hv = &world.steady;
        let guests = || models.iter().flat_map(|model| &model.guests);
        match self {
            Self::LostCreate => {
                let (_, guest) = guests().next().ok_or_else(nothing)?;
                let all = DeleteVm::with_disks().power_off(true).snapshots(true);
                hv.vm(guest.id.clone()).delete(&all).await?.wait().await
            }
            Self::DoubledCreate => {
                let (name, _) = guests().next().ok_or_else(nothing)?;
                hv.vms().create(&VmSpec::new(name)).await?.wait().await.map(drop)
            }
            Self::LostDelete => {
                let name = models.iter().flat_map(|model| &model.gone).next().ok_or_else(nothing)?;
                hv.vms().create(&VmSpec::new(name)).await?.wait().await.map(drop)
            }
            Self::LostChange => {
                let (_, guest) = guests().find(|(_, guest)| guest.running).ok_or_else(nothing)?;
                let started = hv.power_vm(&guest.id, &PowerAction::PowerOff).await?;
                hv.resume(started).await.map(drop)
            }
            Self::Orphan => {
                let pools = hv.pools().all(&PoolQuery::all()).await?.items;
                let pool = pools.into_iter().next().ok_or_else(nothing)?;
                let spec = VolumeSpec::new(pool.id, "left-over", ByteSize::mib(1));
                hv.volumes().create(&spec).await?.wait().await.map(drop)
            }
            Self::LeakedTask => {
                drop(tokio::spawn(std::future::pending::<()>()));
                Ok(())
            }
            Self::LeakedMemory => {
                // Not zeros, which the system would not give memory for.
                Vec::leak(vec![1_u8; LEAK]);
                Ok(())
            }
        }
    }
}
