//! One test for each endpoint of the document, named after it: the request that is sent and the typed result, of the document's own
//! example and of what the servers answer.

use hypervisor_client::dialect::virtumancer::{AddHost, Generation};
use hypervisor_core::model::{
    ByteSize, DiskBus, DiskDevice, HostState, NicModel, NicSource, PageRequest, PowerAction, Shutdown, VmId,
    VmQuery, VmState, VolumeFormat,
};
use hypervisor_core::{Compute, ErrorKind};

use crate::support::{answer, done, json, server};

const HOST: &str =
    r#"[{"id":"kvmsrv","uri":"qemu+ssh://user@host/system","created_at":"2023-10-27T10:00:00Z"}]"#;
const EARLY_HOST: &str = r#"[{"id":"kvmsrv","uri":"qemu:///system"}]"#;
const CURRENT_HOST: &str = r#"[{"id":"kvmsrv","created_at":"2026-11-20T17:53:54.181449873Z","updated_at":"2026-11-20T17:53:54.221193772Z","deleted_at":null,"uri":"qemu:///system","state":"CONNECTED","task_state":"","auto_reconnect_disabled":false,"connected":true}]"#;
const INFO: &str = r#"{"hostname":"kvm-host-01","cpu":8,"memory":16777216000,"cores":4,"threads":2}"#;
const CURRENT_INFO: &str = r#"{"connected":true,"info":{"hostname":"kvm-host-01","cpu":8,"memory":16777216000,"memory_used":8929557192,"uptime":0,"cores":4,"threads":2}}"#;

const ALL: [Generation; 3] = [Generation::Documented, Generation::Early, Generation::Current];

fn hosts(generation: Generation) -> &'static str {
    match generation {
        Generation::Documented => HOST,
        Generation::Early => EARLY_HOST,
        _ => CURRENT_HOST,
    }
}

fn info(generation: Generation) -> &'static str {
    if generation == Generation::Current { CURRENT_INFO } else { INFO }
}

#[tokio::test]
async fn get_api_hosts() {
    for generation in ALL {
        let base = generation.base();
        let (scripted, virtumancer) = server(generation, move |line| {
            (line == format!("GET {base}/hosts")).then(|| json(hosts(generation)))
        })
        .await;
        let found = virtumancer.hosts().await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "kvmsrv");
        let connected = (generation == Generation::Current).then_some(true);
        assert_eq!(found[0].is_connected(), connected);
        if generation == Generation::Documented {
            assert_eq!(found[0].uri, "qemu+ssh://user@host/system");
            assert_eq!(found[0].created_at.as_deref(), Some("2023-10-27T10:00:00Z"));
        }
        assert_eq!((scripted.only().line, scripted.came().len()), (format!("GET {base}/hosts"), 0));
    }
}

