//! The fake Proxmox server: it keeps state and refuses what the real one refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod support;

use std::time::Duration;

use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::wire::form::Form;
use support::Client;

fn form() -> Form {
    Form::new()
}

#[tokio::test]
async fn a_machine_is_made_started_stopped_and_deleted() {
    let pve = FakePve::start().await.unwrap();
    let client = Client::new(&pve);
    let create = form()
        .number("vmid", 100)
        .text("name", "web-1")
        .text("scsi0", "local-lvm:8")
        .text("net0", "virtio,bridge=vmbr0");
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/qemu", create).await, "OK");
    let config = client.get("/nodes/pve1/qemu/100/config").await.data();
    assert_eq!(config["scsi0"], "local-lvm:vm-100-disk-0,size=8G");
    assert!(config["net0"].as_str().unwrap().starts_with("virtio=BC:24:11:"));
    assert_eq!(config["boot"], "order=scsi0;net0");
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/qemu/100/status/start", form()).await, "OK");
    assert_eq!(client.get("/nodes/pve1/qemu/100/status/current").await.data()["qmpstatus"], "running");
    let refused = client.delete("/nodes/pve1/qemu/100").await;
    assert_eq!((refused.status, refused.reason.as_str()), (500, "VM 100 is running - destroy failed"));
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/qemu/100/status/stop", form()).await, "OK");
    assert_eq!(client.run(&pve, "DELETE", "/nodes/pve1/qemu/100?purge=1", form()).await, "OK");
    assert!(pve.guest(100).is_none());
    assert!(pve.volumes("pve1", "local-lvm").is_empty());
    assert_eq!(pve.count("POST", "/nodes/*/qemu/*/status/*"), 2);
}

#[tokio::test]
async fn a_refusal_is_in_the_status_line_and_in_the_body() {
    let pve = FakePve::start().await.unwrap();
    let client = Client::new(&pve);
    let reply = client.get("/nodes/pve1/qemu/999/config").await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.reason, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist");
    assert_eq!(reply.json()["message"], format!("{}\n", reply.reason));
    assert!(reply.json()["data"].is_null());
    let reply = client
        .post("/nodes/pve1/qemu", form().number("vmid", 100).text("bogus", "1").number("cores", 0))
        .await;
    assert_eq!((reply.status, reply.reason.as_str()), (400, "Parameter verification failed."));
    let errors = &reply.json()["errors"];
    assert_eq!(errors["cores"], "value must have a minimum value of 1");
    assert!(errors["bogus"].as_str().unwrap().contains("not defined in schema"));
    let bare = Client::bare(&pve).get("/nodes").await;
    assert_eq!((bare.status, bare.reason.as_str(), bare.body.as_str()), (401, "No ticket", ""));
    assert!(!bare.headers.contains_key("content-type"));
}

#[tokio::test]
async fn an_older_release_says_it_in_the_status_line_alone() {
    let pve = FakePve::builder().version("8.2.4").start().await.unwrap();
    let client = Client::new(&pve);
    let reply = client.get("/nodes/pve1/qemu/999/config").await;
    assert!(reply.reason.ends_with("does not exist"));
    assert_eq!(reply.body, r#"{"data":null}"#);
    assert_eq!(client.post("/cluster/bulk-action/guest/start", form()).await.status, 501);
}

#[tokio::test]
async fn tasks_take_time_and_hold_the_lock_file() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100))
        .task_time(Duration::from_secs(30))
        .lock_wait(Duration::ZERO)
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let upid = client.post("/nodes/pve1/qemu/100/status/start", form()).await.upid();
    let status = format!("/nodes/pve1/tasks/{upid}/status");
    assert_eq!(client.get(&status).await.data()["status"], "running");
    let busy = client.put("/nodes/pve1/qemu/100/config", form().number("cores", 2)).await;
    assert_eq!(busy.reason, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout");
    pve.advance(Duration::from_secs(31));
    assert_eq!(client.get(&status).await.data()["exitstatus"], "OK");
    assert_eq!(client.put("/nodes/pve1/qemu/100/config", form().text("name", "x")).await.status, 200);
    let upid = client.post("/nodes/pve1/qemu/100/status/start", form()).await.upid();
    assert_eq!(client.exit(&upid).await, "VM 100 already running");
}

