//! One test for each of the 34 endpoints that HyperSDK's document describes, named after it: what is sent, and what is made of the document's
//! own answer and of the one that the daemon gives.
#![cfg(feature = "fake")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod hypersdk;

use hypersdk::{call, done, envelope};
use hypervisor_client::dialect::hypersdk::HyperSdk;
use hypervisor_client::dialect::hypersdk::wire::{
    BatchResult, BatchSnapshot, CloneDomain, CloneMultiple, DeployTemplate, NewNetwork, NewTemplate,
    NewVolume,
};
use hypervisor_core::model::{ByteSize, DhcpRange, WipeAlgorithm};
use hypervisor_core::traits::{Metrics as _, Network as _, Storage as _};
use serde_json::{Value, json};

mod network_management {
    use super::*;

    #[tokio::test]
    async fn list_networks() {
        let documented =
            envelope(json!({"networks": [{"name": "default", "active": true, "bridge": "virbr0"}]}));
        let bare = envelope(json!([{"name": "default", "active": true}]));
        let served = (
            200,
            json!({"networks":[{"name":"default","uuid":"","active":true,"persistent":false,"autostart":false,"bridge":""}],"total":1}),
        );
        for answer in [documented, bare, served] {
            let all = call("GET /libvirt/networks", Value::Null, answer, async |hv: &HyperSdk| {
                hv.api().networks().await
            })
            .await;
            assert_eq!((all.len(), all[0].name.as_str(), all[0].active), (1, "default", true));
        }
    }

    #[tokio::test]
    async fn get_network_details() {
        let network = json!({"name":"default","uuid":"0c40ff7c-9995-4526-9bc4-818b3c461b72","active":true,"persistent":true,"autostart":true,"bridge":"virbr0"});
        for answer in [envelope(network.clone()), (200, network)] {
            let found =
                call("GET /libvirt/network?name=default", Value::Null, answer, async |hv: &HyperSdk| {
                    hv.get_network(&"default".into()).await
                });
            let found = found.await;
            assert_eq!(
                (found.bridge.as_deref(), found.active, found.autostart),
                (Some("virbr0"), true, true)
            );
            assert_eq!(found.extra.get("hypersdk")["uuid"], "0c40ff7c-9995-4526-9bc4-818b3c461b72");
        }
    }

    #[tokio::test]
    async fn create_network() {
        let body = json!({
            "name": "vm-network", "bridge": "virbr1", "forward": "nat", "subnet": "192.168.100.1",
            "ip_start": "192.168.100.10", "ip_end": "192.168.100.100"
        });
        let served =
            (201, json!({"message":"Network vm-network created","name":"vm-network","status":"success"}));
        for answer in [envelope(json!({})), served] {
            call("POST /libvirt/network/create", body.clone(), answer, async |hv: &HyperSdk| {
                let range =
                    DhcpRange::new("192.168.100.10".parse().unwrap(), "192.168.100.100".parse().unwrap());
                hv.api()
                    .create_network(&NewNetwork::nat("vm-network", "192.168.100.1", range).bridge("virbr1"))
                    .await
            })
            .await;
        }
    }

    #[tokio::test]
    async fn delete_network() {
        for answer in [envelope(Value::Null), done()] {
            call(
                "POST /libvirt/network/delete",
                json!({"name": "vm-network"}),
                answer,
                async |hv: &HyperSdk| hv.api().delete_network("vm-network").await,
            )
            .await;
        }
    }

    #[tokio::test]
    async fn start_network() {
        for answer in [envelope(Value::Null), done()] {
            let started = call(
                "POST /libvirt/network/start",
                json!({"name": "vm-network"}),
                answer,
                async |hv: &HyperSdk| hv.start_network(&"vm-network".into()).await,
            );
            assert_eq!(started.await.task, None);
        }
    }

    #[tokio::test]
    async fn stop_network() {
        for answer in [envelope(Value::Null), done()] {
            let stopped = call(
                "POST /libvirt/network/stop",
                json!({"name": "vm-network"}),
                answer,
                async |hv: &HyperSdk| hv.stop_network(&"vm-network".into()).await,
            );
            assert_eq!(stopped.await.task, None);
        }
    }