#[tokio::test]
async fn post_api_hosts() {
    for (generation, status, body) in [
        (
            Generation::Documented,
            200,
            r#"{"id":"new-kvm-host","uri":"qemu+ssh://user@new-host/system","created_at":"2023-10-27T10:00:00Z"}"#,
        ),
        (Generation::Early, 201, r#"{"id":"new-kvm-host","uri":"qemu+ssh://user@new-host/system"}"#),
        (
            Generation::Current,
            201,
            r#"{"id":"new-kvm-host","created_at":"2026-11-20T17:53:54.03Z","updated_at":"2026-11-20T17:53:54.03Z","deleted_at":null,"uri":"qemu+ssh://user@new-host/system","state":"DISCONNECTED","task_state":"","auto_reconnect_disabled":false}"#,
        ),
    ] {
        let line = format!("POST {}/hosts", generation.base());
        let wanted = line.clone();
        let (scripted, virtumancer) = server(generation, move |line| {
            (line == wanted).then(|| answer(status, "application/json", body))
        })
        .await;
        let host = AddHost::new("new-kvm-host", "qemu+ssh://user@new-host/system");
        let added = virtumancer.add_host(&host).await.unwrap();
        assert_eq!(
            (added.id.as_str(), added.uri.as_str()),
            ("new-kvm-host", "qemu+ssh://user@new-host/system")
        );
        let came = scripted.only();
        assert_eq!(came.line, line);
        let sent: serde_json::Value = serde_json::from_str(&came.body).unwrap();
        assert_eq!(sent, serde_json::json!({"id": "new-kvm-host", "uri": "qemu+ssh://user@new-host/system"}));
    }
}

#[tokio::test]
async fn post_api_hosts_that_cannot_be_connected_to() {
    let (_, virtumancer) = server(Generation::Early, |line| {
        (line == "POST /api/v1/hosts").then(|| {
            answer(500, "text/plain; charset=utf-8", "failed to connect to host: failed to dial libvirt for host 'bad2': dial tcp 127.0.0.1:1: connect: connection refused\n")
        })
    })
    .await;
    let error =
        virtumancer.add_host(&AddHost::new("bad2", "qemu+tcp://127.0.0.1:1/system")).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::HostUnreachable, hypervisor_core::Effect::None));
    assert!(
        error.message().contains("connection refused") && error.target() == Some("host `bad2`"),
        "{error}"
    );
    let error = virtumancer.add_host(&AddHost::new("..", "qemu:///system")).await.unwrap_err();
    assert!(error.fields().contains_key("id"), "{error}");
    let error = virtumancer.add_host(&AddHost::unnamed("qemu:///system")).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}

#[tokio::test]
async fn delete_api_hosts_id() {
    for generation in ALL {
        let line = format!("DELETE {}/hosts/kvm%2Fsrv", generation.base());
        let wanted = line.clone();
        let (scripted, virtumancer) = server(generation, move |line| (line == wanted).then(done)).await;
        virtumancer.remove_host(&"kvm/srv".into()).await.unwrap();
        let came = scripted.only();
        assert_eq!((came.line, came.body.as_str()), (line, ""));
    }
}

#[tokio::test]
async fn get_api_hosts_id_info() {
    for generation in ALL {
        let base = generation.base();
        let (scripted, virtumancer) = server(generation, move |line| {
            let path = line.strip_prefix("GET ")?.strip_prefix(base)?;
            match path {
                "/hosts" => Some(json(hosts(generation))),
                "/hosts/kvmsrv/info" => Some(json(info(generation))),
                _ => None,
            }
        })
        .await;
        let facts = virtumancer.host_info(&"kvmsrv".into()).await.unwrap().unwrap();
        assert_eq!(
            (facts.hostname.as_deref(), facts.cpu, facts.cores, facts.threads),
            (Some("kvm-host-01"), Some(8), Some(4), Some(2))
        );
        assert_eq!(scripted.only().line, format!("GET {base}/hosts/kvmsrv/info"));
        let host = virtumancer.get_host(&"kvmsrv".into()).await.unwrap();
        assert_eq!(
            (host.state, host.cpus, host.memory),
            (HostState::Online, Some(8), Some(ByteSize::bytes(16_777_216_000)))
        );
        let used = (generation == Generation::Current).then_some(ByteSize::bytes(8_929_557_192));
        assert_eq!((host.memory_used, host.uptime), (used, None));
        let error = virtumancer.get_host(&"ghost".into()).await.unwrap_err();
        assert!(error.is_not_found() && error.target() == Some("host `ghost`"), "{error}");
    }
}

