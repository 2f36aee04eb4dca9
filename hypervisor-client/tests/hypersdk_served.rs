//! What the daemon serves beside its document's endpoints, with the answers that were recorded: Core, Jobs, VMs, Libvirt, Console, Workflow,
//! schedules, sessions, ISO images and backups.
#![cfg(feature = "fake")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::future_not_send,
    reason = "tests fail by panicking"
)]

mod hypersdk;

use std::time::Duration;

use hypersdk::{call, done, healthy, sent};
use hypervisor_client::dialect::hypersdk::HyperSdk;
use hypervisor_client::dialect::hypersdk::wire::{
    DomainAction, FeedFrame, JobDefinition, JobQuery, JobStatus, NewBackup, NewSchedule, VCenter,
};
use hypervisor_client::fake::Fake;
use hypervisor_core::model::{ByteSize, TaskState, VmState};
use hypervisor_core::traits::{Backups as _, Compute as _, Snapshots as _, Storage as _, Tasks as _};
use hypervisor_core::{ErrorKind, Hypervisor as _};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

fn ok(body: Value) -> (u16, Value) {
    (200, body)
}

#[tokio::test]
async fn health_status_and_capabilities() {
    let server = healthy().await;
    let hypersdk = hypersdk::connect(&server).await;
    assert_eq!(hypersdk.info().version.as_deref(), Some("0.0.1"));
    assert_eq!(hypersdk.api().health().await.unwrap().status, "healthy");
    let answer = ok(
        json!({"capabilities":{"web":{"method":"web","available":true,"version":"built-in","path":"internal","priority":4,"last_checked":"2026-11-20T17:48:06.988729272Z"}},"default_method":"web","timestamp":"2026-11-20T17:49:27.056225104Z"}),
    );
    let methods =
        call("GET /capabilities", Value::Null, answer, async |hv: &HyperSdk| hv.api().capabilities().await)
            .await;
    assert!(methods.capabilities["web"].available && methods.default_method == "web");
}

#[tokio::test]
async fn domains() {
    let answer = ok(
        json!({"domains":[{"id":"1","name":"web-01","uuid":"","state":"running","cpus":0,"memory":0,"autostart":false,"persistent":false},{"id":"-","name":"my","uuid":"","state":"web vm shut off","cpus":0,"memory":0,"autostart":false,"persistent":false}],"total":2}),
    );
    let all =
        call("GET /libvirt/domains", Value::Null, answer, async |hv: &HyperSdk| hv.api().domains().await)
            .await;
    let found: Vec<_> = all.iter().map(|domain| (domain.name.as_str(), domain.state.as_str())).collect();
    assert_eq!(found, [("web-01", "running"), ("my web vm", "shut off")]);
}

#[tokio::test]
async fn domain() {
    let answer = ok(
        json!({"id":"","name":"my web vm","uuid":"0cc8cbf3-2951-44e4-be1a-c8324218169c","state":"shut off","cpus":2,"memory":256,"autostart":false,"persistent":true}),
    );
    let found = call("GET /libvirt/domain?name=my+web+vm", Value::Null, answer, async |hv: &HyperSdk| {
        hv.get_vm(&"my web vm".into()).await
    });
    let found = found.await;
    assert_eq!(found.uid.as_deref(), Some("0cc8cbf3-2951-44e4-be1a-c8324218169c"));
    assert_eq!(
        (found.state, found.cpus, found.memory),
        (VmState::Stopped, Some(2), Some(ByteSize::mib(256)))
    );
}

#[tokio::test]
async fn domain_actions() {
    for (action, verb) in [
        (DomainAction::Start, "start"),
        (DomainAction::Shutdown, "shutdown"),
        (DomainAction::Destroy, "destroy"),
        (DomainAction::Reboot, "reboot"),
        (DomainAction::Pause, "pause"),
        (DomainAction::Resume, "resume"),
    ] {
        let target = format!("POST /libvirt/domain/{verb}");
        call(&target, json!({"name": "db-01"}), done(), async |hv: &HyperSdk| {
            hv.api().act("db-01", action).await
        })
        .await;
    }
}

