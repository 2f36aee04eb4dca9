//! What the driver does with a server of each generation.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::{AddHost, Generation, HostChange, Virtumancer};
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::{FakeHost, FakeVm, VirtumancerBuilder, VirtumancerFake};
use hypervisor_core::http::{Message, Method, Request, Trust};
use hypervisor_core::model::{
    ByteSize, ConsoleKind, DeleteVm, DiskSpec, HostState, NicSource, NicSpec, PageRequest, PoolQuery,
    PowerAction, Shutdown, VmId, VmQuery, VmSpec, VmState,
};
use hypervisor_core::{Compute, Effect, ErrorKind, Hypervisor, Metrics, Network, Operation, Retry, Storage};

use crate::support::{answer, connect, json, server};

const ALL: [Generation; 3] = [Generation::Documented, Generation::Early, Generation::Current];
const SERVED: [Generation; 2] = [Generation::Early, Generation::Current];

fn fake(generation: Generation) -> VirtumancerBuilder {
    Fake::virtumancer()
        .generation(generation)
        .with_vm(FakeVm::new("kvmsrv", "web-01").running())
        .with_vm(FakeVm::new("kvmsrv", "db-01"))
}

fn requests(fake: &VirtumancerFake) -> Vec<(String, String, String)> {
    fake.requests().into_iter().map(|seen| (seen.method, seen.path, seen.body)).collect()
}

