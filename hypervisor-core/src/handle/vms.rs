use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;

use super::link::Link;
use super::listing::{Listing, Pages, missing};
use super::settle::Settle;
use super::task::Task;
use super::vm::Vm;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{BatchReport, CloneMany, Page, PageRequest, VmId, VmInfo, VmMetrics, VmQuery, VmSpec};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// All guests.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{CloneMany, VmQuery, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let golden = hv.vms().create(&VmSpec::new("golden")).await?.await?;
/// golden.clone_many(&CloneMany::new("web", 3)).await?.into_result()?;
///
/// let all = hv.vms().all(&VmQuery::all()).await?;
/// assert!(all.unreachable.is_empty(), "every host has answered: the list is complete");
/// assert_eq!(all.len(), 4);
/// let web_2 = hv.vms().by_name("web-2").await?;
/// assert!(web_2.uid().is_some());
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Vms {
    link: Link,
}

impl dyn Hypervisor {
    /// The guests.
    #[must_use]
    pub fn vms(self: &Arc<Self>) -> Vms {
        Vms { link: Link::new(self) }
    }

    /// One guest by its id. Nothing is asked yet: use [`Vms::get`] to find out whether it exists.
    #[must_use]
    pub fn vm(self: &Arc<Self>, id: impl Into<VmId>) -> Vm {
        Vm::new(self, id.into(), None)
    }
}

impl Vms {
    /// The first page of the guests that the query wants, of the backend's own size.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn list(&self, query: &VmQuery) -> Result<Page<VmInfo>> {
        self.page(query, &PageRequest::first()).await
    }

    /// One page of the guests that the query wants.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn page(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.link.call(Operation::ListVms, &query.needs(), self.link.hv.list_vms(query, page)).await
    }

    /// All guests that the query wants, with the hosts that could not be asked.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn all(&self, query: &VmQuery) -> Result<Listing<VmInfo>> {
        self.pages(query).all().await
    }

    /// All guests that the query wants, one after the other, a page being fetched when it is needed. Hosts that could not be asked are
    /// the last item, as `HostUnreachable`.
    #[must_use]
    pub fn stream(&self, query: &VmQuery) -> BoxStream<'static, Result<VmInfo>> {
        self.pages(query).stream()
    }

    fn pages(&self, query: &VmQuery) -> Pages<VmInfo> {
        let (query, needs) = (query.clone(), query.needs());
        let pages = Pages::new(&self.link, Operation::ListVms, move |link, page| {
            let query = query.clone();
            async move { link.hv.list_vms(&query, &page).await }.boxed()
        });
        pages.needs(needs)
    }

    /// One guest that exists. The handle remembers its uid, so that it cannot change or delete another guest that later gets the same id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: impl Into<VmId>) -> Result<Vm> {
        Ok(self.handle(&self.link.hv.vm(id).info().await?))
    }

    /// The guest that a list has shown. The handle remembers its uid.
    #[must_use]
    pub fn handle(&self, info: &VmInfo) -> Vm {
        Vm::new(&self.link.hv, info.id.clone(), info.uid.as_deref())
    }

    /// The one guest of this name.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if several have it, which Proxmox allows; `HostUnreachable` if it was not found but a host could not be asked.
    pub async fn by_name(&self, name: &str) -> Result<Vm> {
        let found = self.all(&VmQuery::all().name(name)).await?;
        let Listing { items, unreachable } = found;
        let error = match items.as_slice() {
            [one] => return Ok(self.handle(one)),
            [] if unreachable.is_empty() => Error::not_found(VmId::NOUN, name),
            [] => missing(&unreachable),
            several => {
                let ids: Vec<&str> = several.iter().map(|vm| vm.id.as_str()).collect();
                Error::new(ErrorKind::Conflict, format!("several guests have this name: {}", ids.join(", ")))
                    .with_hint("use the id")
            }
        };
        Err(error.with_operation(Operation::ListVms).with_target(VmId::NOUN, name))
    }

    /// The guest that a create with this mark has made, if it has made one: look here before repeating a create of unknown outcome.
    ///
    /// # Errors
    /// `HostUnreachable` if it was not found but a host could not be asked.
    pub async fn find_by_client_token(&self, token: &str) -> Result<Option<Vm>> {
        let found = self.all(&VmQuery::all().client_token(token)).await?;
        match found.items.first() {
            Some(vm) => Ok(Some(self.handle(vm))),
            None if found.unreachable.is_empty() => Ok(None),
            None => Err(self.link.name(Operation::ListVms, missing(&found.unreachable))),
        }
    }

    /// Creates a guest.
    ///
    /// # Errors
    /// As [`create_vm`](crate::Compute::create_vm).
    pub async fn create(&self, spec: &VmSpec) -> Result<Task<Vm>> {
        let link = self.link.at(VmId::NOUN, &spec.name);
        let call = self.link.hv.create_vm(spec);
        let task =
            link.start(Operation::CreateVm, &spec.needs(), call, |vm| Settle::VmThere(vm.clone())).await?;
        Ok(made(&self.link, task))
    }

    /// Copies a guest many times, and answers once all copies have ended.
    ///
    /// # Errors
    /// `InvalidInput` before anything is begun; what goes wrong later is in the outcomes.
    pub async fn clone_many(&self, original: impl Into<VmId>, spec: &CloneMany) -> Result<BatchReport> {
        let original = original.into();
        let link = self.link.at(VmId::NOUN, original.as_str());
        let call = self.link.hv.clone_vms(&original, spec);
        link.call(Operation::CloneVms, &spec.each.needs(), call).await
    }

    /// The load of all running guests.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn metrics(&self) -> Result<Listing<VmMetrics>> {
        let fetch =
            |link: Link, page: PageRequest| async move { link.hv.list_vm_metrics(&page).await }.boxed();
        Pages::new(&self.link, Operation::ListVmMetrics, fetch).all().await
    }
}

/// The task of a call that makes a guest, with the guest's handle.
pub(super) fn made(link: &Link, task: Task<VmId>) -> Task<Vm> {
    let hv = Arc::clone(&link.hv);
    task.map(move |id| hv.vm(id))
}
