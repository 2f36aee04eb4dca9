//! Networks by the trait: what is written, what is applied, and what is left alone.

use hypervisor_core::Effect;
use hypervisor_core::ErrorKind;
use hypervisor_core::model::{
    ByteSize, DiskSpec, Extra, NetworkChange, NetworkId, NetworkInfo, NetworkKind, NetworkSpec, NicSpec,
    PageRequest, TaskState, VmSpec, VolumeFormat, VolumeSpec,
};
use hypervisor_core::traits::{Compute as _, Network as _, Storage as _, Tasks as _};
use hypervisor_proxmox::Proxmox;
use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::wire::form::Form;

use super::{config, connect, done, guests, vms};

fn lab(name: &str) -> NetworkSpec {
    NetworkSpec::isolated(name, "10.20.0.1/24".parse().unwrap())
}

fn zoned(name: &str, zone: &str) -> NetworkSpec {
    let mut options = Extra::default();
    options.insert("proxmox", "zone", zone);
    NetworkSpec::new(name, NetworkKind::Vnet).options(options)
}

async fn get(proxmox: &Proxmox, network: &str) -> NetworkInfo {
    proxmox.get_network(&NetworkId::from(network)).await.unwrap()
}

/// What waits on a host.
async fn waiting(proxmox: &Proxmox, host: &str) -> usize {
    let path = format!("/nodes/{host}/network");
    let rows = proxmox.api().get(&path).await.unwrap();
    rows.as_array().unwrap().iter().filter(|row| row.get("active").is_none()).count()
}

#[tokio::test]
async fn a_bridge_is_written_then_started_used_and_deleted() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let made = proxmox.create_network(&lab("build-farm")).await.unwrap();
    assert_eq!((made.task.clone(), pve.count("PUT", "/nodes/pve1/network")), (None, 0), "nothing is applied");
    let network = made.output;
    let info = get(&proxmox, network.as_str()).await;
    assert_eq!(
        (info.name.as_str(), info.kind, info.active, info.autostart),
        ("build-farm", NetworkKind::Isolated, false, false)
    );
    let error = proxmox.create_network(&lab("build-farm")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let started = proxmox.start_network(&network).await.unwrap();
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    let info = get(&proxmox, network.as_str()).await;
    assert_eq!(
        (info.active, info.autostart, info.cidr),
        (true, true, lab("x").cidr),
        "what is up starts with its host"
    );
    assert_eq!(proxmox.start_network(&network).await.unwrap_err().kind(), ErrorKind::InvalidState);
    let vm = proxmox.create_vm(&VmSpec::new("plugged").nic(NicSpec::network(network.clone()))).await.unwrap();
    let guest = vm.output.clone();
    done(&proxmox, vm).await;
    let error = proxmox.delete_network(&network).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidState, Effect::None));
    assert!(error.to_string().contains(guest.as_str()), "{error}");
    let gone = proxmox.delete_vm(&guest, &hypervisor_core::model::DeleteVm::with_disks()).await.unwrap();
    done(&proxmox, gone).await;
    let gone = proxmox.delete_network(&network).await.unwrap();
    assert_eq!(done(&proxmox, gone).await, TaskState::Succeeded);
    assert!(proxmox.get_network(&network).await.unwrap_err().is_not_found());
    assert_eq!(pve.count("PUT", "/nodes/pve1/network"), 2);
}

#[tokio::test]
async fn what_others_have_written_is_not_applied_and_not_dropped() {
    let pve = guests(0).hosts(2).start().await.unwrap();
    let (proxmox, other) = (connect(&pve).await, Proxmox::connect(config(&pve)).await.unwrap());
    let foreign = NetworkSpec::on_bridge("vmbr7", "vmbr7");
    other.create_bridge(&"pve1".into(), &foreign).await.unwrap();
    for spec in [lab("lab1").host("pve1"), lab("lab1").host("pve1").start(true)] {
        let error = proxmox.create_network(&spec).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect(), error.target()),
            (ErrorKind::Conflict, Effect::None, Some("host `pve1`"))
        );
        assert!(error.hint().unwrap().contains("revert_networks"), "{error}");
    }
    // The other host has nothing to do with it.
    let made = proxmox.create_network(&lab("lab2").host("pve2").start(true)).await.unwrap();
    assert_eq!(done(&proxmox, made).await, TaskState::Succeeded);
    // What comes in between is seen, too, and our own part alone is taken back.
    other.revert_networks(&"pve1".into()).await.unwrap();
    let mine = proxmox.create_network(&lab("lab3").host("pve1")).await.unwrap().output;
    other.create_bridge(&"pve1".into(), &foreign).await.unwrap();
    let error = proxmox.start_network(&mine).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(pve.count("PUT", "/nodes/pve1/network"), 0);
    assert_eq!(waiting(&proxmox, "pve1").await, 2, "both are still written");
}