#[tokio::test]
async fn the_generation_is_found_out_even_without_hosts() {
    for generation in ALL {
        let fake = Fake::virtumancer().generation(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        assert_eq!(virtumancer.generation(), generation);
        assert!(fake.requests().len() <= 4, "{:?}", fake.requests());
        let info = virtumancer.info();
        assert_eq!(
            (info.backend.as_str(), info.version.as_deref()),
            ("virtumancer", Some(generation.as_str()))
        );
        let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
        assert!(page.items.is_empty() && page.unreachable.is_empty());
        // The scheme without a dialect finds it as well.
        let url = fake.url().replace("+virtumancer", "");
        let found = hypervisor_client::connect(ClientConfig::new(&url).unwrap()).await.unwrap();
        assert_eq!(found.info().backend, "virtumancer");
    }
}

#[tokio::test]
async fn a_web_interface_that_answers_every_path_with_its_page_is_not_taken_for_the_api() {
    let page = || answer(200, "text/html; charset=utf-8", "<!doctype html><html></html>");
    let (_server, virtumancer) = server(Generation::Early, move |line| match line {
        "GET /api/v1/health" => None,
        _ => Some(page()),
    })
    .await;
    assert_eq!(virtumancer.generation(), Generation::Early);
    let nobody = crate::support::Scripted::start(move |_| page()).await;
    let error = Virtumancer::connect(ClientConfig::new(&nobody.url()).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_certificate_without_names_can_be_pinned() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    // As the server's own script makes it: a common name, and no subject alternative name.
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https+virtumancer://{}", listener.local_addr().unwrap());
    let behind = fake.address();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut front) = acceptor.accept(socket).await else { return };
                let mut back = tokio::net::TcpStream::connect(behind).await.unwrap();
                tokio::io::copy_bidirectional(&mut front, &mut back).await.ok();
            });
        }
    });
    let error = Virtumancer::connect(ClientConfig::new(&url).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let pinned = hypervisor_core::http::Fingerprint::of(certificate.der());
    let config = ClientConfig::new(&url).unwrap().trust(Trust::Fingerprint(pinned));
    let virtumancer = Virtumancer::connect(config).await.unwrap();
    assert_eq!(virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items.len(), 2);
    // The WebSocket has the same trust.
    let mut loads = virtumancer.watch_vm_load(&"kvmsrv/web-01".into()).await.unwrap();
    let load = tokio::time::timeout(Duration::from_secs(10), loads.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(load.memory_total, Some(ByteSize::mib(256)));
}

#[tokio::test]
async fn credentials_for_what_stands_before_it_go_with_every_call_and_with_the_websocket() {
    let fake = fake(Generation::Current).start().await.unwrap();
    for (config, header) in [
        (ClientConfig::new(&fake.url()).unwrap().token("canary-token"), "Bearer canary-token"),
        (ClientConfig::new(&fake.url()).unwrap().basic("bob", "canary"), "Basic Ym9iOmNhbmFyeQ=="),
    ] {
        let refused = Virtumancer::connect(config.clone()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
        fake.forget_requests();
        let virtumancer = Virtumancer::connect(config.allow_plain_http_credentials()).await.unwrap();
        virtumancer.hosts().await.unwrap();
        let _loads = virtumancer.watch_vm_load(&"kvmsrv/web-01".into()).await.unwrap();
        let seen = fake.requests();
        assert!(seen.iter().any(|seen| seen.path == "/ws"));
        assert!(seen.iter().all(|seen| seen.authorization.as_deref() == Some(header)), "{seen:?}");
        assert!(!format!("{virtumancer:?}").contains("canary"));
    }
    let config = ClientConfig::new(&fake.url()).unwrap().oauth("id", "secret").allow_plain_http_credentials();
    assert_eq!(Virtumancer::connect(config).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn names_with_odd_characters_come_back_as_they_went() {
    for generation in ALL {
        let (host, name) = ("kvm srv/1", "wéb:01?#%");
        let fake = Fake::virtumancer()
            .generation(generation)
            .with_vm(FakeVm::new(host, name))
            .start()
            .await
            .unwrap();
        let virtumancer = connect(&fake).await;
        let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
        let id = page.items[0].id.clone();
        assert_eq!(id.as_str(), "kvm%20srv%2F1/w%C3%A9b%3A01%3F%23%25");
        assert_eq!((page.items[0].name.as_str(), page.items[0].host.clone()), (name, Some(host.into())));
        drop(virtumancer.power_vm(&id, &PowerAction::Start).await.unwrap());
        assert_eq!(virtumancer.get_vm(&id).await.unwrap().state, VmState::Running);
        virtumancer.get_vm_config(&id).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_name_on_two_hosts_is_two_guests() {
    for generation in ALL {
        let fake = fake(generation).with_vm(FakeVm::new("other", "web-01")).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let both = virtumancer.list_vms(&VmQuery::all().name("web-01"), &PageRequest::first()).await.unwrap();
        let ids: Vec<&str> = both.items.iter().map(|vm| vm.id.as_str()).collect();
        assert_eq!(ids, ["kvmsrv/web-01", "other/web-01"]);
        let one = virtumancer.list_vms(&VmQuery::all().host("other"), &PageRequest::first()).await.unwrap();
        assert_eq!(one.items.len(), 1);
        drop(virtumancer.power_vm(&"other/web-01".into(), &PowerAction::Start).await.unwrap());
        drop(virtumancer.power_vm(&"kvmsrv/web-01".into(), &PowerAction::PowerOff).await.unwrap());
        assert_eq!(virtumancer.get_vm(&"other/web-01".into()).await.unwrap().state, VmState::Running);
        assert_eq!(virtumancer.get_vm(&"kvmsrv/web-01".into()).await.unwrap().state, VmState::Stopped);
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named_and_its_guests_are_not_left_out() {
    for generation in ALL {
        let fake = fake(generation)
            .with_host(FakeHost::new("gone").disconnected())
            .with_vm(FakeVm::new("gone", "lost-01").running())
            .start()
            .await
            .unwrap();
        let virtumancer = connect(&fake).await;
        let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
        let [unreachable] = page.unreachable.as_slice() else { panic!("{page:?}") };
        assert_eq!(unreachable.host.as_str(), "gone");
        assert!(unreachable.reason.contains("connected"), "{unreachable:?}");
        assert_eq!(page.items.len(), 3);
        let lost = page.items.iter().find(|vm| vm.id.as_str() == "gone/lost-01").unwrap();
        assert_eq!(lost.state, VmState::Unreachable);
        assert_eq!(virtumancer.get_vm(&lost.id).await.unwrap().state, VmState::Unreachable);
        let hosts = virtumancer.list_hosts(&PageRequest::first()).await.unwrap().items;
        let states: Vec<_> = hosts.iter().map(|host| (host.id.as_str(), host.state.clone())).collect();
        assert_eq!(states, [("gone", HostState::Offline), ("kvmsrv", HostState::Online)]);
        let error = virtumancer.power_vm(&lost.id, &PowerAction::Start).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.target()),
            (ErrorKind::HostUnreachable, Some("host `gone`")),
            "{error}"
        );
        assert_eq!(error.effect(), Effect::None);
        let loads = virtumancer.list_vm_metrics(&PageRequest::first()).await;
        if generation != Generation::Documented {
            let loads = loads.unwrap();
            assert_eq!((loads.items.len(), loads.unreachable.len()), (1, 1), "{loads:?}");
        }
    }
}

#[tokio::test]
async fn refusals_of_every_generation_have_the_same_kind() {
    for generation in ALL {
        let fake = fake(generation).with_vm(FakeVm::new("kvmsrv", "frozen").state(3)).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let refused = async |vm: &str, action: PowerAction| {
            let error = virtumancer.power_vm(&vm.into(), &action).await.unwrap_err();
            assert_eq!(error.operation(), Some(action.operation()), "{error}");
            assert_eq!((error.effect(), error.backend()), (Effect::None, Some("virtumancer")), "{error}");
            assert!(!error.message().is_empty() || error.is_not_found(), "{error:?}");
            (error.kind(), error.target().unwrap_or_default().to_owned())
        };
        let shutdown = PowerAction::Shutdown(Shutdown::new());
        let state = |vm: &str| (ErrorKind::InvalidState, format!("vm `kvmsrv/{vm}`"));
        assert_eq!(refused("kvmsrv/web-01", PowerAction::Start).await, state("web-01"));
        for action in [PowerAction::PowerOff, PowerAction::Reset, PowerAction::Reboot, shutdown] {
            assert_eq!(refused("kvmsrv/db-01", action).await, state("db-01"), "{generation} {action:?}");
        }
        for action in [shutdown, PowerAction::Reboot, PowerAction::Start] {
            assert_eq!(refused("kvmsrv/frozen", action).await, state("frozen"), "{generation} {action:?}");
        }
        for action in
            [PowerAction::Start, PowerAction::PowerOff, PowerAction::Reset, PowerAction::Reboot, shutdown]
        {
            for ghost in ["kvmsrv/ghost", "ghost/web-01"] {
                let missing = (ErrorKind::NotFound, format!("vm `{ghost}`"));
                assert_eq!(refused(ghost, action).await, missing, "{generation} {action:?}");
            }
        }
        for foreign in ["web-01", "", "a/b/c", "kvmsrv/we%62-01"] {
            let count = fake.requests().len();
            assert_eq!(refused(foreign, PowerAction::Start).await.0, ErrorKind::NotFound);
            assert_eq!(fake.requests().len(), count, "an id that is none of ours is not sent");
        }
    }
}

#[tokio::test]
async fn what_no_server_can_do_is_refused_before_anything_is_sent() {
    for generation in ALL {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        fake.forget_requests();
        let vm = VmId::from("kvmsrv/web-01");
        for action in [PowerAction::Pause, PowerAction::Resume, PowerAction::Hibernate] {
            let error = virtumancer.power_vm(&vm, &action).await.unwrap_err();
            assert!(error.is_unsupported() && error.message().contains("power verb"), "{error}");
        }
        let timed = PowerAction::Shutdown(Shutdown::new().power_off_after(Duration::from_secs(1)));
        assert!(virtumancer.power_vm(&vm, &timed).await.unwrap_err().is_unsupported());
        let error = virtumancer.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err();
        assert!(error.is_unsupported() && error.message().contains("delete"), "{error}");
        if generation != Generation::Current {
            let error = virtumancer.create_vm(&VmSpec::new("a")).await.unwrap_err();
            assert!(error.is_unsupported(), "{error}");
            assert!(
                virtumancer
                    .list_pools(&PoolQuery::all(), &PageRequest::first())
                    .await
                    .unwrap_err()
                    .is_unsupported()
            );
            assert!(virtumancer.import_all(&"kvmsrv".into()).await.unwrap_err().is_unsupported());
        }
        assert_eq!(fake.requests(), []);
    }
}

#[tokio::test]
async fn a_current_server_creates_guests() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    fake.forget_requests();
    let spec = VmSpec::new("new-01")
        .memory(ByteSize::mib(128))
        .description("what it is for")
        .disk(DiskSpec::new_volume(ByteSize::gib(1)))
        .nic(NicSpec::network("kvmsrv/default"))
        .start(true);
    let made = virtumancer.create_vm(&spec).await.unwrap();
    assert_eq!((made.output.as_str(), made.task), ("kvmsrv/new-01", None));
    let posts: Vec<_> = requests(&fake).into_iter().filter(|(method, ..)| method == "POST").collect();
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert_eq!(posts[0].1, "/api/v1/hosts/kvmsrv/vms");
    let body: serde_json::Value = serde_json::from_str(&posts[0].2).unwrap();
    let wanted = serde_json::json!({
        "name": "new-01", "hostId": "kvmsrv", "vcpu_count": 1, "memory_bytes": 134_217_728, "disk_size_gb": 1,
        "network_interface": "default", "description": "what it is for",
    });
    assert_eq!(body, wanted);
    assert_eq!(posts[1].1, "/api/v1/hosts/kvmsrv/vms/new-01/start");
    let vm = virtumancer.get_vm(&made.output).await.unwrap();
    assert_eq!((vm.state, vm.memory), (VmState::Running, Some(ByteSize::mib(128))));
    let error = virtumancer.create_vm(&spec).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.target()),
        (ErrorKind::AlreadyExists, Some("vm `kvmsrv/new-01`")),
        "{error}"
    );
}

#[tokio::test]
async fn a_create_takes_only_what_the_server_takes() {
    let fake = fake(Generation::Current).with_host(FakeHost::new("other")).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    fake.forget_requests();
    let spec = || VmSpec::new("new-01").host("kvmsrv");
    let gib = || DiskSpec::new_volume(ByteSize::gib(1));
    for (spec, what) in [
        (spec().disk(gib()).disk(gib()), "one disk"),
        (spec().disk(gib().in_pool("kvmsrv/default")), "pool"),
        (spec().disk(DiskSpec::volume("kvmsrv/default/x")), "new, empty"),
        (spec().nic(NicSpec::bridge("br0")), "networks only"),
        (spec().nic(NicSpec::network("kvmsrv/default")).nic(NicSpec::network("kvmsrv/default")), "one NIC"),
        (spec().machine("q35"), "machine"),
        (spec().tag("a"), "no such call"),
    ] {
        let error = virtumancer.create_vm(&spec).await.unwrap_err();
        assert!(error.is_unsupported() && error.message().contains(what), "{what}: {error}");
    }
    for (spec, field) in [
        (VmSpec::new("new-01"), "host"),
        (VmSpec::new("--all").host("kvmsrv"), "name"),
        (spec().disk(DiskSpec::new_volume(ByteSize::mib(100))), "disks[0].size"),
        (spec().nic(NicSpec::network("other/default")), "nics[0].network"),
    ] {
        let error = virtumancer.create_vm(&spec).await.unwrap_err();
        assert!(error.fields().contains_key(field), "{field}: {error}");
    }
    let error = virtumancer.create_vm(&VmSpec::new("a").host("ghost")).await.unwrap_err();
    assert!(error.is_not_found() && error.target() == Some("host `ghost`"), "{error}");
    assert!(fake.requests().iter().all(|seen| seen.method == "GET"), "nothing was made");
}

#[tokio::test]
async fn a_load_is_read_in_one_request_while_the_guest_runs() {
    for generation in SERVED {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        fake.forget_requests();
        let load = virtumancer.get_vm_metrics(&"kvmsrv/web-01".into()).await.unwrap();
        assert_eq!(load.memory_total, Some(ByteSize::mib(256)));
        assert_eq!(
            requests(&fake),
            [("GET".into(), "/api/v1/hosts/kvmsrv/vms/web-01/stats".into(), String::new())]
        );
        let error = virtumancer.get_vm_metrics(&"kvmsrv/db-01".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
        for ghost in ["kvmsrv/ghost", "ghost/web-01"] {
            let error = virtumancer.get_vm_metrics(&ghost.into()).await.unwrap_err();
            assert!(error.is_not_found() && error.target() == Some(&format!("vm `{ghost}`")), "{error}");
        }
        let all = virtumancer.list_vm_metrics(&PageRequest::first()).await.unwrap();
        assert_eq!(all.items.len(), 1);
    }
    let fake = fake(Generation::Current).start().await.unwrap();
    let load = connect(&fake).await.get_host_metrics(&"kvmsrv".into()).await.unwrap();
    assert_eq!((load.cpu_usage, load.memory_used), (Some(0.125), Some(ByteSize::bytes(4_000_000_000))));
}

#[tokio::test]
async fn a_screen_is_passed_on() {
    for generation in SERVED {
        let fake = Fake::virtumancer()
            .generation(generation)
            .with_host(FakeHost::new("kvmsrv").uri("qemu+ssh://user@host/system"))
            .with_vm(FakeVm::new("kvmsrv", "web-01").running())
            .with_vm(FakeVm::new("kvmsrv", "db-01"))
            .start()
            .await
            .unwrap();
        let virtumancer = connect(&fake).await;
        let (vm, off) = (VmId::from("kvmsrv/web-01"), VmId::from("kvmsrv/db-01"));
        let access = virtumancer.get_console(&vm, &ConsoleKind::Vnc).await.unwrap();
        let wanted = format!("ws://{}/api/v1/hosts/kvmsrv/vms/web-01/console", fake.address());
        assert_eq!(access.url, Some(wanted));
        assert_eq!(
            virtumancer.console_path(&vm, &ConsoleKind::Spice).unwrap(),
            "/api/v1/hosts/kvmsrv/vms/web-01/spice"
        );
        let mut screen = virtumancer.open_console(&vm, &ConsoleKind::Vnc).await.unwrap();
        assert_eq!(screen.protocol(), Some("binary"));
        let first = screen.next().await.unwrap().unwrap();
        assert_eq!(first, Message::Binary("RFB 003.008\n".into()));
        for (vm, kind, wanted) in [
            (&off, ConsoleKind::Vnc, ErrorKind::InvalidState),
            (&vm, ConsoleKind::Spice, ErrorKind::InvalidState),
            (&vm, ConsoleKind::Serial, ErrorKind::InvalidInput),
            (&VmId::from("kvmsrv/ghost"), ConsoleKind::Vnc, ErrorKind::NotFound),
        ] {
            assert_eq!(virtumancer.get_console(vm, &kind).await.unwrap_err().kind(), wanted, "{vm} {kind}");
        }
    }
}

#[tokio::test]
async fn a_current_server_lists_storage_and_networks() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let pools = virtumancer.list_pools(&PoolQuery::all(), &PageRequest::first()).await.unwrap().items;
    assert_eq!((pools.len(), pools[0].id.as_str(), pools[0].active), (1, "kvmsrv/default", true));
    assert_eq!(virtumancer.get_pool(&pools[0].id).await.unwrap(), pools[0]);
    let volumes = virtumancer.list_volumes(&pools[0].id, &PageRequest::first()).await.unwrap().items;
    assert_eq!(volumes.len(), 2);
    assert_eq!((volumes[1].id.as_str(), volumes[1].capacity), ("kvmsrv/default/web-01", ByteSize::gib(1)));
    assert_eq!(virtumancer.get_volume(&volumes[1].id).await.unwrap(), volumes[1]);
    fake.forget_requests();
    drop(virtumancer.delete_volume(&volumes[1].id).await.unwrap());
    let deletes: Vec<_> = requests(&fake).into_iter().filter(|(method, ..)| method == "DELETE").collect();
    assert!(deletes.len() == 1 && deletes[0].1.starts_with("/api/v1/storage/volumes/volume-"), "{deletes:?}");
    let error = virtumancer.delete_volume(&volumes[1].id).await.unwrap_err();
    assert!(error.is_not_found() && error.operation() == Some(Operation::DeleteVolume), "{error}");
    let networks = virtumancer.list_networks(&PageRequest::first()).await.unwrap().items;
    assert_eq!((networks.len(), networks[0].id.as_str()), (1, "kvmsrv/default"));
    assert_eq!(virtumancer.get_network(&networks[0].id).await.unwrap(), networks[0]);
}

#[tokio::test]
async fn what_is_beyond_the_traits_has_methods() {
    let fake = fake(Generation::Current)
        .with_vm(FakeVm::new("kvmsrv", "wild-01").unmanaged())
        .start()
        .await
        .unwrap();
    let virtumancer = connect(&fake).await;
    let (host, vm) = ("kvmsrv".into(), VmId::from("kvmsrv/web-01"));
    assert!(virtumancer.health().await.unwrap());
    let wild = virtumancer.discovered_vms(None).await.unwrap();
    assert_eq!(
        (wild.len(), wild[0].name.as_str(), wild[0].host_id.as_deref()),
        (1, "wild-01", Some("kvmsrv"))
    );
    assert_eq!(virtumancer.discovered_vms(Some(&host)).await.unwrap().len(), 1);
    assert!(virtumancer.get_vm(&"kvmsrv/wild-01".into()).await.unwrap_err().is_not_found());
    let imported = virtumancer.import_vm(&host, "wild-01").await.unwrap();
    assert_eq!(virtumancer.get_vm(&imported).await.unwrap().name, "wild-01");
    let error = virtumancer.import_vm(&host, "ghost").await.unwrap_err();
    assert!(error.is_not_found() && error.target() == Some("vm `kvmsrv/ghost`"), "{error}");
    virtumancer.import_all(&host).await.unwrap();
    virtumancer.import_selected(&host, &["40679dba".to_owned()]).await.unwrap();
    assert_eq!(fake.requests().last().unwrap().body, r#"{"domain_uuids":["40679dba"]}"#);
    assert_eq!(virtumancer.import_selected(&host, &[]).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    virtumancer.refresh_discovered_vms().await.unwrap();
    fake.add_vms("kvmsrv", [FakeVm::new("kvmsrv", "wild-02").unmanaged()]);
    let wild = virtumancer.discovered_vms(Some(&host)).await.unwrap().remove(0).uuid.unwrap();
    virtumancer.forget_discovered_vms(&host, std::slice::from_ref(&wild)).await.unwrap();
    let asked = fake.requests().last().unwrap().clone();
    let body = format!(r#"{{"domain_uuids":["{wild}"]}}"#);
    assert_eq!(
        (asked.method.as_str(), asked.body),
        ("DELETE", body),
        "the server refuses one without a body"
    );
    assert!(virtumancer.discovered_vms(Some(&host)).await.unwrap().is_empty());
    let none = virtumancer.forget_discovered_vms(&host, &[]).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput, "{none}");
    virtumancer.sync_from_libvirt(&vm).await.unwrap();
    virtumancer.rebuild_from_db(&vm).await.unwrap();
    virtumancer.set_intended_state(&vm, "STOPPED").await.unwrap();
    let error = virtumancer.set_intended_state(&vm, "FROB").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = virtumancer.set_intended_state(&"kvmsrv/ghost".into(), "STOPPED").await.unwrap_err();
    assert!(error.is_not_found() && error.target() == Some("vm `kvmsrv/ghost`"), "{error}");
    assert!(virtumancer.hardware_extended(&vm).await.unwrap().is_object());
    let error = virtumancer.hardware_extended(&"kvmsrv/ghost".into()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(virtumancer.dashboard_stats().await.unwrap()["infrastructure"].is_object());
    assert!(virtumancer.dashboard_activity(Some(2)).await.unwrap().len() <= 2);
    assert_eq!(fake.requests().last().unwrap().query, "limit=2");
    assert!(virtumancer.metrics_settings().await.unwrap().is_object());
    virtumancer.set_metrics_settings(&serde_json::json!({"cpuSmoothAlpha": 0.5})).await.unwrap();
    let error =
        virtumancer.set_metrics_settings(&serde_json::json!({"cpuSmoothAlpha": 5})).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidInput, Some("VALIDATION_ERROR")), "{error}");
    assert!(virtumancer.dashboard_overview().await.unwrap()["stats"].is_object());
    assert!(virtumancer.stored_metrics_settings().await.unwrap().is_object());
    virtumancer.refresh_host_capabilities(&host).await.unwrap();
    assert!(virtumancer.host_capabilities(&host).await.unwrap().is_object());
    let raw = virtumancer.raw(Request::new(Method::PUT, "/api/v1/hosts")).await.unwrap();
    assert_eq!((raw.status(), raw.header("allow")), (405, Some("GET")));
}

#[tokio::test]
async fn devices_are_listed_as_they_come() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let (host, vm) = (hypervisor_core::model::HostId::from("kvmsrv"), VmId::from("kvmsrv/web-01"));
    let asked = |path: &str| requests(&fake).last().unwrap().1 == format!("/api/v1/{path}");
    let disks = virtumancer.disk_attachments().await.unwrap();
    assert!(disks[0]["disk"]["path"].is_string() && asked("storage/disk-attachments"));
    let ports = virtumancer.ports(None).await.unwrap();
    assert!(ports[0]["network_id"].is_string() && asked("ports"));
    assert!(virtumancer.ports(Some(&host)).await.unwrap().is_empty() && asked("hosts/kvmsrv/ports"));
    let all = virtumancer.port_attachments(None).await.unwrap();
    assert!(all[0]["port"]["mac_address"].is_string() && asked("port-attachments"));
    let own = virtumancer.port_attachments(Some(&vm)).await.unwrap();
    assert!(own.len() == 1 && asked("hosts/kvmsrv/vms/web-01/port-attachments"));
    // A guest's devices tell no bridge of a network that libvirt keeps.
    let bridge = &virtumancer.hardware(&vm).await.unwrap().networks[0].source["bridge"];
    assert!(bridge == "");
    let nics = virtumancer.get_vm_config(&vm).await.unwrap().nics;
    assert_eq!((nics.len(), &nics[0].source), (1, &NicSource::Network("kvmsrv/default".into())));
    assert!(virtumancer.video_models().await.unwrap()[0]["ModelName"] == "vga" && asked("video/models"));
    let cards = virtumancer.video_devices(&host).await.unwrap();
    assert!(cards.is_empty() && asked("hosts/kvmsrv/video/devices"));
    let cards = virtumancer.video_attachments(&vm).await.unwrap();
    assert!(cards[0]["VideoModel"]["Heads"] == 1 && asked("hosts/kvmsrv/vms/web-01/video-attachments"));
    let early = connect(&self::fake(Generation::Early).start().await.unwrap()).await;
    assert!(early.video_models().await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn hosts_are_added_awaited_changed_parted_from_and_removed() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let added = virtumancer.add_host(&AddHost::new("h2", "qemu+ssh://user@h2/system")).await.unwrap();
    assert_eq!(added.state.as_deref(), Some("DISCONNECTED"), "it has not tried yet");
    let found = virtumancer.wait_for_host(&"h2".into(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(found.is_connected(), Some(true));
    let error = virtumancer.add_host(&AddHost::new("h2", "qemu:///system")).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::AlreadyExists, Some("host `h2`")), "{error}");
    virtumancer.add_host(&AddHost::new("bad", "foo://x/system")).await.unwrap();
    let error = virtumancer.wait_for_host(&"bad".into(), Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    let named = virtumancer.update_host(&"h2".into(), &HostChange::new().name("KVM two")).await.unwrap();
    assert_eq!(named.name.as_deref(), Some("KVM two"));
    virtumancer.disconnect_host(&"h2".into()).await.unwrap();
    let error = virtumancer.wait_for_host(&"h2".into(), Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(virtumancer.host_info(&"h2".into()).await.unwrap(), None);
    let error = virtumancer.host_stats(&"h2".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    virtumancer.connect_host(&"h2".into()).await.unwrap();
    let error = virtumancer.connect_host(&"ghost".into()).await.unwrap_err();
    assert!(error.is_not_found() && error.target() == Some("host `ghost`"), "{error}");
    virtumancer.remove_host(&"h2".into()).await.unwrap();
    virtumancer.remove_host(&"h2".into()).await.unwrap();
    assert!(virtumancer.get_host(&"h2".into()).await.unwrap_err().is_not_found());
    let early = self::fake(Generation::Early).start().await.unwrap();
    let early = connect(&early).await;
    early.add_host(&AddHost::new("h2", "qemu:///system")).await.unwrap();
    early.wait_for_host(&"h2".into(), Duration::from_secs(5)).await.unwrap();
    let error = early.add_host(&AddHost::new("bad", "foo://x/system")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.fields().contains_key("uri"), "{error}");
}

#[tokio::test]
async fn pages_are_cut_here_and_add_up() {
    let fake = fake(Generation::Current).with_vm(FakeVm::new("other", "a")).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let first = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first().limit(2)).await.unwrap();
    assert_eq!((first.items.len(), first.total), (2, Some(3)));
    let request = PageRequest::first().limit(2).cursor(first.next.unwrap());
    let second = virtumancer.list_vms(&VmQuery::all(), &request).await.unwrap();
    assert_eq!((second.items.len(), second.next), (1, None));
}

#[tokio::test]
async fn a_current_server_whose_hosts_say_nothing_of_their_connection_is_asked_for_it() {
    let (_server, virtumancer) = server(Generation::Current, |line| match line {
        "GET /api/v1/hosts" => Some(json(r#"[{"id":"h","uri":"qemu:///system"}]"#)),
        "GET /api/v1/hosts/h/info" => Some(json(r#"{"connected":false,"info":null}"#)),
        "GET /api/v1/hosts/h/vms" => {
            Some(json(r#"[{"name":"a","state":"ACTIVE","libvirtState":"UNKNOWN"}]"#))
        }
        _ => None,
    })
    .await;
    let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!((page.unreachable.len(), page.items[0].state.clone()), (1, VmState::Unreachable));
}

#[tokio::test]
async fn what_a_guest_does_is_read_as_it_is_and_not_as_the_books_have_it() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let vm = VmId::from("kvmsrv/web-01");
    // It has shut down, or somebody else has stopped it: the server would see it half a minute later.
    fake.set_state_quietly("kvmsrv", "web-01", 5);
    assert_eq!(virtumancer.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    fake.set_state_quietly("kvmsrv", "web-01", 1);
    assert_eq!(virtumancer.get_vm(&vm).await.unwrap().state, VmState::Running);
    fake.set_state_quietly("kvmsrv", "web-01", 3);
    let error = virtumancer.power_vm(&vm, &PowerAction::Shutdown(Shutdown::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "a paused guest hears nobody: {error}");
    // A host that is parted from is still in the books.
    fake.set_connected("kvmsrv", false);
    assert_eq!(virtumancer.get_vm(&vm).await.unwrap().state, VmState::Unreachable);
    // With the next connection the server does not look by itself.
    fake.set_connected("kvmsrv", true);
    let listed = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items;
    let states: Vec<_> = listed.iter().map(|vm| (vm.name.as_str(), vm.state.clone())).collect();
    assert_eq!(states, [("db-01", VmState::Stopped), ("web-01", VmState::Paused)]);
    fake.forget_requests();
    virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!(fake.requests().len(), 2, "what is seen is not looked at: {:?}", fake.requests());
}

#[tokio::test]
async fn everything_is_imported_though_the_server_has_not_looked_yet() {
    let added = FakeHost::new("new").found_after(2);
    let fake = fake(Generation::Current).with_host(added).start().await.unwrap();
    fake.add_vms("new", ["a", "b"].map(|name| FakeVm::new("new", name).unmanaged().running()));
    let virtumancer = connect(&fake).await;
    virtumancer.import_all(&"new".into()).await.unwrap();
    let listed = async || {
        let query = VmQuery::all().host("new");
        let page = virtumancer.list_vms(&query, &PageRequest::first()).await.unwrap();
        page.items.into_iter().map(|vm| vm.name).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ["a", "b"]);
    // The server would make a second guest of one that it manages already.
    assert_eq!(virtumancer.import_vm(&"new".into(), "a").await.unwrap(), VmId::from("new/a"));
    assert_eq!(listed().await, ["a", "b"]);
    // It says nothing of a host that it cannot reach, nor of one that it does not know.
    fake.set_connected("new", false);
    for (host, kind) in [("new", ErrorKind::HostUnreachable), ("ghost", ErrorKind::NotFound)] {
        for error in [
            virtumancer.import_all(&host.into()).await.unwrap_err(),
            virtumancer.import_selected(&host.into(), &["40679dba".to_owned()]).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.target()), (kind, Some(&*format!("host `{host}`"))), "{error}");
        }
    }
}

#[tokio::test]
async fn a_connection_to_libvirt_that_broke_is_no_guest_that_is_gone() {
    let (_server, virtumancer) = server(Generation::Current, |line| match line {
        "GET /api/v1/hosts" => Some(json(r#"[{"id":"h","uri":"qemu:///system","connected":true}]"#)),
        "GET /api/v1/hosts/h/vms" => {
            Some(json(r#"[{"name":"a","state":"ACTIVE","libvirtState":"UNKNOWN"}]"#))
        }
        _ if line.ends_with("/start") || line.ends_with("/hardware") => Some(answer(
            404,
            "application/json",
            r#"{"code":"HOST_NOT_FOUND","message":"Host not found","details":{"error":"could not find VM 'a' on host 'h': write unix @->/run/libvirt/libvirt-sock: write: broken pipe","operation":"x"}}"#,
        )),
        _ => None,
    })
    .await;
    let error = virtumancer.power_vm(&"h/a".into(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::HostUnreachable, Some("host `h`")), "{error}");
    assert_eq!((error.retry(), error.effect()), (Retry::Safe, Effect::None), "{error}");
    let vm = virtumancer.get_vm(&"h/a".into()).await.unwrap();
    assert!(matches!(vm.state, VmState::Unknown(_)), "{vm:?}");
}
