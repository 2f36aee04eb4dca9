use std::collections::BTreeSet;

use uuid::Uuid;

use crate::conformance::case::Case;
use crate::conformance::check::{Check, check, check_eq, refused_unknown};
use crate::conformance::context::Context;
use crate::conformance::sweep::every;
use crate::model::{
    ByteSize, DeleteVm, DiskSource, DiskSpec, Feature, NicSource, NicSpec, PageRequest, PowerAction, VmId,
    VmInfo, VmQuery, VmState,
};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("lifecycle", created_guest_is_stopped, [Operation::CreateVm]),
        case!("lifecycle", created_guest_is_what_was_asked_for, [Operation::CreateVm]),
        case!("lifecycle", create_with_start_runs, [Operation::CreateVm, Operation::StartVm]),
        case!("lifecycle", requested_id_is_given, [Operation::CreateVm, Feature::RequestedId]),
        case!("lifecycle", taken_id_is_refused, [Operation::CreateVm, Feature::RequestedId]),
        case!("lifecycle", client_token_finds_the_guest, [Operation::CreateVm, Feature::ClientToken]),
        case!("lifecycle", list_shows_what_get_shows, [Operation::CreateVm]),
        case!("lifecycle", query_by_name_finds_exactly_it, [Operation::CreateVm]),
        case!("lifecycle", query_by_state_leaves_others_out, [Operation::CreateVm, Operation::StartVm]),
        case!("lifecycle", query_by_tag_leaves_others_out, [Operation::CreateVm, Feature::Tags]),
        case!("lifecycle", pages_add_up_to_the_list, [Operation::CreateVm]),
        case!("lifecycle", host_of_a_guest_is_a_listed_one, [Operation::CreateVm, Operation::ListHosts]),
        case!("lifecycle", config_gives_back_the_spec, [Operation::CreateVm, Operation::GetVmConfig]),
        case!(
            "lifecycle",
            config_of_a_whole_guest_would_recreate_it,
            [Operation::CreateVm, Operation::GetVmConfig, Operation::CreateVolume, Operation::ListVolumes]
        ),
        case!(
            "lifecycle",
            nics_have_addresses_of_their_own,
            [Operation::CreateVm, Operation::GetVmConfig, Operation::ListNetworks]
        ),
        case!("lifecycle", uid_is_its_own_and_stays, [Operation::CreateVm, Operation::StartVm]),
        case!(
            "lifecycle",
            ephemeral_guest_vanishes,
            [Operation::CreateVm, Operation::PowerOffVm, Feature::Ephemeral]
        ),
        case!("lifecycle", unknown_guest_is_not_found, []),
    ]
}

async fn created_guest_is_stopped(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    check_eq!("the state of a new guest", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}

async fn created_guest_is_what_was_asked_for(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("a").cpus(2).memory(ByteSize::mib(96)).description("two\nlines")).await?;
    let info = cx.get(&vm).await?;
    check_eq!("the id", info.id, vm);
    check_eq!("the name", info.name, cx.name("a"));
    check_eq!("the CPUs", info.cpus, Some(2));
    check_eq!("the memory", info.memory, Some(ByteSize::mib(96)));
    check!(!info.template, "a new guest is called a template");
    if let Some(description) = info.description {
        check_eq!("the description", description, "two\nlines");
    }
    Ok(())
}

async fn create_with_start_runs(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("a").start(true)).await?;
    cx.wait_state(&vm, &VmState::Running).await
}

/// An id that is free; none where the backend's ids are of another shape than its own.
async fn free_id(cx: &Context) -> Check<VmId> {
    let first = cx.vm("shape").await?;
    let id = match first.as_str().parse::<u64>() {
        Ok(number) => {
            let all = cx.vms(&VmQuery::all()).await?;
            let numbers = all.iter().filter_map(|vm| vm.id.as_str().parse::<u64>().ok());
            // Far from those that are given out by themselves, and elsewhere in each case.
            let [_, a, b] = cx.seed();
            let far = 1000 + u64::from(u16::from_be_bytes([a, b]));
            numbers.max().unwrap_or(number).saturating_add(far).to_string()
        }
        Err(_) => Uuid::new_v4().to_string(),
    };
    Ok(VmId::from(id))
}

