use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;

use super::link::Link;
use super::listing::{Listing, Pages, lists};
use super::settle::Settle;
use super::task::Task;
use crate::error::Result;
use crate::feed;
use crate::model::{
    ClusterInfo, EventQuery, EventStream, GroupChange, GroupId, GroupInfo, GroupSpec, HostId, HostInfo,
    HostMetrics, MetricsHistory, MetricsPeriod, MetricsTarget, Page, PageRequest,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// All hosts.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// for host in hv.hosts().all().await? {
///     let load = hv.host(&host.id).metrics().await?;
///     println!("{} is {}: {:?} of {:?} in use", host.id, host.state, load.memory_used, load.memory_total);
/// }
/// assert!(hv.cluster().await?.quorate);
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Hosts {
    link: Link,
}

/// One host.
#[derive(Debug, Clone)]
pub struct Host {
    link: Link,
    id: HostId,
}

/// All resource groups.
#[derive(Debug, Clone)]
pub struct Groups {
    link: Link,
}

/// One resource group.
#[derive(Debug, Clone)]
pub struct Group {
    link: Link,
    id: GroupId,
}

impl dyn Hypervisor {
    /// The hosts.
    #[must_use]
    pub fn hosts(self: &Arc<Self>) -> Hosts {
        Hosts { link: Link::new(self) }
    }

    /// One host by its id. Nothing is asked yet.
    #[must_use]
    pub fn host(self: &Arc<Self>, id: impl Into<HostId>) -> Host {
        let id = id.into();
        Host { link: Link::to(self, HostId::NOUN, id.as_str()), id }
    }

    /// Reads the state of the cluster; a single host is a cluster of one.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn cluster(self: &Arc<Self>) -> Result<ClusterInfo> {
        Link::new(self).call(Operation::GetCluster, &[], self.get_cluster()).await
    }

    /// The resource groups.
    #[must_use]
    pub fn groups(self: &Arc<Self>) -> Groups {
        Groups { link: Link::new(self) }
    }

    /// One resource group by its id. Nothing is asked yet.
    #[must_use]
    pub fn group(self: &Arc<Self>, id: impl Into<GroupId>) -> Group {
        let id = id.into();
        Group { link: Link::to(self, GroupId::NOUN, id.as_str()), id }
    }

    /// What happens from now on, as a stream. A gap in it is an [`EventKind::Resync`](crate::model::EventKind::Resync). It may end,
    /// with an error as its last item: `follow_events` does not.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn events(self: &Arc<Self>, query: &EventQuery) -> Result<EventStream> {
        Link::new(self).call(Operation::Watch, &[], self.watch(query)).await
    }

    /// What happens from now on, for a program that keeps something as it is to be: as `events`, and when the stream is
    /// lost it is opened again, after pauses that grow from nothing to a minute. Each time that events may have been missed is one
    /// [gap](crate::model::EventKind::is_gap), and so is the first item: whoever reads everything again at each gap has never missed
    /// anything.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use futures::TryStreamExt as _;
    /// use hypervisor_core::Hypervisor;
    /// use hypervisor_core::memory::Memory;
    /// use hypervisor_core::model::{EventKind, EventQuery, VmQuery, VmSpec};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    /// let mut events = hv.follow_events(&EventQuery::all()).await?;
    /// while let Some(event) = events.try_next().await? {
    ///     if event.kind.is_gap() || matches!(event.kind, EventKind::VmDeleted(_)) {
    ///         let there = hv.vms().all(&VmQuery::all()).await?.complete()?;
    ///         if !there.iter().any(|vm| vm.name == "web-1") {
    ///             hv.vms().create(&VmSpec::new("web-1")).await?.await?;
    ///             # break;
    ///         }
    ///     }
    /// }
    /// # assert!(hv.vms().by_name("web-1").await.is_ok());
    /// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As the backend gives them, for the first time. Later, an `Err` item is the end: what does not pass by itself, as `Unauthenticated`,
    /// `PermissionDenied` or `Unsupported`.
    pub async fn follow_events(self: &Arc<Self>, query: &EventQuery) -> Result<EventStream> {
        let events = self.events(query).await?;
        Ok(feed::keep(Arc::clone(self), query.clone(), events))
    }
}

impl From<Host> for HostId {
    fn from(host: Host) -> Self {
        host.id
    }
}

impl From<&Host> for HostId {
    fn from(host: &Host) -> Self {
        host.id.clone()
    }
}

impl From<Group> for GroupId {
    fn from(group: Group) -> Self {
        group.id
    }
}

impl From<&Group> for GroupId {
    fn from(group: &Group) -> Self {
        group.id.clone()
    }
}

impl Hosts {
    lists!("hosts": HostInfo, ListHosts, list_hosts);
}

impl Host {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &HostId {
        &self.id
    }

    /// Reads it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn info(&self) -> Result<HostInfo> {
        self.link.call(Operation::GetHost, &[], self.link.hv.get_host(&self.id)).await
    }

    /// Its load now.
    ///
    /// # Errors
    /// `HostUnreachable`.
    pub async fn metrics(&self) -> Result<HostMetrics> {
        self.link.call(Operation::GetHostMetrics, &[], self.link.hv.get_host_metrics(&self.id)).await
    }

    /// Its load over a period that ends now.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn history(&self, period: MetricsPeriod) -> Result<MetricsHistory> {
        let target = MetricsTarget::Host(self.id.clone());
        let call = self.link.hv.get_metrics_history(&target, period);
        self.link.call(Operation::GetMetricsHistory, &[], call).await
    }
}

impl Groups {
    lists!("resource groups": GroupInfo, ListGroups, list_groups);

    /// Creates an empty resource group.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput`.
    pub async fn create(&self, spec: &GroupSpec) -> Result<Task<Group>> {
        let link = self.link.at(GroupId::NOUN, &spec.name);
        let settle = |id: &GroupId| Settle::GroupThere(id.clone());
        let task = link.start(Operation::CreateGroup, &[], self.link.hv.create_group(spec), settle).await?;
        let hv = Arc::clone(&self.link.hv);
        Ok(task.map(move |id| hv.group(id)))
    }
}

impl Group {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// Reads it with its members.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn info(&self) -> Result<GroupInfo> {
        self.link.call(Operation::GetGroup, &[], self.link.hv.get_group(&self.id)).await
    }

    /// Changes it and its members.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub async fn update(&self, change: &GroupChange) -> Result<Task<()>> {
        let call = self.link.hv.update_group(&self.id, change);
        self.link.start(Operation::UpdateGroup, &[], call, |()| Settle::Unknowable).await
    }

    /// Deletes it.
    ///
    /// # Errors
    /// `InvalidState` while it has members.
    pub async fn delete(&self) -> Result<Task<()>> {
        let call = self.link.hv.delete_group(&self.id);
        self.link.start(Operation::DeleteGroup, &[], call, |()| Settle::GroupGone(self.id.clone())).await
    }
}