#[tokio::test]
async fn locks_of_the_configuration_refuse_with_their_word() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100).locked("backup")).start().await.unwrap();
    let client = Client::new(&pve);
    let reply = client.put("/nodes/pve1/qemu/100/config", form().number("cores", 2)).await;
    assert_eq!(reply.reason, "VM is locked (backup)");
    assert_eq!(
        client.run(&pve, "POST", "/nodes/pve1/qemu/100/status/start", form()).await,
        "VM is locked (backup)"
    );
    pve.set_lock(100, None);
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/qemu/100/status/start", form()).await, "OK");
}

#[tokio::test]
async fn what_a_task_locks_is_free_again_when_it_is_stopped() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100).set("scsi0", "local:1,format=qcow2"))
        .task_time(Duration::from_secs(30))
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let upid = client.post("/nodes/pve1/qemu/100/snapshot", form().text("snapname", "s1")).await.upid();
    assert_eq!(pve.guest(100).unwrap().lock.as_deref(), Some("snapshot"));
    let active = client.get("/nodes/pve1/tasks?source=active").await.data();
    assert_eq!((&active[0]["status"], &active[0]["saved"]), (&"RUNNING".into(), &"0".into()));
    assert_eq!(client.delete(&format!("/nodes/pve1/tasks/{upid}")).await.status, 200);
    assert_eq!(client.exit(&upid).await, "received interrupt");
    assert_eq!(pve.guest(100).unwrap().lock, None);
    assert!(pve.guest(100).unwrap().snapshots.is_empty());
    // A copy that is stopped leaves nothing.
    let upid = client.post("/nodes/pve1/qemu/100/clone", form().number("newid", 101)).await.upid();
    assert_eq!(pve.guest(101).unwrap().lock.as_deref(), Some("clone"));
    pve.interrupt(&upid);
    assert!(pve.guest(101).is_none());
}

#[tokio::test]
async fn tasks_fail_warn_and_vanish_on_request() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100)).start().await.unwrap();
    let client = Client::new(&pve);
    let start = "/nodes/pve1/qemu/100/status/start";
    pve.faults().on_task("qmstart").fail("start failed: QEMU exited with code 1");
    assert_eq!(client.run(&pve, "POST", start, form()).await, "start failed: QEMU exited with code 1");
    assert!(!pve.guest(100).unwrap().running);
    let log = client.get(&format!("/nodes/pve1/tasks/{}/log", pve.tasks()[0].upid)).await.json();
    assert_eq!(
        (&log["total"], &log["data"][0]["t"]),
        (&1.into(), &"TASK ERROR: start failed: QEMU exited with code 1".into())
    );
    pve.faults().on_task("*").vanish();
    assert_eq!(client.run(&pve, "POST", start, form()).await, "unexpected status");
    assert!(!pve.guest(100).unwrap().running);
    pve.faults().on_task("qmstart").warn("no efidisk");
    assert_eq!(client.run(&pve, "POST", start, form()).await, "WARNINGS: 1");
    assert!(pve.guest(100).unwrap().running);
}

#[tokio::test]
async fn a_fresh_task_may_be_unknown_and_a_call_may_have_none() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100)).unknown_looks(1).start().await.unwrap();
    let client = Client::new(&pve);
    let upid = client.post("/nodes/pve1/qemu/100/status/start", form()).await.upid();
    let status = format!("/nodes/pve1/tasks/{upid}/status");
    let first = client.get(&status).await;
    assert_eq!((first.status, &first.json()["errors"]["upid"]), (400, &"no such task".into()));
    assert_eq!(client.get(&status).await.status, 200);
    pve.faults().on("POST", "/nodes/*/qemu/100/status/stop").no_task();
    assert!(client.post("/nodes/pve1/qemu/100/status/stop", form()).await.data().is_null());
    assert!(!pve.guest(100).unwrap().running);
    let elsewhere = client.get(&format!("/nodes/pve2/tasks/{upid}/status")).await;
    assert_eq!(elsewhere.status, 500);
}