    #[tokio::test]
    async fn attach_network_interface() {
        let body = json!({"vm_name": "my-vm", "network": "vm-network", "model": "virtio"});
        for answer in [envelope(json!({})), done()] {
            call("POST /libvirt/interface/attach", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().attach_interface("my-vm", "vm-network", "").await
            })
            .await;
        }
    }

    #[tokio::test]
    async fn detach_network_interface() {
        let body = json!({"vm_name": "my-vm", "mac": "52:54:00:12:34:56"});
        for answer in [envelope(json!({})), done()] {
            call("POST /libvirt/interface/detach", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().detach_interface("my-vm", "52:54:00:12:34:56".parse().unwrap()).await
            })
            .await;
        }
    }
}

mod volume_operations {
    use super::*;

    #[tokio::test]
    async fn get_volume_info() {
        let volume = json!({"name":"data-disk","pool":"default","path":"/var/lib/libvirt/images/data-disk","type":"file","capacity":2_147_483_648_u64,"allocation":200_704,"format":"qcow2"});
        for answer in [envelope(volume.clone()), (200, volume)] {
            let target = "GET /libvirt/volume/info?pool=default&volume=data-disk";
            let found = call(target, Value::Null, answer, async |hv: &HyperSdk| {
                hv.get_volume(&"default/data-disk".into()).await
            });
            let found = found.await;
            assert_eq!(found.capacity, ByteSize::gib(2), "bytes come back");
            assert_eq!(found.allocation, Some(ByteSize::bytes(200_704)));
            assert_eq!((found.id.as_str(), found.pool.as_str()), ("default/data-disk", "default"));
        }
    }

    #[tokio::test]
    async fn create_volume() {
        let body = json!({"pool": "default", "name": "data-disk", "format": "qcow2", "capacity": 50, "prealloc": false});
        let served = (
            201,
            json!({"capacity":50,"format":"qcow2","message":"Volume data-disk created","name":"data-disk","path":"/var/lib/libvirt/images/data-disk","pool":"default","status":"success"}),
        );
        for answer in [envelope(json!({"path": "/var/lib/libvirt/images/data-disk"})), served] {
            let made = call("POST /libvirt/volume/create", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().create_volume(&NewVolume::new("default", "data-disk", 50)).await
            });
            assert_eq!(made.await.path, "/var/lib/libvirt/images/data-disk");
        }
    }

    #[tokio::test]
    async fn clone_volume() {
        let body = json!({
            "pool": "default", "source_volume": "vm-disk", "target_volume": "vm-disk-backup", "target_pool": "default"
        });
        let served = (
            201,
            json!({"message":"Volume vm-disk cloned to vm-disk-backup","path":"/p/vm-disk-backup","source_volume":"vm-disk","status":"success","target_pool":"default","target_volume":"vm-disk-backup"}),
        );
        for answer in [envelope(json!({"path": "/p/vm-disk-backup"})), served] {
            let made = call("POST /libvirt/volume/clone", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().clone_volume("default", "vm-disk", "vm-disk-backup").await
            });
            assert_eq!(made.await.path, "/p/vm-disk-backup");
        }
    }

    #[tokio::test]
    async fn resize_volume() {
        let body = json!({"pool": "default", "volume": "data-disk", "capacity": 100, "shrink": false});
        let served = (
            200,
            json!({"message":"Volume data-disk resized to 100GB","new_capacity":100,"pool":"default","status":"success","volume":"data-disk"}),
        );
        for answer in [envelope(json!({})), served] {
            call("POST /libvirt/volume/resize", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().resize_volume("default", "data-disk", 100, false).await
            })
            .await;
        }
    }

    #[tokio::test]
    async fn delete_volume() {
        let body = json!({"pool": "default", "volume": "old-disk"});
        for answer in [envelope(Value::Null), done()] {
            call("POST /libvirt/volume/delete", body.clone(), answer, async |hv: &HyperSdk| {
                hv.delete_volume(&"default/old-disk".into()).await.map(drop)
            })
            .await;
        }
    }

    #[tokio::test]
    async fn upload_volume() {
        let body = json!({"pool": "default", "volume": "imported-vm", "source_path": "/data/vm-disk.vmdk", "format": "qcow2"});
        let data = json!({"capacity_gb":1,"format":"qcow2","path":"/p/imported-vm","pool":"default","source":"/data/vm-disk.vmdk","status":"success","volume":"imported-vm"});
        for answer in [envelope(data.clone()), (201, data)] {
            let made = call("POST /libvirt/volume/upload", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().upload_volume("default", "imported-vm", "/data/vm-disk.vmdk", "qcow2").await
            });
            let made = made.await;
            assert_eq!((made.capacity_gb, made.source.as_str()), (1, "/data/vm-disk.vmdk"));
        }
    }

    #[tokio::test]
    async fn wipe_volume() {
        for algorithm in WipeAlgorithm::ALL {
            let body = json!({"pool": "default", "volume": "old-disk", "algorithm": algorithm.as_str()});
            call("POST /libvirt/volume/wipe", body, done(), async |hv: &HyperSdk| {
                hv.wipe_volume(&"default/old-disk".into(), *algorithm).await.map(drop)
            })
            .await;
        }
    }
}

