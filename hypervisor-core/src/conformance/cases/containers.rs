use super::table::area;
use crate::conformance::check::{Check, Stop, check, check_eq};
use crate::conformance::context::Context;
use crate::conformance::settings::Setting;
use crate::error::ErrorKind;
use crate::model::Feature::Containers;
use crate::model::{ByteSize, DeleteVm, DiskSpec, GuestKind, VmId, VmQuery, VmSpec, VmState};
use crate::operation::Operation::{CreateVm, DeleteVm as Delete, StartVm};

area! { "containers":
    a_container_is_created [CreateVm, Containers];
    a_container_is_started_and_powered_off [CreateVm, Containers, StartVm];
    a_container_is_deleted [CreateVm, Delete, Containers];
}

/// Starts from the template of the settings, or the image, where there is one.
async fn container(cx: &Context) -> Check<VmId> {
    let spec = VmSpec::container(cx.name("ct")).memory(ByteSize::mib(64));
    let Some(template) = cx.settings.template.as_ref().or(cx.settings.image.as_ref()) else {
        let made = cx.hv.create_vm(&spec).await;
        // Some backends make containers of a template only.
        if let Err(error) = &made
            && error.kind() == ErrorKind::InvalidInput
        {
            return Err(Stop::skipped(format!(
                "{} not set, and without a template: {error}",
                Setting::Template
            )));
        }
        return cx.adopt(made).await;
    };
    cx.create(&spec.disk(DiskSpec::copy_of(template).in_pool(cx.pool().await?))).await
}

async fn a_container_is_created(cx: &Context) -> Check {
    let container = container(cx).await?;
    let info = cx.get(&container).await?;
    check_eq!("its kind", info.kind, GuestKind::Container);
    check_eq!("its state", info.state, VmState::Stopped);
    for (kind, expected) in [(GuestKind::Container, true), (GuestKind::Vm, false)] {
        let found = cx.vms(&VmQuery::all().kind(kind)).await?;
        let listed = found.iter().any(|info| info.id == container);
        check_eq!(format!("whether it is in the list of kind {kind}"), listed, expected);
    }
    Ok(())
}

async fn a_container_is_started_and_powered_off(cx: &Context) -> Check {
    let container = container(cx).await?;
    cx.start(&container).await?;
    cx.power_off(&container).await
}

async fn a_container_is_deleted(cx: &Context) -> Check {
    let container = container(cx).await?;
    cx.done(cx.hv.delete_vm(&container, &DeleteVm::with_disks()).await).await?;
    let left = cx.vms(&VmQuery::all()).await?;
    check!(left.iter().all(|info| info.id != container), "container `{container}` is still there");
    Ok(())
}
