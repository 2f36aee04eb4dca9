use std::any::Any;
use std::fmt;

use super::{Backups, Batch, Compute, Events, Guest, Metrics, Network, Snapshots, Storage, Tasks};
use crate::model::{BackendInfo, Capabilities};

/// A connection to a backend: what everyone holds, as `Arc<dyn Hypervisor>`.
pub trait Hypervisor:
    Compute + Storage + Network + Snapshots + Tasks + Batch + Backups + Metrics + Guest + Events + Any
{
    /// What this is connected to.
    fn info(&self) -> &BackendInfo;

    /// What it can do: found out once, when the connection was made.
    fn capabilities(&self) -> &Capabilities;

    /// The hypervisor below, if this is a layer.
    fn inner(&self) -> Option<&dyn Hypervisor> {
        None
    }
}

/// What it is connected to, and nothing that may be secret: so that what holds one can derive `Debug`.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// #[derive(Debug, Clone)]
/// struct App {
///     hv: Arc<dyn Hypervisor>,
/// }
/// let app = App { hv: Arc::new(Memory::new()) };
/// assert!(format!("{app:?}").contains("memory"));
/// ```
impl fmt::Debug for dyn Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        f.debug_struct("Hypervisor")
            .field("backend", &info.backend)
            .field("endpoint", &info.endpoint)
            .finish()
    }
}

impl dyn Hypervisor {
    /// The backend of this type below any layers: the way to what only one backend can do.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use hypervisor_core::memory::Memory;
    /// use hypervisor_core::Hypervisor;
    /// let hypervisor: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    /// assert!(hypervisor.backend::<Memory>().is_some());
    /// ```
    #[must_use]
    pub fn backend<B: Hypervisor>(&self) -> Option<&B> {
        let mut layer = self;
        loop {
            let any: &dyn Any = layer;
            if let Some(found) = any.downcast_ref() {
                return Some(found);
            }
            layer = layer.inner()?;
        }
    }
}
