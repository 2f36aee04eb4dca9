use super::table::area;
use crate::conformance::check::{Check, check, check_eq, refused, refused_field, refused_unknown};
use crate::conformance::context::Context;
use crate::error::ErrorKind::InvalidState;
use crate::model::Feature::FullClone;
use crate::model::{ByteSize, CloneSpec, DeploySpec, PowerAction, TemplateSpec, VmId, VmQuery, VmState};
use crate::operation::Operation::{CreateTemplate, CreateVm, DeployTemplate, StartVm};

area! { "templates":
    a_guest_becomes_a_template [CreateVm, CreateTemplate];
    a_template_does_not_start [CreateVm, CreateTemplate, StartVm];
    templates_are_listed_apart [CreateVm, CreateTemplate];
    a_copy_becomes_a_template [CreateVm, CreateTemplate, FullClone];
    an_unknown_guest_is_no_template [CreateTemplate];
    a_template_is_deployed [CreateVm, CreateTemplate, DeployTemplate, FullClone];
    a_deployed_guest_has_the_size_asked_for [CreateVm, CreateTemplate, DeployTemplate, FullClone, StartVm];
    a_deployment_of_no_cpus_is_refused [CreateVm, CreateTemplate, DeployTemplate, FullClone];
    an_unknown_template_is_not_deployed [DeployTemplate, FullClone];
}

async fn template(cx: &Context) -> Check<VmId> {
    let vm = cx.vm("template").await?;
    cx.adopt(cx.hv.create_template(&vm, &TemplateSpec::in_place()).await).await
}

async fn a_guest_becomes_a_template(cx: &Context) -> Check {
    let template = template(cx).await?;
    let info = cx.get(&template).await?;
    check!(info.template, "vm `{template}` is no template");
    check_eq!("its name", info.name, cx.name("template"));
    Ok(())
}

async fn a_template_does_not_start(cx: &Context) -> Check {
    let template = template(cx).await?;
    refused("starting a template", cx.power(&template, PowerAction::Start).await, InvalidState)?;
    Ok(())
}

async fn templates_are_listed_apart(cx: &Context) -> Check {
    let template = template(cx).await?;
    let vm = cx.vm("vm").await?;
    for (wanted, in_it, not_in_it) in [(true, &template, &vm), (false, &vm, &template)] {
        let found = cx.vms(&VmQuery::all().template(wanted)).await?;
        let has = |id: &VmId| found.iter().any(|info| info.id == *id);
        check!(has(in_it), "vm `{in_it}` is not in the list of template={wanted}");
        check!(!has(not_in_it), "vm `{not_in_it}` is in the list of template={wanted}");
    }
    Ok(())
}

async fn a_copy_becomes_a_template(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let template = cx.adopt(cx.hv.create_template(&vm, &TemplateSpec::copy(cx.name("copy"))).await).await?;
    check!(template != vm, "the template is the original, `{vm}`");
    let info = cx.get(&template).await?;
    check!(info.template, "vm `{template}` is no template");
    check_eq!("the template's name", info.name, cx.name("copy"));
    check!(!cx.get(&vm).await?.template, "the original has become a template");
    Ok(())
}

async fn an_unknown_guest_is_no_template(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let made = cx.done(cx.hv.create_template(&unknown, &TemplateSpec::in_place()).await).await;
    refused_unknown("a template of an unknown guest", made, VmId::NOUN, &unknown)
}

async fn a_template_is_deployed(cx: &Context) -> Check {
    let template = template(cx).await?;
    let vm = cx.adopt(cx.hv.deploy_template(&template, &DeploySpec::new(cx.name("vm"))).await).await?;
    check!(vm != template, "the guest is the template, `{vm}`");
    let info = cx.get(&vm).await?;
    check!(!info.template, "the new guest is a template");
    check_eq!("its name", info.name, cx.name("vm"));
    check_eq!("its state", info.state, VmState::Stopped);
    check!(cx.get(&template).await?.template, "the template is none any more");
    Ok(())
}

async fn a_deployed_guest_has_the_size_asked_for(cx: &Context) -> Check {
    let template = template(cx).await?;
    let spec = DeploySpec::new("").clone(CloneSpec::new(cx.name("vm")).start(true));
    let spec = spec.cpus(2).memory(ByteSize::mib(96));
    let vm = cx.adopt(cx.hv.deploy_template(&template, &spec).await).await?;
    cx.wait_state(&vm, &VmState::Running).await?;
    let info = cx.get(&vm).await?;
    check_eq!("its number of CPUs", info.cpus, Some(2));
    check_eq!("its memory", info.memory, Some(ByteSize::mib(96)));
    Ok(())
}

async fn a_deployment_of_no_cpus_is_refused(cx: &Context) -> Check {
    let template = template(cx).await?;
    let made = cx.hv.deploy_template(&template, &DeploySpec::new(cx.name("vm")).cpus(0)).await;
    refused_field("a guest without CPUs", made, "cpus")?;
    let left = cx.vms(&VmQuery::all().name(cx.name("vm"))).await?;
    check!(left.is_empty(), "a deployment was refused, but left behind {left:?}");
    Ok(())
}

async fn an_unknown_template_is_not_deployed(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let made = cx.done(cx.hv.deploy_template(&unknown, &DeploySpec::new(cx.name("vm"))).await).await;
    refused_unknown("deploying an unknown template", made, VmId::NOUN, &unknown)?;
    cx.nothing_made("a guest from an unknown template").await
}