async fn requested_id_is_given(cx: &Context) -> Check {
    let id = free_id(cx).await?;
    let vm = cx.create(&cx.spec("a").id(&id)).await?;
    check_eq!("the id", vm, id);
    check_eq!("the name of the guest of that id", cx.get(&id).await?.name, cx.name("a"));
    Ok(())
}

async fn taken_id_is_refused(cx: &Context) -> Check {
    let id = free_id(cx).await?;
    cx.create(&cx.spec("a").id(&id)).await?;
    let second = cx.done(cx.hv.create_vm(&cx.spec("b").id(&id)).await).await;
    let kind = crate::ErrorKind::AlreadyExists;
    crate::conformance::check::refused("creating a guest with an id that is taken", second, kind)?;
    check_eq!("the name of the first guest", cx.get(&id).await?.name, cx.name("a"));
    Ok(())
}

async fn client_token_finds_the_guest(cx: &Context) -> Check {
    let token = cx.name("token");
    let vm = cx.create(&cx.spec("a").client_token(&token)).await?;
    cx.vm("b").await?;
    let found = cx.vms(&VmQuery::all().client_token(&token)).await?;
    let ids: Vec<_> = found.into_iter().map(|vm| vm.id).collect();
    check_eq!("what the token finds", ids, [vm]);
    let none = cx.vms(&VmQuery::all().client_token(cx.name("other"))).await?;
    check!(none.is_empty(), "a token that was never used finds {} guests", none.len());
    Ok(())
}

async fn list_shows_what_get_shows(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("a").cpus(2)).await?;
    let listed = cx.vms(&VmQuery::all()).await?.into_iter().find(|info| info.id == vm);
    let Some(listed) = listed else {
        return Err(crate::conformance::check::Stop::failed("the list of guests lacks a new one"));
    };
    let mut read = cx.get(&vm).await?;
    // Where the uid would cost a call for each guest, a list may leave it out.
    if listed.uid.is_none() {
        read.uid = None;
    }
    for (what, listed, read) in [
        ("name", format!("{:?}", listed.name), format!("{:?}", read.name)),
        ("uid", format!("{:?}", listed.uid), format!("{:?}", read.uid)),
        ("kind", format!("{:?}", listed.kind), format!("{:?}", read.kind)),
        ("state", format!("{:?}", listed.state), format!("{:?}", read.state)),
        ("host", format!("{:?}", listed.host), format!("{:?}", read.host)),
        ("CPUs", format!("{:?}", listed.cpus), format!("{:?}", read.cpus)),
        ("memory", format!("{:?}", listed.memory), format!("{:?}", read.memory)),
    ] {
        check_eq!(format!("the {what} in the list"), listed, read);
    }
    Ok(())
}

async fn query_by_name_finds_exactly_it(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    cx.vm("a2").await?;
    let found = cx.vms(&VmQuery::all().name(cx.name("a"))).await?;
    let ids: Vec<_> = found.into_iter().map(|vm| vm.id).collect();
    check_eq!("the guests of that name", ids, [vm]);
    Ok(())
}

async fn query_by_state_leaves_others_out(cx: &Context) -> Check {
    let stopped = cx.vm("stopped").await?;
    let running = cx.running("running").await?;
    let found = cx.vms(&VmQuery::all().state(VmState::Running)).await?;
    check!(found.iter().any(|vm| vm.id == running), "the running guests lack one that runs");
    check!(found.iter().all(|vm| vm.id != stopped), "among the running guests is one that is stopped");
    Ok(())
}

async fn query_by_tag_leaves_others_out(cx: &Context) -> Check {
    let tag = cx.name("tag");
    let with = cx.create(&cx.spec("with").tag(&tag).tag("other")).await?;
    cx.create(&cx.spec("without").tag("other")).await?;
    let found = cx.vms(&VmQuery::all().tag(&tag)).await?;
    let ids: Vec<_> = found.iter().map(|vm| vm.id.clone()).collect();
    check_eq!("the guests with that tag", ids, [with]);
    for vm in found {
        let wanted = BTreeSet::from([tag.clone(), "other".to_owned()]);
        check_eq!("its tags", vm.tags, wanted);
    }
    Ok(())
}

