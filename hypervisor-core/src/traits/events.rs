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
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        let _ = query;
        unsupported(Operation::Watch)
    }
}