mod resource_monitoring {
    use super::*;

    fn stats() -> Value {
        json!({
            "name":"web-01","state":"running",
            "cpu":{"vcpus":2,"cpu_time_ns":123_456_789_012_u64,"user_time_ns":2_500_000_000_u64,"system_time_ns":7_250_000_000_u64,"usage_percent":25},
            "memory":{"total_kb":2_040_000,"used_kb":340_000,"available_kb":1_700_000,"usage_percent":16.666_666,"swap_in_kb":0,"swap_out_kb":0},
            "disks":[{"device":"vda","read_bytes":1536,"read_requests":3,"write_bytes":512,"write_requests":1,"errors":0}],
            "networks":[{"interface":"vnet0","rx_bytes":10,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":20,"tx_packets":2,"tx_errors":0,"tx_dropped":0}],
            "timestamp":"2026-11-20T17:49:41.377474755Z"
        })
    }

    #[tokio::test]
    async fn get_all_vm_stats() {
        for answer in [envelope(stats()), (200, stats())] {
            let found = call("GET /libvirt/stats?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
                hv.get_vm_metrics(&"web-01".into()).await
            });
            let found = found.await;
            assert_eq!(found.memory_total, Some(ByteSize::kib(2_040_000)));
            assert_eq!(found.cpu_time.unwrap().as_nanos(), 123_456_789_012);
            assert_eq!(found.cpu_usage, Some(0.25));
            assert_eq!(found.disks[&"vda".into()].read.as_bytes(), 1536);
            assert_eq!(found.nics[&"vnet0".into()].sent_packets, 2);
        }
    }

    #[tokio::test]
    async fn get_all_running_vms_stats() {
        let served = (200, json!({"domains": [stats()], "timestamp": "2026-11-20T17:49:41Z", "total": 1}));
        let nothing = (200, json!({"domains": null, "timestamp": "2026-11-20T17:49:41Z", "total": 0}));
        for (answer, count) in [(envelope(json!([stats()])), 1), (served, 1), (nothing, 0)] {
            let all = call("GET /libvirt/stats/all", Value::Null, answer, async |hv: &HyperSdk| {
                hv.api().all_stats().await
            });
            assert_eq!(all.await.len(), count);
        }
    }

    #[tokio::test]
    async fn get_cpu_stats() {
        let documented = envelope(json!({"name": "web-01", "cpu": stats()["cpu"]}));
        let served = (
            200,
            json!({"cpu_stats": stats()["cpu"], "name": "web-01", "timestamp": "2026-11-20T18:08:09.695860644Z"}),
        );
        for answer in [documented, served] {
            let found =
                call("GET /libvirt/stats/cpu?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
                    hv.api().cpu_stats("web-01").await
                });
            let found = found.await;
            assert_eq!((found.user_time_ns, found.system_time_ns), (2_500_000_000, 7_250_000_000));
        }
    }

    #[tokio::test]
    async fn get_memory_stats() {
        let part = json!({"memory": stats()["memory"], "name": "web-01"});
        for answer in [envelope(part.clone()), (200, part)] {
            let found =
                call("GET /libvirt/stats/memory?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
                    hv.api().memory_stats("web-01").await
                });
            let found = found.await;
            assert_eq!((found.total_kb, found.used_kb, found.available_kb), (2_040_000, 340_000, 1_700_000));
        }
    }

    #[tokio::test]
    async fn get_disk_io_stats() {
        let part = json!({"disks": stats()["disks"], "name": "web-01"});
        for answer in [envelope(part.clone()), (200, part)] {
            let found =
                call("GET /libvirt/stats/disk?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
                    hv.api().disk_stats("web-01").await
                });
            assert_eq!(found.await[0].read_bytes, 1536);
        }
    }

    #[tokio::test]
    async fn get_network_io_stats() {
        let part = json!({"networks": stats()["networks"], "name": "web-01"});
        for answer in [envelope(part.clone()), (200, part)] {
            let found =
                call("GET /libvirt/stats/network?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
                    hv.api().network_stats("web-01").await
                });
            assert_eq!(found.await[0].tx_bytes, 20);
        }
    }
}