#[tokio::test]
async fn a_host_that_cannot_apply_keeps_nothing() {
    let pve = guests(0).ifupdown2(false).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let error = proxmox.create_network(&lab("lab1").start(true)).await.unwrap_err();
    assert!(error.message().contains("ifupdown2"), "{error}");
    assert_eq!((error.effect(), pve.count("DELETE", "/nodes/pve1/network")), (Effect::None, 1));
    assert_eq!(waiting(&proxmox, "pve1").await, 0);
    // Several of ours: the others stay as they were written.
    let first = proxmox.create_network(&lab("lab2")).await.unwrap().output;
    let error = proxmox.create_network(&lab("lab3").start(true)).await.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
    assert_eq!(waiting(&proxmox, "pve1").await, 1);
    // Deleting the last of them leaves the host's file as it was.
    drop(proxmox.delete_network(&first).await.unwrap());
    let plain = proxmox.api().get("/nodes/pve1/network").await.unwrap();
    assert_eq!(plain.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_reload_that_fails_takes_the_bridge_out_again() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on_task("srvreload").fail("command 'ifreload -a' failed: exit code 1");
    let made = proxmox.create_network(&lab("lab1").start(true)).await.unwrap();
    let task = made.task.clone().unwrap();
    assert_eq!(done(&proxmox, made).await, TaskState::Failed);
    let info = proxmox.get_task(&task, None).await.unwrap();
    assert!(info.error.unwrap().contains("ifreload"), "the first failure is told");
    let known: Vec<_> = proxmox.list_networks(&PageRequest::first()).await.unwrap().items;
    assert_eq!(known.iter().map(|network| network.id.as_str()).collect::<Vec<_>>(), ["vmbr0"]);
}

#[tokio::test]
async fn bridges_that_are_not_ours_are_left_alone() {
    let pve = guests(0).hosts(2).start().await.unwrap();
    let proxmox = connect(&pve).await;
    for error in [
        proxmox.delete_network(&"vmbr0".into()).await.unwrap_err(),
        proxmox.update_network(&"vmbr0".into(), &NetworkChange::new().autostart(false)).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidState, Effect::None), "{error}");
        assert!(error.hint().is_some());
    }
    drop(proxmox.create_network(&lab("lab1").host("pve1")).await.unwrap());
    drop(proxmox.create_network(&lab("lab1").host("pve2")).await.unwrap());
    let error = proxmox.delete_network(&"lab1".into()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidState && error.message().contains("`pve1`"), "{error}");
    for (field, spec) in [("dhcp", lab("lab2").dhcp_from_cidr()), ("bridge", lab("lab2").bridge("br-2"))] {
        let error = proxmox.create_network(&spec).await.unwrap_err();
        assert!(error.is_unsupported() || error.fields().contains_key(field), "{error}");
    }
    let error = proxmox.create_network(&NetworkSpec::on_bridge("lab2", "lab2")).await.unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("create_bridge"), "{error}");
    assert_eq!(pve.count("PUT", "/nodes/*/network"), 0);
}

#[tokio::test]
async fn a_change_of_a_bridge_that_is_up_is_applied_and_keeps_the_rest() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let made = proxmox.create_network(&lab("lab1").start(true)).await.unwrap();
    done(&proxmox, made).await;
    let network = NetworkId::from("lab1");
    let changed =
        proxmox.update_network(&network, &NetworkChange::new().cidr("10.21.0.1/24".parse().unwrap())).await;
    done(&proxmox, changed.unwrap()).await;
    let info = get(&proxmox, "lab1").await;
    assert_eq!(
        (info.cidr.unwrap().to_string().as_str(), info.autostart, info.name.as_str()),
        ("10.21.0.1/24", true, "lab1")
    );
    let changed = proxmox.update_network(&network, &NetworkChange::new().autostart(false)).await.unwrap();
    done(&proxmox, changed).await;
    let info = get(&proxmox, "lab1").await;
    assert_eq!(
        (info.cidr.unwrap().to_string().as_str(), info.autostart, info.active),
        ("10.21.0.1/24", false, true)
    );
    let error = proxmox.update_network(&network, &NetworkChange::new().domain("lab")).await.unwrap_err();
    assert!(error.fields().contains_key("domain"), "{error}");
}

