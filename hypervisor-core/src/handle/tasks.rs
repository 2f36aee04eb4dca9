use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;

use super::link::Link;
use super::listing::{Listing, Pages, lists};
use crate::error::Result;
use crate::model::{Page, PageRequest, TaskInfo, TaskQuery};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// All tasks that the backend remembers.
#[derive(Debug, Clone)]
pub struct Tasks {
    link: Link,
}

impl dyn Hypervisor {
    /// The tasks, ours and other people's.
    #[must_use]
    pub fn tasks(self: &Arc<Self>) -> Tasks {
        Tasks { link: Link::new(self) }
    }
}

impl Tasks {
    lists!("tasks that the query wants": TaskInfo, ListTasks, list_tasks, query: TaskQuery);
}