#[tokio::test]
async fn snapshots() {
    let row = |name: &str| json!({"name": name, "description": "", "creation_time": "", "state": "", "current": false});
    let answer = ok(json!({"domain": "db-01", "snapshots": [row("s1"), row("|"), row("+- s2")], "total": 3}));
    let tree = call("GET /libvirt/snapshots?name=db-01", Value::Null, answer, async |hv: &HyperSdk| {
        hv.list_snapshots(&"db-01".into()).await
    });
    let tree = tree.await;
    let names: Vec<_> = tree.iter().map(|snapshot| snapshot.id.as_str()).collect();
    assert_eq!(names, ["s1", "s2"]);
    assert_eq!(tree.get(&"s2".into()).unwrap().parent, Some("s1".into()));
}

#[tokio::test]
async fn snapshot_create_revert_and_delete() {
    let made = (201, json!({"message":"Snapshot s1 created for domain db-01","status":"success"}));
    let body = json!({"domain_name": "db-01", "snapshot_name": "s1", "description": "first"});
    call("POST /libvirt/snapshot/create", body, made, async |hv: &HyperSdk| {
        hv.api().create_snapshot("db-01", "s1", "first").await
    })
    .await;
    let body = json!({"domain_name": "db-01", "snapshot_name": "s1"});
    call("POST /libvirt/snapshot/revert", body.clone(), done(), async |hv: &HyperSdk| {
        hv.api().revert_snapshot("db-01", "s1").await
    })
    .await;
    call("POST /libvirt/snapshot/delete", body, done(), async |hv: &HyperSdk| {
        hv.api().delete_snapshot("db-01", "s1").await
    })
    .await;
}

#[tokio::test]
async fn pools_and_volumes() {
    let answer = ok(
        json!({"pools":[{"name":"default","uuid":"","state":"active","capacity":0,"available":0,"path":""}],"total":1}),
    );
    let pool = call("GET /libvirt/pools", Value::Null, answer, async |hv: &HyperSdk| {
        hv.get_pool(&"default".into()).await
    })
    .await;
    assert!(pool.active && pool.capacity.is_none(), "a zero that the daemon does not fill is no capacity");
    let answer = ok(
        json!({"pool":"default","total":1,"volumes":[{"name":"db-01.qcow2","path":"/i/db-01.qcow2","type":"","capacity":0,"format":""}]}),
    );
    let volumes = call("GET /libvirt/volumes?pool=default", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().volumes(Some("default")).await
    });
    assert_eq!(volumes.await[0].path, "/i/db-01.qcow2");
}

#[tokio::test]
async fn consoles() {
    let answer =
        ok(json!({"domain":"web-01","vnc_display":"127.0.0.1:0","vnc_url":"vnc://localhost127.0.0.1:0"}));
    let vnc = call("GET /libvirt/console?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().vnc_console("web-01").await
    });
    assert_eq!(vnc.await.vnc_display, "127.0.0.1:0");
    let answer = ok(
        json!({"vm_name":"ghost","vnc_display":"","vnc_port":0,"vnc_url":"","webvnc_url":"","has_vnc":false,"has_spice":false,"has_serial":false}),
    );
    let info = call("GET /console/info?name=ghost", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().console_info("ghost").await
    });
    assert!(!info.await.has_vnc);
    let answer = ok(json!({"device":"/dev/pts/0","has_serial":true,"vm_name":"web-01"}));
    let serial =
        call("GET /console/serial-device?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
            hv.api().serial_device("web-01").await
        });
    assert_eq!(serial.await.device, "/dev/pts/0");
    let answer = ok(
        json!({"message":"Screenshot saved","note":"n","path":"/tmp/web-01-screenshot.ppm","status":"success"}),
    );
    let picture = call("GET /console/screenshot?name=web-01", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().screenshot("web-01").await
    });
    assert_eq!(picture.await, "/tmp/web-01-screenshot.ppm");
}