#[tokio::test]
async fn connections_break_before_and_after_the_work() {
    let pve = FakePve::start().await.unwrap();
    let client = Client::new(&pve);
    let create = |vmid: u64| form().number("vmid", vmid).encode();
    pve.faults().on("POST", "/nodes/*/qemu").drop_before();
    assert!(client.try_send("POST", "/nodes/pve1/qemu", &create(100)).await.is_none());
    assert!(pve.guest(100).is_none());
    pve.faults().on("POST", "/nodes/*/qemu").drop_after();
    assert!(client.try_send("POST", "/nodes/pve1/qemu", &create(100)).await.is_none());
    assert!(pve.guest(100).is_some());
    pve.faults().on("GET", "/version").answer(596, "Connection timed out");
    let reply = client.get("/version").await;
    assert_eq!((reply.status, reply.reason.as_str(), reply.body.as_str()), (596, "Connection timed out", ""));
    pve.faults().on("POST", "/nodes/*/qemu").answer_after(596, "Connection timed out");
    assert_eq!(client.try_send("POST", "/nodes/pve1/qemu", &create(101)).await.unwrap().status, 596);
    assert!(pve.guest(101).is_some());
    pve.faults().on("GET", "/version").reply(200, "OK", r#"{"data":{"version":"7.4-3"}}"#);
    assert_eq!(client.get("/version").await.data()["version"], "7.4-3");
    pve.faults().on("GET", "/version").truncate(5);
    assert!(client.try_send("GET", "/version", "").await.is_none());
    assert_eq!(client.get("/version").await.status, 200);
    assert_eq!(pve.count("POST", "/nodes/*/qemu"), 3);
    let statuses: Vec<_> = pve.requests().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses[0], None, "nothing was done");
}

#[tokio::test]
async fn a_host_that_is_away_refuses_and_its_guests_are_unknown() {
    let pve =
        FakePve::builder().hosts(2).vm(FakeGuest::vm(100).host("pve2").running()).start().await.unwrap();
    let client = Client::new(&pve);
    let far = Client { authority: pve.urls()[1].trim_start_matches("http://").to_owned(), ..client.clone() };
    assert_eq!(far.get("/cluster/status").await.data()[2]["local"], 1);
    pve.take_offline("pve2").await;
    assert!(far.try_send("GET", "/version", "").await.is_none());
    let reply = client.get("/nodes/pve2/qemu").await;
    assert_eq!((reply.status, reply.reason.as_str()), (595, "No route to host"));
    let rows = client.get("/cluster/resources?type=vm").await.data();
    assert_eq!((&rows[0]["status"], &rows[0]["node"]), (&"unknown".into(), &"pve2".into()));
    assert_eq!(client.get("/nodes").await.data()[1]["status"], "offline");
    pve.bring_online("pve2").await.unwrap();
    assert_eq!(far.get("/version").await.status, 200);
    assert_eq!(client.get("/cluster/resources?type=vm").await.data()[0]["status"], "running");
}

#[tokio::test]
async fn privileges_are_those_of_user_and_token() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100))
        .vm(FakeGuest::vm(101).pool("prod"))
        .user("alice@pve", "secret")
        .api_token("alice@pve", "t1", "s", true)
        .grant("alice@pve", "/vms", "PVEVMUser")
        .grant("alice@pve!t1", "/pool/prod", "PVEVMAdmin")
        .grant("alice@pve", "/pool/prod", "PVEVMUser")
        .start()
        .await
        .unwrap();
    let client = Client::token(&pve, "alice@pve!t1=s");
    let reply = client.get("/nodes/pve1/qemu/100/config").await;
    assert_eq!((reply.status, reply.reason.as_str()), (403, "Permission check failed (/vms/100, VM.Audit)"));
    // A pool gives what neither gives on the guest itself, but no more than the user has.
    assert_eq!(client.get("/nodes/pve1/qemu/101/config").await.status, 200);
    let refused = client.put("/nodes/pve1/qemu/101/config", form().number("memory", 1024)).await;
    assert_eq!(refused.reason, "Permission check failed (/vms/101, VM.Config.Memory)");
    let list = client.get("/nodes/pve1/qemu").await.data();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let reply = client.post("/nodes/pve1/qemu", form().number("vmid", 120)).await;
    assert_eq!((reply.status, reply.reason.as_str()), (403, "Permission check failed"));
    let root = Client::new(&pve);
    let reply = root.put("/nodes/pve1/qemu/100/config", form().text("lock", "backup")).await;
    assert_eq!(reply.reason, "only root can set 'lock' config");
}