#[tokio::test]
async fn get_api_hosts_id_vms() {
    let document = r#"[{"db_id":1,"name":"ubuntu-vm-01","description":"","vcpu_count":2,"memory_bytes":2147483648,"state":1,"graphics":{"vnc":true,"spice":false}}]"#;
    let early = r#"[{"db_id":1,"name":"ubuntu-vm-01","description":"","vcpu_count":2,"memory_bytes":2147483648,"is_template":false,"cpu_model":"","cpu_topology_json":"","state":1,"graphics":{"vnc":true,"spice":false},"max_mem":0,"memory":0,"cpu_time":0,"uptime":0}]"#;
    let current = r#"[{"name":"ubuntu-vm-01","uuid":"973f9383-530a-44b5-a14b-925854b6b2a0","domain_uuid":"40679dba-bbba-4b3b-93b4-9a06b7802b6e","description":"","vcpu_count":2,"memory_bytes":2147483648,"is_template":false,"cpu_model":"qemu64","cpu_topology_json":"","os_type":"hvm","task_state":"","sync_status":"SYNCED","drift_details":"","needs_rebuild":false,"createdAt":"2026-11-20T17:53:59.046108372Z","updatedAt":"2026-11-20T17:53:59.078365722Z","state":"STOPPED","libvirtState":"ACTIVE","graphics":{"vnc":false,"spice":false},"max_mem":0,"memory":0,"cpu_time":0,"uptime":0,"disk_size_gb":2,"network_interface":"default"}]"#;
    for (generation, vms) in ALL.into_iter().zip([document, early, current]) {
        let base = generation.base();
        let (scripted, virtumancer) = server(generation, move |line| {
            let path = line.strip_prefix("GET ")?.strip_prefix(base)?;
            match path {
                "/hosts" => Some(json(hosts(generation))),
                "/hosts/kvmsrv/info" => Some(json(info(generation))),
                "/hosts/kvmsrv/vms" => Some(json(vms)),
                _ => None,
            }
        })
        .await;
        let page = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
        assert!(page.unreachable.is_empty() && page.next.is_none());
        let [vm] = page.items.as_slice() else { panic!("{page:?}") };
        assert_eq!((vm.id.as_str(), vm.name.as_str()), ("kvmsrv/ubuntu-vm-01", "ubuntu-vm-01"));
        assert_eq!(
            (vm.state.clone(), vm.cpus, vm.memory),
            (VmState::Running, Some(2), Some(ByteSize::gib(2)))
        );
        assert_eq!(vm.host, Some("kvmsrv".into()));
        let uid = (generation == Generation::Current).then_some("40679dba-bbba-4b3b-93b4-9a06b7802b6e");
        assert_eq!(vm.uid.as_deref(), uid);
        let came = scripted.came();
        assert!(came.iter().any(|came| came.line == format!("GET {base}/hosts/kvmsrv/vms")), "{came:?}");
        let requests = if generation == Generation::Current { 2 } else { 3 };
        assert_eq!(came.len(), requests, "{came:?}");
        assert_eq!(virtumancer.get_vm(&vm.id).await.unwrap(), *vm);
    }
}

