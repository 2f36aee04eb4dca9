//! The fake Proxmox server: it keeps state and refuses what the real one refuses.

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