#[tokio::test]
async fn tickets_expire_are_renewed_and_need_the_csrf_token() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100)).totp("root@pam", "123456").start().await.unwrap();
    let bare = Client::bare(&pve);
    let login = form().text("username", "root@pam").text("password", pve.password());
    let half = bare.post("/access/ticket", login).await.data();
    assert_eq!(half["NeedTFA"], 1);
    let challenge = half["ticket"].as_str().unwrap();
    let second = |code: &str| {
        form()
            .text("username", "root@pam")
            .text("tfa-challenge", challenge)
            .text("password", format!("totp:{code}"))
    };
    let wrong = bare.post("/access/ticket", second("000000")).await;
    assert_eq!((wrong.status, wrong.reason.as_str()), (401, "authentication failure"));
    let full = bare.post("/access/ticket", second("123456")).await.data();
    let ticket = full["ticket"].as_str().unwrap().to_owned();
    let cookie = format!("Cookie: PVEAuthCookie={}", hypervisor_proxmox::wire::form::encoded_text(&ticket));
    let mut client = Client { headers: vec![cookie], ..bare.clone() };
    assert_eq!(client.get("/version").await.status, 200);
    let reply = client.post("/nodes/pve1/qemu/100/status/start", form()).await;
    assert_eq!((reply.status, reply.reason.as_str()), (401, "Permission denied - invalid csrf token"));
    client.headers.push(format!("CSRFPreventionToken: {}", full["CSRFPreventionToken"].as_str().unwrap()));
    assert_eq!(client.post("/nodes/pve1/qemu/100/status/start", form()).await.status, 200);
    let renewal = form().text("username", "root@pam").text("password", ticket.as_str());
    assert!(bare.post("/access/ticket", renewal.clone()).await.data()["cap"].is_object());
    pve.advance(Duration::from_secs(2 * 60 * 60));
    let reply = client.get("/version").await;
    assert_eq!((reply.status, reply.reason.as_str()), (401, "permission denied - invalid PVE ticket"));
    assert_eq!(bare.post("/access/ticket", renewal).await.status, 401);
}

#[tokio::test]
async fn bodies_that_the_real_server_does_not_take_are_refused() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100)).start().await.unwrap();
    let client = Client::new(&pve);
    let reply = client.try_send("DELETE", "/nodes/pve1/qemu/100", "purge=1").await.unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (501, "Unexpected content for method 'DELETE'"));
    let token = &client.headers[0];
    let head = format!(
        "POST /api2/json/pools HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}\r\nTransfer-Encoding: chunked\r\n"
    );
    let reply = support::exchange(&pve.authority(), &head, b"0\r\n\r\n").await.unwrap();
    assert_eq!((reply.status, reply.reason.as_str()), (501, "chunked transfer encoding not supported"));
    assert!(pve.guest(100).is_some());
}