mod batch_operations {
    use super::*;

    /// The document's own example.
    fn example() -> Value {
        json!({
            "operation": "start", "total": 4, "successful": 3, "failed": 1,
            "results": [
                {"domain": "vm1", "success": true}, {"domain": "vm2", "success": true}, {"domain": "vm3", "success": true},
                {"domain": "vm4", "success": false, "error": "domain not found"}
            ],
            "start_time": "2026-01-19T12:00:00Z", "end_time": "2026-01-19T12:00:15Z", "duration": "15s"
        })
    }

    fn check(result: &BatchResult) {
        assert_eq!((result.total, result.successful, result.failed), (4, 3, 1));
        assert_eq!(result.results[3].error, "domain not found");
        assert_eq!(result.took().unwrap().as_secs(), 15);
        assert!(result.start_time < result.end_time);
    }

    async fn batch(
        path: &str,
        body: Value,
        run: impl AsyncFn(&HyperSdk) -> hypervisor_core::Result<BatchResult>,
    ) {
        for answer in [(200, example()), envelope(example())] {
            check(&call(&format!("POST /libvirt/batch/{path}"), body.clone(), answer, &run).await);
        }
    }

    #[tokio::test]
    async fn batch_start_vms() {
        let body = json!({"domains": ["vm1", "vm2", "vm3"], "paused": false});
        batch("start", body, async |hv: &HyperSdk| hv.api().batch_start(&["vm1", "vm2", "vm3"], false).await)
            .await;
    }

    #[tokio::test]
    async fn batch_stop_vms() {
        for force in [false, true] {
            let body = json!({"domains": ["vm1", "vm2", "vm3"], "force": force});
            batch("stop", body, async |hv: &HyperSdk| {
                hv.api().batch_stop(&["vm1", "vm2", "vm3"], force).await
            })
            .await;
        }
    }

    #[tokio::test]
    async fn batch_reboot_vms() {
        for force in [false, true] {
            let body = json!({"domains": ["vm1", "vm2"], "force": force});
            batch("reboot", body, async |hv: &HyperSdk| hv.api().batch_reboot(&["vm1", "vm2"], force).await)
                .await;
        }
    }

    #[tokio::test]
    async fn batch_snapshot_vms() {
        let body = json!({
            "domains": ["vm1", "vm2"], "name_prefix": "backup", "description": "Pre-upgrade backup", "atomic": true,
            "disk_only": false
        });
        batch("snapshot", body, async |hv: &HyperSdk| {
            let spec =
                BatchSnapshot::new(["vm1", "vm2"], "backup").description("Pre-upgrade backup").atomic(true);
            hv.api().batch_snapshot(&spec).await
        })
        .await;
    }

    #[tokio::test]
    async fn batch_delete_vms() {
        let body =
            json!({"domains": ["old-vm1", "old-vm2"], "remove_storage": true, "snapshots_only": false});
        batch("delete", body, async |hv: &HyperSdk| {
            hv.api().batch_delete(&["old-vm1", "old-vm2"], true, false).await
        })
        .await;
    }

    #[tokio::test]
    async fn batch_pause_vms() {
        let body = json!({"domains": ["vm1", "vm2"]});
        batch("pause", body, async |hv: &HyperSdk| hv.api().batch_pause(&["vm1", "vm2"]).await).await;
    }

    #[tokio::test]
    async fn batch_resume_vms() {
        let body = json!({"domains": ["vm1", "vm2"]});
        batch("resume", body, async |hv: &HyperSdk| hv.api().batch_resume(&["vm1", "vm2"]).await).await;
    }
}

mod cloning_and_templates {
    use super::*;