#[tokio::test]
async fn console_pages_are_html() {
    let fake = Fake::hypersdk().with_vm("web-01", true).start().await;
    let hypersdk = HyperSdk::connect(fake.config()).await.unwrap();
    assert!(hypersdk.api().vnc_page("web-01").await.unwrap().starts_with("<!DOCTYPE html>"));
    assert!(hypersdk.api().serial_page("web-01").await.unwrap().starts_with("<!DOCTYPE html>"));
}

#[tokio::test]
async fn send_key() {
    let body = json!({"name": "web-01", "keys": ["KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE"]});
    call("POST /libvirt/domain/send-key", body, done(), async |hv: &HyperSdk| {
        hv.api().send_keys("web-01", &["KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE"]).await
    })
    .await;
}

fn recorded_job() -> Value {
    json!({"definition":{"id":"de1835f3","name":"export-1","vm_path":"/DC/vm/web","output_dir":"/srv/exports/out","vcenter":{"server":"127.0.0.1:1","username":"u","password":"canary","insecure":true},"format":"qcow2","created_at":"2026-11-20T17:51:32.832873701Z"},"status":"failed","progress":{"phase":"connecting","files_downloaded":0,"total_files":0,"bytes_downloaded":0,"bytes_transferred":0,"total_bytes":0,"percent_complete":0},"error":"export failed: connection refused","started_at":"2026-11-20T17:51:32.83299314Z","completed_at":"2026-11-20T17:51:32.835671188Z","updated_at":"2026-11-20T17:51:32.835671188Z"})
}

#[tokio::test]
async fn jobs_submit() {
    let answer = ok(
        json!({"job_ids":["de1835f3"],"accepted":1,"rejected":0,"timestamp":"2026-11-20T17:51:32.83294656Z"}),
    );
    let body = json!({"jobs": [{
        "name": "export-1", "vm_path": "/DC/vm/web", "output_dir": "/srv/exports/out", "format": "qcow2",
        "vcenter": {"server": "127.0.0.1:1", "username": "u", "password": "canary", "insecure": true}
    }]});
    let submitted = call("POST /jobs/submit", body, answer, async |hv: &HyperSdk| {
        let vcenter = VCenter::new("127.0.0.1:1", "u", "canary".into()).insecure(true);
        let job = JobDefinition::new("/DC/vm/web", "/srv/exports/out")
            .name("export-1")
            .format("qcow2")
            .vcenter(vcenter);
        assert!(!format!("{job:?}").contains("canary"));
        hv.api().submit_jobs(&[job]).await
    });
    assert_eq!(submitted.await.job_ids, ["de1835f3"]);
}

#[tokio::test]
async fn job() {
    let task = call("GET /jobs/de1835f3", Value::Null, ok(recorded_job()), async |hv: &HyperSdk| {
        hv.get_task(&"de1835f3".into(), None).await
    });
    let task = task.await;
    assert_eq!(task.state, TaskState::Failed);
    assert_eq!(task.error.as_deref(), Some("export failed: connection refused"));
    assert_eq!(task.stage.as_deref(), Some("connecting"));
    let took = task.ended.unwrap().duration_since(task.started.unwrap()).unwrap();
    assert_eq!(took, Duration::from_nanos(2_678_048));
    assert!(!format!("{task:?}").contains("canary"), "the password of the vCenter");
}

#[tokio::test]
async fn jobs_query() {
    let nothing = ok(json!({"jobs":null,"total":0,"timestamp":"2026-11-20T17:51:36.085140525Z"}));
    let some = ok(json!({"jobs":[recorded_job()],"total":1,"timestamp":"2026-11-20T17:51:36.085140525Z"}));
    for (answer, count) in [(nothing, 0), (some, 1)] {
        let body = json!({"status": ["failed"], "all": false, "limit": 5});
        let jobs = call("POST /jobs/query", body, answer, async |hv: &HyperSdk| {
            let query = JobQuery::default().status(vec!["failed".to_owned()]).limit(5_u64);
            hv.api().query_jobs(&query).await
        });
        let jobs = jobs.await;
        assert_eq!(jobs.len(), count);
        assert!(jobs.iter().all(|job| job.status == JobStatus::Failed));
    }
}