fn upload(parts: &[(&str, Option<&str>, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, file, content) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.push_str(&format!(
            "--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str("--XX--\r\n");
    body.into_bytes()
}

#[tokio::test]
async fn uploads_have_their_fields_before_the_file() {
    let pve = FakePve::start().await.unwrap();
    let client = Client::new(&pve);
    let path = "/api2/json/nodes/pve1/storage/local/upload";
    let kind = Some("multipart/form-data; boundary=XX");
    let file = ("filename", Some("a.iso"), "hello");
    let reply = client.try_raw("POST", path, kind, &upload(&[file, ("content", None, "iso")])).await.unwrap();
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["errors"]["content"], "property is missing and it is not optional");
    let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let with = |sum| {
        upload(&[
            ("content", None, "iso"),
            ("checksum-algorithm", None, "sha256"),
            ("checksum", None, sum),
            file,
        ])
    };
    let upid = client.try_raw("POST", path, kind, &with(sum)).await.unwrap().upid();
    pve.advance(Duration::from_secs(60));
    assert_eq!(client.exit(&upid).await, "OK");
    assert_eq!(pve.volume_bytes("pve1", "local:iso/a.iso").unwrap(), b"hello");
    let wrong = sum.replace('2', "3");
    let upid = client.try_raw("POST", path, kind, &with(&wrong)).await.unwrap().upid();
    pve.advance(Duration::from_secs(60));
    assert!(client.exit(&upid).await.starts_with("checksum mismatch"));
    let other = upload(&[("content", None, "iso"), ("file", Some("a.iso"), "x")]);
    assert_eq!(client.try_raw("POST", path, kind, &other).await.unwrap().status, 500);
}

#[tokio::test]
async fn a_backup_is_taken_protected_restored_and_pruned() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100).name("db").set("scsi0", "local-lvm:2").running())
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let dump = || {
        form()
            .number("vmid", 100)
            .text("storage", "local")
            .text("compress", "zstd")
            .text("notes-template", "{{guestname}} nightly")
    };
    for _ in 0..2 {
        assert_eq!(client.run(&pve, "POST", "/nodes/pve1/vzdump", dump()).await, "OK");
    }
    let rows = client.get("/nodes/pve1/storage/local/content?content=backup").await.data();
    let rows = rows.as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["notes"], &rows[0]["vmid"]), (2, &"db nightly".into(), &100.into()));
    let volid = rows[0]["volid"].as_str().unwrap();
    let restore = form().number("vmid", 200).text("archive", volid).text("name", "copy").flag("unique", true);
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/qemu", restore).await, "OK");
    let copy = pve.guest(200).unwrap();
    assert_eq!(
        (copy.config["name"].as_str(), copy.config["scsi0"].as_str()),
        ("copy", "local-lvm:vm-200-disk-0,size=2G")
    );
    assert_ne!(copy.config["smbios1"], pve.guest(100).unwrap().config["smbios1"]);
    assert_eq!(
        client
            .run(&pve, "DELETE", "/nodes/pve1/storage/local/prunebackups?prune-backups=keep-last%3D1", form())
            .await,
        "OK"
    );
    assert_eq!(pve.volumes("pve1", "local").len(), 1);
    let missing = form().number("vmid", 999).text("storage", "local");
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/vzdump", missing).await, "job errors");
}

#[tokio::test]
async fn many_guests_start_with_one_call() {
    let pve = FakePve::builder().hosts(2).many(6).start().await.unwrap();
    let client = Client::new(&pve);
    pve.faults().on_task("qmstart").nth(3).fail("no memory");
    let all = form().each("vms", (1_000..1_006).map(|vmid| vmid.to_string())).number("max-workers", 2);
    let exit = client.run(&pve, "POST", "/cluster/bulk-action/guest/start", all).await;
    assert_ne!(exit, "OK");
    assert_eq!(pve.guests().iter().filter(|guest| guest.running).count(), 5);
    let exit = client.run(&pve, "POST", "/cluster/bulk-action/guest/start", form()).await;
    assert_eq!(exit, "OK", "those that run are passed over");
    assert_eq!(pve.guests().iter().filter(|guest| guest.running).count(), 6);
}

#[tokio::test]
async fn a_move_takes_local_disks_along_only_when_asked() {
    let pve = FakePve::builder()
        .hosts(2)
        .vm(FakeGuest::vm(100).set("scsi0", "local:1").running())
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let path = "/nodes/pve1/qemu/100/migrate";
    let reply = client.post(path, form().text("target", "pve2")).await;
    assert_eq!(reply.status, 500);
    let online = form().text("target", "pve2").flag("online", true);
    assert_eq!(client.run(&pve, "POST", path, online.clone()).await, "migration aborted");
    assert_eq!(client.run(&pve, "POST", path, online.flag("with-local-disks", true)).await, "OK");
    assert_eq!(pve.guest(100).unwrap().host, "pve2");
    assert_eq!(pve.volumes("pve2", "local"), ["local:100/vm-100-disk-0.raw"]);
    assert!(pve.volumes("pve1", "local").is_empty());
    let gone = client.get("/nodes/pve1/qemu/100/config").await;
    assert!(gone.reason.ends_with("does not exist"));
}