    #[tokio::test]
    async fn clone_vm() {
        // The document's example asks to preserve, which the daemon cannot do; we never do unless told to.
        let body = json!({
            "source": "base-vm", "target": "cloned-vm", "files": [], "new_mac": true, "auto_clone": true, "preserve": false
        });
        let served = (
            201,
            json!({"message":"Domain base-vm cloned to cloned-vm","output":"\rAllocating\n","source":"base-vm","status":"success","target":"cloned-vm"}),
        );
        for answer in [envelope(json!({})), served] {
            call("POST /libvirt/clone", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().clone_domain(&CloneDomain::new("base-vm", "cloned-vm")).await
            })
            .await;
        }
        let mut preserving = body;
        preserving["preserve"] = true.into();
        call("POST /libvirt/clone", preserving, done(), async |hv: &HyperSdk| {
            hv.api().clone_domain(&CloneDomain::new("base-vm", "cloned-vm").preserve(true)).await
        })
        .await;
    }

    #[tokio::test]
    async fn clone_multiple_vms() {
        let body = json!({"source": "web-template", "name_prefix": "vm-web", "count": 5, "start_index": 1});
        let data = json!({
            "failed": 1, "results": [{"name": "vm-web-1", "success": true}, {"name": "vm-web-2", "success": false, "error": "no"}],
            "source": "web-template", "status": "completed", "successful": 1, "total": 2
        });
        for answer in [envelope(data.clone()), (200, data)] {
            let result = call("POST /libvirt/clone/multiple", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().clone_domain_multiple(&CloneMultiple::new("web-template", "vm-web", 5)).await
            });
            let result = result.await;
            assert_eq!((result.successful, result.failed), (1, 1));
            assert_eq!(
                (result.results[1].name.as_str(), result.results[1].error.as_str()),
                ("vm-web-2", "no")
            );
        }
    }

    #[tokio::test]
    async fn create_template_from_vm() {
        let body = json!({
            "domain": "base-ubuntu", "name": "ubuntu-22-template", "description": "Ubuntu 22.04 base template", "metadata": {},
            "seal": true
        });
        let data = json!({"description":"Base","sealed":true,"source":"base-ubuntu","status":"success","template":"ubuntu-22-template"});
        for answer in [envelope(data.clone()), (201, data)] {
            let made = call("POST /libvirt/template/create", body.clone(), answer, async |hv: &HyperSdk| {
                let template = NewTemplate::new("base-ubuntu", "ubuntu-22-template");
                hv.api().create_template(&template.description("Ubuntu 22.04 base template").seal(true)).await
            });
            let made = made.await;
            assert_eq!((made.template.as_str(), made.sealed), ("ubuntu-22-template", true));
        }
    }

    #[tokio::test]
    async fn deploy_vm_from_template() {
        let body = json!({
            "template": "ubuntu-22-template", "name": "new-webserver", "memory": 4096, "vcpus": 2, "network": "vm-network",
            "autostart": true, "customize": {}
        });
        let data = json!({"vm":"new-webserver","template":"ubuntu-22-template","started":true,"memory_mb":4096,"vcpus":2,"status":"success"});
        for answer in [envelope(data.clone()), (201, data)] {
            let made = call("POST /libvirt/template/deploy", body.clone(), answer, async |hv: &HyperSdk| {
                let deploy =
                    DeployTemplate::new("ubuntu-22-template", "new-webserver").memory(4096_u64).vcpus(2_u32);
                hv.api().deploy_template(&deploy.network("vm-network").autostart(true)).await
            });
            let made = made.await;
            assert_eq!(
                (made.vm.as_str(), made.memory_mb, made.vcpus, made.started),
                ("new-webserver", 4096, 2, true)
            );
        }
    }

    #[tokio::test]
    async fn list_templates() {
        let served = (200, json!({"templates": ["ubuntu-22-template"], "total": 1}));
        let nothing = (200, json!({"templates": null, "total": 0}));
        for (answer, expected) in [
            (envelope(json!(["ubuntu-22-template"])), 1),
            (served, 1),
            (nothing, 0),
            (envelope(Value::Null), 0),
        ] {
            let all = call("GET /libvirt/template/list", Value::Null, answer, async |hv: &HyperSdk| {
                hv.api().templates().await
            });
            assert_eq!(all.await.len(), expected);
        }
    }

    #[tokio::test]
    async fn export_template() {
        let body =
            json!({"template": "ubuntu-22-template", "export_path": "/backups/templates", "compress": true});
        let data = json!({"compressed":true,"disk_files":["/var/lib/libvirt/images/u.qcow2"],"export_path":"/backups/templates","status":"success","template":"ubuntu-22-template","xml_file":"/backups/templates/ubuntu-22-template.xml"});
        for answer in [envelope(data.clone()), (200, data)] {
            let made = call("POST /libvirt/template/export", body.clone(), answer, async |hv: &HyperSdk| {
                hv.api().export_template("ubuntu-22-template", "/backups/templates", true).await
            });
            let made = made.await;
            assert_eq!(made.xml_file, "/backups/templates/ubuntu-22-template.xml");
            assert_eq!(made.disk_files, ["/var/lib/libvirt/images/u.qcow2"]);
        }
    }
}