#[tokio::test]
async fn jobs_cancel() {
    let answer = ok(
        json!({"cancelled":[],"failed":["a","nope"],"errors":{"a":"job a cannot be cancelled (status: failed)","nope":"job not found: nope"},"timestamp":"2026-11-20T17:51:36.093400828Z"}),
    );
    for (id, kind) in [("a", ErrorKind::InvalidState), ("nope", ErrorKind::NotFound)] {
        let error =
            call("POST /jobs/cancel", json!({"job_ids": [id]}), answer.clone(), async |hv: &HyperSdk| {
                Ok(hv.cancel_task(&id.into()).await.unwrap_err())
            });
        let error = error.await;
        assert_eq!((error.kind(), error.target()), (kind, Some(format!("task `{id}`").as_str())));
    }
}

#[tokio::test]
async fn job_progress_logs_and_eta() {
    let answer = ok(
        json!({"completed_at":"2026-11-20T17:51:32.8Z","elapsed_seconds":3.179,"error":"e","job_id":"j","progress":{"bytes_downloaded":5,"current_file":"","current_step":"","estimated_remaining":"1m5s","export_method":"","files_downloaded":0,"percent_complete":50,"phase":"exporting","total_bytes":10,"total_files":0},"started_at":"2026-11-20T17:51:32.8Z","status":"failed","timestamp":"2026-11-20T17:51:36.0Z"}),
    );
    let progress = call("GET /jobs/progress/j", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().job_progress("j").await
    });
    let progress = progress.await.unwrap();
    assert_eq!((progress.bytes_downloaded, progress.remaining()), (5, Some(Duration::from_secs(65))));
    let answer = ok(
        json!({"job_id":"j","log_count":1,"logs":[{"timestamp":"2026-11-20T17:51:32Z","level":"error","message":"Job failed","error":"why","details":{"x":1}}],"timestamp":"2026-11-20T17:51:36Z"}),
    );
    let log =
        call("GET /jobs/logs/j", Value::Null, answer, async |hv: &HyperSdk| hv.api().job_logs("j").await)
            .await;
    assert_eq!((log.logs[0].message.as_str(), log.logs[0].error.as_str()), ("Job failed", "why"));
    let answer = ok(
        json!({"eta":{"message":"Job already failed"},"job_id":"j","status":"failed","timestamp":"2026-11-20T17:51:36.03Z"}),
    );
    let eta =
        call("GET /jobs/eta/j", Value::Null, answer, async |hv: &HyperSdk| hv.api().job_eta("j").await).await;
    assert_eq!(eta.eta["message"], "Job already failed");
}

#[tokio::test]
async fn vsphere_machines() {
    let answer = ok(
        json!({"vms":[{"name":"web","path":"/DC/vm/web","power_state":"poweredOn","guest_os":"Linux","memory_mb":2048,"num_cpu":2,"storage_bytes":1024}],"total":1,"timestamp":"2026-11-20T17:51:36Z"}),
    );
    let vms =
        call("GET /vms/list", Value::Null, answer, async |hv: &HyperSdk| hv.api().vsphere_vms(None).await)
            .await;
    assert_eq!((vms[0].path.as_str(), vms[0].memory_mb), ("/DC/vm/web", 2048));
    let info = ok(json!({"success":true,"vm_info":{"name":"web"},"timestamp":"2026-11-20T17:51:36Z"}));
    let found = call("POST /vms/info", json!({"vm_path": "/DC/vm/web"}), info, async |hv: &HyperSdk| {
        hv.api().vsphere_vm("/DC/vm/web").await
    });
    assert_eq!(found.await["name"], "web");
    let success = ok(json!({"success":true,"message":"m","timestamp":"2026-11-20T17:51:36Z"}));
    let body = json!({"vm_path": "/DC/vm/a", "timeout": 5});
    call("POST /vms/shutdown", body, success.clone(), async |hv: &HyperSdk| {
        hv.api().shutdown_vsphere_vm("/DC/vm/a", Some(5)).await
    })
    .await;
    let body = json!({"vm_path": "/DC/vm/a"});
    call("POST /vms/poweroff", body.clone(), success.clone(), async |hv: &HyperSdk| {
        hv.api().power_off_vsphere_vm("/DC/vm/a").await
    })
    .await;
    call("POST /vms/remove-cdrom", body, success, async |hv: &HyperSdk| {
        hv.api().remove_vsphere_cdroms("/DC/vm/a").await
    })
    .await;
}