async fn pages_add_up_to_the_list(cx: &Context) -> Check {
    let mut made = BTreeSet::new();
    for short in ["a", "b", "c"] {
        made.insert(cx.vm(short).await?);
    }
    let ours = |vms: Vec<VmInfo>| vms.into_iter().map(|vm| vm.id).filter(|id| made.contains(id)).collect();
    let mut seen: Vec<VmId> = Vec::new();
    let mut request = PageRequest::first().limit(2);
    loop {
        let page = cx.hv.list_vms(&VmQuery::all(), &request).await?;
        check!(page.items.len() <= 2, "a page of at most 2 has {} items", page.items.len());
        seen.extend::<Vec<VmId>>(ours(page.items));
        match page.next {
            Some(next) => request = PageRequest::first().limit(2).cursor(next),
            None => break,
        }
    }
    let twice = seen.len();
    let seen: BTreeSet<VmId> = seen.into_iter().collect();
    check_eq!("the number of our guests on the pages", twice, seen.len());
    check_eq!("our guests on all pages", seen, made);
    Ok(())
}

async fn host_of_a_guest_is_a_listed_one(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let hosts = every(|page| async move { cx.hv.list_hosts(&page).await }).await?;
    let host = cx.get(&vm).await?.host;
    check!(host.is_some(), "the guest does not say on which host it is");
    check!(hosts.iter().any(|listed| Some(&listed.id) == host.as_ref()), "its host {host:?} is not listed");
    Ok(())
}

async fn config_gives_back_the_spec(cx: &Context) -> Check {
    let mut spec = cx.spec("a").cpus(2).memory(ByteSize::mib(80)).description("what it is for");
    if cx.has(Feature::Tags) {
        spec = spec.tag("blue").tag("web");
    }
    if cx.has(Feature::Metadata) {
        spec = spec.metadata("owner", "a <b> & \"c\"");
    }
    if cx.has(Feature::Autostart) {
        spec = spec.autostart(true);
    }
    let vm = cx.create(&spec).await?;
    let config = cx.hv.get_vm_config(&vm).await?;
    check_eq!("the id", config.id, vm);
    check_eq!("the name", config.spec.name, spec.name);
    check_eq!("the CPUs", config.spec.cpus, spec.cpus);
    check_eq!("the memory", config.spec.memory, spec.memory);
    check_eq!("the description", config.spec.description, spec.description);
    check_eq!("the tags", config.spec.tags, spec.tags);
    check_eq!("the metadata", config.spec.metadata, spec.metadata);
    check_eq!("autostart", config.spec.autostart, spec.autostart);
    check!(config.pending.is_empty(), "a new guest has pending changes: {:?}", config.pending);
    check!(config.disks.is_empty(), "a guest without disks has {:?}", config.disks);
    check!(config.nics.is_empty(), "a guest without NICs has {:?}", config.nics);
    Ok(())
}