#[tokio::test]
async fn get_api_hosts_host_id_vms_vm_name_hardware() {
    let document = r#"{"disks":[{"type":"file","device":"disk","driver":{"driver_name":"qemu","type":"qcow2"},"path":"/path/to/disk.qcow2","target":{"dev":"vda","bus":"virtio"}}],"networks":[{"type":"bridge","mac":{"address":"52:54:00:11:22:33"},"source":{"bridge":"br0"},"model":{"model_type":"virtio"}}]}"#;
    let early = r#"{"disks":[{"type":"","device":"vda","driver":{"driver_name":"","type":"qcow2"},"Source":{"File":"","Dev":""},"path":"/path/to/disk.qcow2","target":{"dev":"vda","bus":"virtio"}}],"networks":[{"type":"","mac":{"address":"52:54:00:11:22:33"},"source":{"bridge":"br0"},"model":{"model_type":"virtio"},"target":{"dev":""}}]}"#;
    let current = r#"{"disks":[{"type":"","device":"disk","source":{"file":"/path/to/disk.qcow2","dev":""},"driver":{"driver_name":"","type":"qcow2"},"target":{"dev":"vda","bus":"virtio"},"capacity":{"value":20,"unit":"GiB"},"name":"disk","readonly":false,"shareable":false}],"networks":[{"mac":{"address":"52:54:00:11:22:33"},"source":{"bridge":"br0","network":"","portgroup":""},"model":{"type":"virtio"}}],"videos":[{}]}"#;
    for (generation, hardware) in ALL.into_iter().zip([document, early, current]) {
        let base = generation.base();
        let (scripted, virtumancer) = server(generation, move |line| {
            let path = line.strip_prefix("GET ")?.strip_prefix(base)?;
            match path {
                "/hosts" => Some(json(hosts(generation))),
                "/hosts/kvmsrv/info" => Some(json(info(generation))),
                "/hosts/kvmsrv/vms" => Some(json(
                    r#"[{"name":"ubuntu-vm-01","vcpu_count":2,"memory_bytes":2147483648,"state":1}]"#,
                )),
                "/hosts/kvmsrv/vms/ubuntu-vm-01/hardware" => Some(json(hardware)),
                _ => None,
            }
        })
        .await;
        let vm = VmId::from("kvmsrv/ubuntu-vm-01");
        let raw = virtumancer.hardware(&vm).await.unwrap();
        assert_eq!(scripted.only().line, format!("GET {base}/hosts/kvmsrv/vms/ubuntu-vm-01/hardware"));
        assert_eq!((raw.disks.len(), raw.networks.len()), (1, 1));
        let config = virtumancer.get_vm_config(&vm).await.unwrap();
        let disk = &config.disks[0];
        assert_eq!(
            (disk.id.as_str(), disk.device, disk.bus.clone()),
            ("vda", DiskDevice::Disk, DiskBus::Virtio)
        );
        assert_eq!(
            (disk.path.as_deref(), disk.format.clone()),
            (Some("/path/to/disk.qcow2"), Some(VolumeFormat::Qcow2))
        );
        let nic = &config.nics[0];
        assert_eq!((nic.id.as_str(), nic.model.clone()), ("52:54:00:11:22:33", NicModel::Virtio));
        assert_eq!(nic.source, NicSource::Bridge("br0".into()));
        assert_eq!((config.spec.cpus, config.spec.memory, config.spec.disks.len()), (2, ByteSize::gib(2), 1));
        assert!(config.spec.validate().is_ok());
    }
}

#[tokio::test]
async fn post_api_hosts_host_id_vms_vm_name_action() {
    for (verb, action, route) in [
        (PowerAction::Start, "start", "start"),
        (PowerAction::Shutdown(Shutdown::new()), "shutdown", "shutdown"),
        (PowerAction::Reboot, "reboot", "reboot"),
        (PowerAction::PowerOff, "destroy", "forceoff"),
        (PowerAction::Reset, "reset", "forcereset"),
    ] {
        for generation in ALL {
            let base = generation.base();
            let (scripted, virtumancer) = server(generation, move |line| {
                if line.starts_with("POST ") {
                    return Some(done());
                }
                let path = line.strip_prefix("GET ")?.strip_prefix(base)?;
                match path {
                    "/hosts/kvm%20srv/info" => Some(json(info(generation))),
                    "/hosts/kvm%20srv/vms" => Some(json(r#"[{"name":"web/01","state":1}]"#)),
                    _ => None,
                }
            })
            .await;
            let started = virtumancer.power_vm(&"kvm%20srv/web%2F01".into(), &verb).await.unwrap();
            assert_eq!(started.task, None);
            let mut posts = scripted.came();
            posts.retain(|came| came.line.starts_with("POST "));
            assert_eq!(posts.len(), 1, "{posts:?}");
            let vm = format!("POST {base}/hosts/kvm%20srv/vms/web%2F01");
            if generation == Generation::Documented {
                assert_eq!(posts[0].line, format!("{vm}/action"));
                let sent: serde_json::Value = serde_json::from_str(&posts[0].body).unwrap();
                assert_eq!(sent, serde_json::json!({ "action": action }));
            } else {
                assert_eq!((posts[0].line.clone(), posts[0].body.as_str()), (format!("{vm}/{route}"), ""));
            }
        }
    }
}
