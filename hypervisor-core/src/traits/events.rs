use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{EventQuery, EventStream};
use crate::operation::Operation;

/// What happens, as a stream.
#[async_trait]
pub trait Events: Send + Sync {
    /// Follows the changes from now on. A gap is never silent: it is an
    /// [`EventKind::Resync`](crate::model::EventKind::Resync), after which the caller reads again what matters.
    ///
    /// Needs [`Operation::Watch`], and where asked for [`NativeEvents`](crate::model::Feature::NativeEvents); a read: repeated
    /// where its answer is lost. Proxmox has no events: one look every few seconds serves all readers, and what begins and ends
    /// between two looks is not seen.
    ///
    /// # Errors
    /// As the backend gives them; what ends the stream later is its last item.
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        let _ = query;
        unsupported(Operation::Watch)
    }
}