#[tokio::test]
async fn templates_are_cloned_and_kept_while_clones_need_them() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100).set("scsi0", "local:1,format=qcow2").template())
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let path = "/nodes/pve1/qemu/100/clone";
    assert_eq!(client.run(&pve, "POST", path, form().number("newid", 101).text("name", "one")).await, "OK");
    let disk = pve.guest(101).unwrap().config["scsi0"].clone();
    assert_eq!(disk, "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2,size=1G");
    let why = client.run(&pve, "DELETE", "/nodes/pve1/qemu/100", form()).await;
    assert_eq!(why, "base volume 'local:100/base-100-disk-0.qcow2' is still in use by linked cloned");
    assert_eq!(client.run(&pve, "DELETE", "/nodes/pve1/qemu/101", form()).await, "OK");
    assert_eq!(client.run(&pve, "DELETE", "/nodes/pve1/qemu/100", form()).await, "OK");
    assert!(pve.volumes("pve1", "local").is_empty());
}

#[tokio::test]
async fn what_a_running_machine_cannot_change_waits_for_its_next_start() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100).set("memory", "512").running()).start().await.unwrap();
    let client = Client::new(&pve);
    let path = "/nodes/pve1/qemu/100/config";
    assert_eq!(client.put(path, form().number("memory", 1024).text("name", "now")).await.status, 200);
    assert_eq!(client.get(path).await.data()["memory"], "1024");
    assert_eq!(client.get(&format!("{path}?current=1")).await.data()["memory"], "512");
    let pending = client.get("/nodes/pve1/qemu/100/pending").await.data();
    let memory = pending.as_array().unwrap().iter().find(|row| row["key"] == "memory").unwrap();
    assert_eq!((&memory["value"], &memory["pending"]), (&"512".into(), &"1024".into()));
    assert_eq!(client.run(&pve, "POST", "/nodes/pve1/qemu/100/status/reboot", form()).await, "OK");
    assert_eq!(pve.guest(100).unwrap().config["memory"], "1024");
    let digest = client.get(path).await.data()["digest"].as_str().unwrap().to_owned();
    pve.edit(100, "description", Some("by somebody else"));
    let reply = client.put(path, form().number("cores", 2).text("digest", digest)).await;
    assert_eq!(reply.reason, "checksum mismatch (file change by other user?)");
}

#[tokio::test]
async fn a_hundred_creates_at_once_with_one_number_make_one_machine() {
    let pve = FakePve::start().await.unwrap();
    let client = Client::new(&pve);
    let calls = (0..100).map(|_| client.post("/nodes/pve1/qemu", form().number("vmid", 100)));
    let replies = futures::future::join_all(calls).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    let refused = "unable to create VM 100 - VM 100 already exists on node 'pve1'";
    assert_eq!(replies.iter().filter(|reply| reply.reason == refused).count(), 99);
}

#[tokio::test]
async fn the_agent_runs_commands_and_keeps_files() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100).set("agent", "1").set("net0", "virtio,bridge=vmbr0").running())
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let agent = |command: &str| format!("/nodes/pve1/qemu/100/agent/{command}");
    let pid = client
        .post(&agent("exec"), form().each("command", ["sh", "-c", "echo hi; exit 3"]))
        .await
        .data()["pid"]
        .clone();
    let status = format!("{}?pid={pid}", agent("exec-status"));
    assert_eq!(client.get(&status).await.data()["exited"], 0);
    let done = client.get(&status).await.data();
    assert_eq!((&done["exitcode"], &done["out-data"]), (&3.into(), &"hi\n".into()));
    assert_eq!(
        client.post(&agent("file-write"), form().text("file", "/tmp/a").text("content", "x=1")).await.status,
        200
    );
    assert_eq!(client.get(&format!("{}?file=%2Ftmp%2Fa", agent("file-read"))).await.data()["content"], "x=1");
    let nics = client.get(&agent("network-get-interfaces")).await.data()["result"].clone();
    assert_eq!(nics[1]["name"], "eth0");
    assert_eq!(client.post(&agent("fsfreeze-freeze"), form()).await.data()["result"], 1);
    assert_eq!(client.post(&agent("fsfreeze-status"), form()).await.data()["result"], "frozen");
    pve.set_agent(100, false);
    assert_eq!(client.post(&agent("ping"), form()).await.reason, "QEMU guest agent is not running");
}