#[tokio::test]
async fn workflow() {
    let answer = ok(
        json!({"mode":"manifest","running":false,"queue_depth":0,"active_jobs":0,"processed_today":0,"failed_today":0,"max_workers":3,"uptime_seconds":0}),
    );
    let status = call("GET /api/workflow/status", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().workflow_status().await
    });
    assert_eq!(status.await.max_workers, 3);
    let none = ok(json!({"jobs": null, "total": 0}));
    let jobs = call("GET /api/workflow/jobs/active", Value::Null, none.clone(), async |hv: &HyperSdk| {
        hv.api().active_workflow_jobs().await
    });
    assert!(jobs.await.is_empty());
    call("GET /api/workflow/jobs?status=failed", Value::Null, none, async |hv: &HyperSdk| {
        hv.api().workflow_jobs(Some("failed")).await
    })
    .await;
    let manifest = json!({"version": "1.0"});
    let answer = ok(json!({"errors":["pipeline is required"],"valid":false}));
    let check =
        call("POST /api/workflow/manifest/validate", manifest.clone(), answer, async |hv: &HyperSdk| {
            hv.api().validate_manifest(&json!({"version": "1.0"})).await
        });
    let check = check.await;
    assert!(!check.valid && check.errors == ["pipeline is required"]);
    call("POST /api/workflow/manifest/submit", manifest, done(), async |hv: &HyperSdk| {
        hv.api().submit_manifest(&json!({"version": "1.0"})).await
    })
    .await;
}

#[tokio::test]
async fn schedules_live_their_life() {
    let fake = Fake::hypersdk().start().await;
    let hypersdk = HyperSdk::connect(fake.config()).await.unwrap();
    let api = hypersdk.api();
    assert!(api.schedules().await.unwrap().is_empty());
    let job = JobDefinition::new("/DC/vm/a", "/srv/exports/x");
    let made = api
        .create_schedule(&NewSchedule::new("daily", "0 2 * * *", job.clone()).name("Daily"))
        .await
        .unwrap();
    assert!(made.enabled && made.next_run.is_some() && made.last_run.is_none());
    assert_eq!(made.job_template.unwrap().vm_path, "/DC/vm/a");
    api.disable_schedule("daily").await.unwrap();
    assert!(!api.schedule("daily").await.unwrap().enabled);
    api.enable_schedule("daily").await.unwrap();
    api.trigger_schedule("daily").await.unwrap();
    assert_eq!(api.query_jobs(&JobQuery::all()).await.unwrap().len(), 1);
    api.update_schedule("daily", &NewSchedule::new("daily", "0 3 * * *", job.clone())).await.unwrap();
    assert_eq!(api.schedule("daily").await.unwrap().schedule, "0 3 * * *");
    api.delete_schedule("daily").await.unwrap();
    let error = api.schedule("daily").await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("schedule `daily`")));
    let bad = api.create_schedule(&NewSchedule::new("x", "zz", job)).await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::InvalidInput, "{bad}");
    let off = api.webhooks().await.unwrap_err();
    assert_eq!((off.kind(), off.message()), (ErrorKind::Unsupported, "webhooks not enabled"));
}

/// The daemon delivers nothing to a webhook that does not say that it is on.
#[tokio::test]
async fn webhooks_post() {
    let body = json!({"url": "https://x.example/hook", "events": ["job.failed"], "enabled": true});
    let answer = (201, json!({"message": "webhook added successfully", "webhook": body}));
    call("POST /webhooks", body, answer, async |hv: &HyperSdk| {
        hv.api().create_webhook(&"https://x.example/hook".parse().unwrap(), &["job.failed"]).await
    })
    .await;
}