#[tokio::test]
async fn a_vnet_waits_until_it_is_started_and_takes_nothing_of_others_with_it() {
    let pve = guests(0).hosts(2).zone("z1").start().await.unwrap();
    let proxmox = connect(&pve).await;
    let vnet = proxmox.create_network(&zoned("lab1", "z1").vlan(7)).await.unwrap().output;
    let info = get(&proxmox, "lab1").await;
    assert_eq!(
        (info.active, info.kind, info.vlan, pve.count("PUT", "/cluster/sdn")),
        (false, NetworkKind::Vnet, Some(7), 0)
    );
    // Applying it would apply what waits on the hosts.
    proxmox.create_bridge(&"pve2".into(), &NetworkSpec::on_bridge("vmbr7", "vmbr7")).await.unwrap();
    let error = proxmox.start_network(&vnet).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.message().contains("pve2"), "{error}");
    proxmox.revert_networks(&"pve2".into()).await.unwrap();
    // And what waits in the cluster's networking.
    proxmox
        .api()
        .post("/cluster/sdn/vnets", &Form::new().text("vnet", "theirs").text("zone", "z1"))
        .await
        .unwrap();
    let error = proxmox.start_network(&vnet).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.message().contains("theirs"), "{error}");
    drop(proxmox.delete_network(&"theirs".into()).await.unwrap());
    let started = proxmox.start_network(&vnet).await.unwrap();
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    assert!(get(&proxmox, "lab1").await.active);
    let changed = proxmox.update_network(&vnet, &NetworkChange::new().vlan(8)).await.unwrap();
    done(&proxmox, changed).await;
    assert_eq!(get(&proxmox, "lab1").await.vlan, Some(8));
    let gone = proxmox.delete_network(&vnet).await.unwrap();
    assert_eq!(done(&proxmox, gone).await, TaskState::Succeeded);
    assert!(proxmox.get_network(&vnet).await.unwrap_err().is_not_found());
    let error = proxmox.create_network(&zoned("too-long-a-name", "z1")).await.unwrap_err();
    assert!(error.fields().contains_key("name"), "{error}");
    let error = proxmox.create_network(&zoned("lab2", "nowhere")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn who_may_not_change_networks_is_told_so_at_once() {
    let pve = guests(0)
        .user("ann@pve", "secret")
        .api_token("ann@pve", "lab", "00000000-0000-4000-8000-000000000001", false)
        .grant("ann@pve", "/", "PVEAuditor")
        .start()
        .await
        .unwrap();
    let config = hypervisor_proxmox::ProxmoxConfig::new(&pve.url()).unwrap();
    let config = config.token("ann@pve!lab", "00000000-0000-4000-8000-000000000001");
    let proxmox = Proxmox::connect(config).await.unwrap();
    pve.clear_requests();
    let error = proxmox.create_network(&lab("lab1")).await.unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("Sys.Modify"), "{error}");
    assert!(pve.requests().is_empty());
}

#[tokio::test]
async fn block_storages_take_no_format_and_say_so_before_anything_is_sent() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let disk = DiskSpec::new_volume(ByteSize::gib(1)).in_pool("local-lvm").format(VolumeFormat::Qcow2);
    let error = proxmox.create_vm(&VmSpec::new("a").disk(disk.clone())).await.unwrap_err();
    assert!(error.fields().contains_key("disks[0].format"), "{error}");
    let spec = VolumeSpec::new("local-lvm", "data", ByteSize::gib(1)).format(VolumeFormat::Qcow2);
    let error = proxmox.create_volume(&spec).await.unwrap_err();
    assert!(error.fields().contains_key("format"), "{error}");
    assert_eq!(pve.count("POST", "/nodes/*/qemu") + pve.count("POST", "/nodes/*/storage/*/content"), 0);
    let made = proxmox.create_vm(&VmSpec::new("a")).await.unwrap();
    let vm = made.output.clone();
    done(&proxmox, made).await;
    let error = proxmox.attach_disk(&vm, &disk).await.unwrap_err();
    assert!(error.fields().contains_key("disk.format"), "{error}");
}

#[tokio::test]
async fn large_lists_are_packed_where_that_is_asked_for() {
    let pve = guests(0).many(200).vm(FakeGuest::vm(100).name("web-1")).start().await.unwrap();
    let plain = connect(&pve).await;
    let expected = vms(&plain).await;
    let sent = |pve: &FakePve| {
        let requests = pve.requests();
        let list = requests.iter().rev().find(|seen| seen.path == "/cluster/resources").unwrap();
        list.sent.unwrap()
    };
    let plainly = sent(&pve);
    let packing = Proxmox::connect(config(&pve).compression(true)).await.unwrap();
    assert_eq!(vms(&packing).await, expected);
    let packed = sent(&pve);
    assert!(packed * 4 < plainly, "{packed} bytes packed, {plainly} plainly");
    // Refusals are small, and are read as ever.
    let error = packing.get_vm(&"999".into()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn what_nobody_heard_the_answer_to_is_not_taken_for_somebody_elses() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on("POST", "/nodes/*/network").drop_after();
    let lost = proxmox.create_network(&lab("first")).await.unwrap_err();
    assert_eq!(lost.effect(), Effect::Unknown, "{lost}");
    let spec = lab("second");
    let mut given_up = Box::pin(proxmox.create_network(&spec));
    while pve.count("POST", "/nodes/*/network") < 2 {
        assert!(futures::poll!(&mut given_up).is_pending());
        tokio::task::yield_now().await;
    }
    drop(given_up);
    assert!(waiting(&proxmox, "pve1").await > 0, "something was written");
    let third = proxmox.create_network(&lab("third").start(true)).await.unwrap();
    assert_eq!(done(&proxmox, third).await, TaskState::Succeeded);
}