#[tokio::test]
async fn consoles_echo_to_whom_has_the_ticket() {
    use futures::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
    let pve =
        FakePve::builder().vm(FakeGuest::vm(100).set("serial0", "socket").running()).start().await.unwrap();
    let client = Client::new(&pve);
    let opened = client.post("/nodes/pve1/qemu/100/termproxy", form()).await.data();
    let text = |key: &str| opened[key].as_str().unwrap().to_owned();
    let address = |ticket: &str| {
        let query = form().text("port", text("port")).text("vncticket", ticket).encode();
        let url = format!("ws://{}/api2/json/nodes/pve1/qemu/100/vncwebsocket?{query}", pve.authority());
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("authorization", format!("PVEAPIToken={}", pve.token()).parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "binary".parse().unwrap());
        request
    };
    assert!(tokio_tungstenite::connect_async(address("PVEVNC:bad")).await.is_err());
    let (mut socket, response) = tokio_tungstenite::connect_async(address(&text("ticket"))).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "binary");
    let hello = format!("{}:{}\n", text("user"), text("ticket"));
    socket.send(Message::Binary(hello.into_bytes().into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), "OK");
    socket.send(Message::Binary("1:80:24:".into())).await.unwrap();
    socket.send(Message::Binary("0:3:ls\n".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), "ls\n");
}

#[tokio::test]
async fn inventory_may_be_older_than_the_guests() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100).running())
        .staleness(Duration::from_secs(10))
        .start()
        .await
        .unwrap();
    let client = Client::new(&pve);
    let path = "/cluster/resources?type=vm";
    assert_eq!(client.get(path).await.data()[0]["status"], "running");
    pve.set_running(100, false);
    client.post("/nodes/pve1/qemu", form().number("vmid", 101).text("name", "new")).await.upid();
    let rows = client.get(path).await.data();
    assert_eq!(
        (&rows[0]["status"], &rows[1]["status"], &rows[1]["name"]),
        (&"running".into(), &"unknown".into(), &serde_json::Value::Null)
    );
    pve.advance(Duration::from_secs(11));
    let rows = client.get(path).await.data();
    assert_eq!((&rows[0]["status"], &rows[1]["name"]), (&"stopped".into(), &"new".into()));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_addresses() {
    let mac = async |seed| {
        let pve = FakePve::builder()
            .seed(seed)
            .vm(FakeGuest::vm(100).set("net0", "virtio,bridge=vmbr0"))
            .start()
            .await
            .unwrap();
        pve.guest(100).unwrap().config["net0"].clone()
    };
    assert_eq!(mac(5).await, mac(5).await);
    assert_ne!(mac(5).await, mac(6).await);
}

#[tokio::test]
async fn secrets_of_requests_are_not_shown() {
    let pve = FakePve::start().await.unwrap();
    let bare = Client::bare(&pve);
    bare.post("/access/ticket", form().text("username", "root@pam").text("password", "canary-7")).await;
    assert_eq!(pve.requests()[0].param("password"), Some("canary-7"));
    assert!(!format!("{:?} {pve:?}", pve.requests()).contains("canary-7"));
}

#[tokio::test]
async fn a_client_can_trust_the_fake_by_its_authority_or_its_fingerprint() {
    use hypervisor_core::http::{Http, HttpConfig, Request, Trust};
    let pve = FakePve::builder().tls().start().await.unwrap();
    let ask = async |trust: Trust| {
        let http = Http::new(HttpConfig::parse(&pve.url()).unwrap().trust(trust)).unwrap();
        http.send(Request::get("/api2/json/access/domains")).await.map(|response| response.status())
    };
    assert!(pve.url().starts_with("https://"));
    assert_eq!(ask(Trust::Ca(pve.ca_pem().unwrap().into())).await.unwrap(), 200);
    assert_eq!(ask(Trust::Fingerprint(pve.fingerprint().unwrap().parse().unwrap())).await.unwrap(), 200);
    let other = FakePve::builder().tls().start().await.unwrap();
    assert!(ask(Trust::Fingerprint(other.fingerprint().unwrap().parse().unwrap())).await.is_err());
    assert!(ask(Trust::System).await.is_err());
}