async fn config_of_a_whole_guest_would_recreate_it(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    let mut spec = cx.spec("a").disk(DiskSpec::new_volume(ByteSize::mib(2)).in_pool(&pool));
    let mac = crate::model::MacAddr::qemu(cx.seed());
    if cx.has(Operation::ListNetworks) {
        spec = spec.nic(NicSpec::network(cx.network().await?).mac(mac));
    }
    let vm = cx.create(&spec).await?;
    let first = cx.hv.get_vm_config(&vm).await?;
    check_eq!("the number of disks", first.disks.len(), 1);
    check_eq!("the number of disks in the spec", first.spec.disks.len(), 1);
    check_eq!("the number of NICs", first.nics.len(), spec.nics.len());
    for disk in &first.spec.disks {
        check!(matches!(disk.source, DiskSource::Volume(_)), "the spec's disk names no volume: {disk:?}");
    }
    if !cx.has(Feature::KeepDisks) {
        return Ok(());
    }
    cx.done(cx.hv.delete_vm(&vm, &DeleteVm::keep_disks()).await).await?;
    let again = cx.create(&first.spec).await?;
    let second = cx.hv.get_vm_config(&again).await?;
    check_eq!("the name of the guest made again", second.spec.name, first.spec.name);
    check_eq!("its disks", second.disks, first.disks);
    let plugs = |nics: &[crate::model::NicInfo]| -> Vec<(NicSource, Option<crate::model::MacAddr>)> {
        nics.iter().map(|nic| (nic.source.clone(), nic.mac)).collect()
    };
    check_eq!("its NICs", plugs(&second.nics), plugs(&first.nics));
    check_eq!(
        "its CPUs and memory",
        (second.spec.cpus, second.spec.memory),
        (first.spec.cpus, first.spec.memory)
    );
    Ok(())
}

async fn nics_have_addresses_of_their_own(cx: &Context) -> Check {
    let network = cx.network().await?;
    let nic = || NicSpec::network(&network);
    let vm = cx.create(&cx.spec("a").nic(nic()).nic(nic())).await?;
    let config = cx.hv.get_vm_config(&vm).await?;
    let macs: BTreeSet<_> = config.nics.iter().filter_map(|nic| nic.mac).collect();
    check_eq!("the number of different MAC addresses", macs.len(), 2);
    let ids: BTreeSet<_> = config.nics.iter().map(|nic| nic.id.clone()).collect();
    check_eq!("the number of different NIC ids", ids.len(), 2);
    for nic in &config.nics {
        check_eq!("what the NIC is plugged into", nic.source, NicSource::Network(network.clone()));
    }
    Ok(())
}

async fn uid_is_its_own_and_stays(cx: &Context) -> Check {
    let (a, b) = (cx.vm("a").await?, cx.vm("b").await?);
    let (uid, other) = (cx.get(&a).await?.uid, cx.get(&b).await?.uid);
    let Some(uid) = uid else {
        return Err(crate::conformance::check::Stop::skipped("the backend gives its guests no uid"));
    };
    check!(other.as_ref() != Some(&uid), "two guests have the uid `{uid}`");
    cx.start(&a).await?;
    check_eq!("the uid after a start", cx.get(&a).await?.uid, Some(uid));
    Ok(())
}

async fn ephemeral_guest_vanishes(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("a").ephemeral(true)).await?;
    cx.wait_state(&vm, &VmState::Running).await?;
    cx.power(&vm, PowerAction::PowerOff).await?;
    let vm = &vm;
    cx.until("an ephemeral guest is gone after it was powered off", || async move {
        match cx.hv.get_vm(vm).await {
            Err(error) if error.is_not_found() => Ok(Some(())),
            other => other.map(|_| None).map_err(Into::into),
        }
    })
    .await
}

async fn unknown_guest_is_not_found(cx: &Context) -> Check {
    let uuid = Uuid::new_v4().to_string();
    for id in [cx.name("ghost"), uuid, "999999998".to_owned()] {
        let ghost = VmId::from(id);
        refused_unknown("reading a guest that is not there", cx.hv.get_vm(&ghost).await, VmId::NOUN, &ghost)?;
        if cx.has(Operation::DeleteVm) {
            let delete = cx.hv.delete_vm(&ghost, &DeleteVm::with_disks()).await;
            refused_unknown("deleting a guest that is not there", delete, VmId::NOUN, &ghost)?;
        }
        if cx.has(Operation::StartVm) {
            let start = cx.hv.power_vm(&ghost, &PowerAction::Start).await;
            refused_unknown("starting a guest that is not there", start, VmId::NOUN, &ghost)?;
        }
        if cx.has(Operation::GetVmConfig) {
            let config = cx.hv.get_vm_config(&ghost).await;
            refused_unknown(
                "reading the configuration of a guest that is not there",
                config,
                VmId::NOUN,
                &ghost,
            )?;
        }
    }
    Ok(())
}