#[tokio::test]
async fn schedules_stats() {
    let answer = ok(json!({"total": 1, "enabled": 1}));
    let stats = call("GET /schedules/stats", Value::Null, answer, async |hv: &HyperSdk| {
        hv.api().schedule_stats().await
    });
    assert_eq!(stats.await["total"], 1);
}

/// The frames as they were recorded, with the password that the daemon repeats.
#[tokio::test]
async fn ws() {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let frames = [
        json!({"type": "status", "timestamp": "2026-11-20T17:52:26.865008763Z",
            "data": {"completed_jobs": 0, "failed_jobs": 5, "running_jobs": 0, "total_jobs": 5}}),
        json!({"type": "jobs", "timestamp": "2026-11-20T17:52:26.86503973Z", "data": {"jobs": [recorded_job()]}}),
        json!({"type": "metrics", "timestamp": "2026-11-20T17:52:26.990379326Z", "data": {"raw": {
            "alerts": [], "jobs_failed": 5, "memory_usage": 3_444_896, "provider_stats": {}, "system_health": "healthy",
            "recent_jobs": [{"id": "de1835f3", "name": "export-1", "status": "failed", "progress": 0}]}}}),
        json!("no frame"),
    ];
    let server = tokio::spawn(async move {
        // The connection looks at the daemon's health and status first.
        for body in [json!({"status": "healthy"}), json!({"version": "0.0.1"})] {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            let body = body.to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
        for frame in frames {
            socket.send(Message::text(format!("{frame}\n"))).await.unwrap();
        }
        socket.close(None).await.unwrap();
    });
    let url = format!("http+hypersdk://{address}");
    let hypersdk = HyperSdk::connect(hypervisor_client::ClientConfig::new(&url).unwrap()).await.unwrap();
    let feed = hypersdk.api().feed().await.unwrap();
    let said: Vec<_> = feed.collect().await;
    server.await.unwrap();
    assert!(!format!("{said:?}").contains("canary"));
    let [Ok(FeedFrame::Status(counts)), Ok(FeedFrame::Jobs(jobs)), Ok(FeedFrame::Load(load)), Err(error)] =
        said.as_slice()
    else {
        panic!("{said:?}")
    };
    assert_eq!((counts.failed_jobs, jobs[0].status.as_str(), load.jobs_failed), (5, "failed", 5));
    assert_eq!(load.recent_jobs[0].status, Some(JobStatus::Failed));
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn iso_images_come_and_go() {
    let fake = Fake::hypersdk().with_vm("web-01", true).with_vm("db-01", false).start().await;
    let hypersdk = HyperSdk::connect(fake.config()).await.unwrap();
    let api = hypersdk.api();
    let content = bytes::Bytes::from_static(b"CD001");
    api.upload_iso("debian.iso", &content).await.unwrap();
    let isos = api.isos().await.unwrap();
    assert_eq!((isos[0].name.as_str(), isos[0].size), ("debian.iso", 5));
    let taken = api.upload_iso("debian.iso", &content).await.unwrap_err();
    assert_eq!((taken.kind(), taken.target()), (ErrorKind::AlreadyExists, Some("iso `debian.iso`")));
    api.attach_iso("web-01", "debian.iso", None).await.unwrap();
    api.detach_iso("web-01", Some("hdc")).await.unwrap();
    let off = api.attach_iso("db-01", "debian.iso", None).await.unwrap_err();
    assert_eq!((off.kind(), off.target()), (ErrorKind::InvalidState, Some("vm `db-01`")));
    api.delete_iso("debian.iso").await.unwrap();
    let gone = api.delete_iso("debian.iso").await.unwrap_err();
    assert_eq!((gone.kind(), gone.target()), (ErrorKind::NotFound, Some("iso `debian.iso`")));
    let large = api.upload_iso("large.iso", &vec![0; 11 << 20].into()).await.unwrap_err();
    assert!(large.fields().contains_key("content"));
}

#[tokio::test]
async fn backups_come_and_go() {
    let fake = Fake::hypersdk().with_vm("db-01", false).with_vm("web-01", true).start().await;
    let hypersdk = HyperSdk::connect(fake.config()).await.unwrap();
    let spec = hypervisor_core::model::BackupSpec::new().compress(true);
    let backup = hypersdk.create_backup(&"db-01".into(), &spec).await.unwrap().output.unwrap();
    let page = hypervisor_core::model::PageRequest::first();
    let query = hypervisor_core::model::BackupQuery::all().vm("db-01");
    let listed = hypersdk.list_backups(&query, &page).await.unwrap().items;
    assert_eq!((&listed[0].id, listed[0].size), (&backup, Some(ByteSize::bytes(200_347))));
    let running = hypersdk.create_backup(&"web-01".into(), &spec).await.unwrap_err();
    assert_eq!(running.kind(), ErrorKind::InvalidState, "the daemon would leave its disks out");
    let api = hypersdk.api();
    assert!(api.verify_backup(backup.as_str()).await.unwrap().valid);
    let clash = api.restore_definition(backup.as_str(), Some("other"), false).await.unwrap_err();
    assert_eq!(clash.kind(), ErrorKind::AlreadyExists);
    assert_eq!(api.restore_definition(backup.as_str(), None, true).await.unwrap().vm_name, "db-01");
    drop(hypersdk.delete_backup(&backup).await.unwrap());
    let gone = hypersdk.delete_backup(&backup).await.unwrap_err();
    assert_eq!(
        (gone.kind(), gone.target()),
        (ErrorKind::NotFound, Some(format!("backup `{backup}`").as_str()))
    );
    // The name of the daemon's folder itself would be all backups.
    for all in ["", ".", "..", "a/b"] {
        assert_eq!(api.delete_backup(all).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{all:?}");
        assert_eq!(
            api.create_backup(&NewBackup::new(all)).await.unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{all:?}"
        );
    }
}

#[tokio::test]
async fn a_password_becomes_a_session_when_the_daemon_asks_for_one() {
    let fake = Fake::hypersdk().with_authentication("key").start().await;
    let config = || fake.config().allow_plain_http_credentials();
    let nobody = HyperSdk::connect(config()).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Unauthenticated);
    let with_key = HyperSdk::connect(config().api_key("key")).await.unwrap();
    assert!(with_key.api().domains().await.unwrap().is_empty());
    let with_token = HyperSdk::connect(config().token("key")).await.unwrap();
    assert!(with_token.api().domains().await.is_ok());
    let user = HyperSdk::connect(config().basic("root", "canary")).await.unwrap();
    assert!(user.api().domains().await.is_ok());
    let all = fake.server().received_requests().await.unwrap();
    let logins = all.iter().filter(|request| request.url.path() == "/api/login").count();
    assert_eq!(logins, 1, "one session for all calls");
    let session = user.api().login("root", &"canary".into()).await.unwrap();
    user.api().logout(&session.token.unwrap()).await.unwrap();
    assert!(!format!("{user:?}").contains("canary"));
    assert_eq!(HyperSdk::connect(fake.config().token("key")).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn the_password_of_a_vcenter_is_in_no_error() {
    let server = healthy().await;
    let refused = ResponseTemplate::new(500).set_body_json(json!({"error": "no such vCenter"}));
    Mock::given(method("GET")).and(path("/vms/list")).respond_with(refused).mount(&server).await;
    let hypersdk = hypersdk::connect(&server).await;
    let vcenter = VCenter::new("v", "u", "canary".into());
    let error = hypersdk.api().vsphere_vms(Some(&vcenter)).await.unwrap_err();
    assert!(!format!("{error} {error:#?} {vcenter:?}").contains("canary"));
    assert_eq!(sent(&server).await[0].0, "GET /vms/list?server=v&username=u&password=canary&insecure=false");
}
