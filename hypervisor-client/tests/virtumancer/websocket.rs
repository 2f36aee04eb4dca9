//! One test for each message of the document's WebSocket, named after it, and what happens when the connection does not go well.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::{AddHost, Generation, Virtumancer};
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::{FakeVm, VirtumancerBuilder, VirtumancerFake};
use hypervisor_core::model::{
    ByteSize, Event, EventKind, EventQuery, EventStream, PowerAction, VmId, VmState,
};
use hypervisor_core::{Compute, ErrorKind, Events, Metrics};

use crate::support::{connect, json, server};

const SERVED: [Generation; 3] = [Generation::Documented, Generation::Early, Generation::Current];

fn fake(generation: Generation) -> VirtumancerBuilder {
    Fake::virtumancer()
        .generation(generation)
        .stats_every(Duration::from_millis(40))
        .with_vm(FakeVm::new("kvmsrv", "ubuntu-vm-01").running())
        .with_vm(FakeVm::new("kvmsrv", "db-01"))
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"))
}

/// Waits until it is so.
async fn until(what: &str, so: impl Fn() -> bool + Send + Sync) {
    soon(what, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The first event of this kind; what comes before is given back with it.
async fn find(
    events: &mut EventStream,
    wanted: impl Fn(&EventKind) -> bool + Send + Sync,
) -> (EventKind, Vec<EventKind>) {
    let mut before = Vec::new();
    soon("the event", async {
        loop {
            let event: Event = events.next().await.expect("the stream goes on").expect("no error");
            if wanted(&event.kind) {
                return (event.kind, std::mem::take(&mut before));
            }
            before.push(event.kind);
        }
    })
    .await
}

fn requests(fake: &VirtumancerFake, end: &str) -> usize {
    fake.requests().iter().filter(|request| request.path.ends_with(end)).count()
}

fn sent(fake: &VirtumancerFake, kind: &str) -> usize {
    fake.frames().iter().filter(|frame| frame.contains(&format!("\"{kind}\""))).count()
}

fn vm() -> VmId {
    "kvmsrv/ubuntu-vm-01".into()
}

#[tokio::test]
async fn connection_url_ws() {
    for generation in SERVED {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        assert_eq!(fake.opened_sockets(), 0, "nothing is opened before somebody wants to hear something");
        let events = virtumancer.watch(&EventQuery::all()).await.unwrap();
        assert_eq!((requests(&fake, "/ws"), fake.open_sockets()), (1, 1));
        assert!(fake.requests().iter().any(|request| request.path == "/ws"));
        // One socket for all streams of a connection and its clones.
        let others = (
            virtumancer.watch(&EventQuery::all()).await.unwrap(),
            virtumancer.clone().watch_vm_load(&vm()).await.unwrap(),
        );
        assert_eq!(fake.opened_sockets(), 1);
        drop((events, others));
        until("the socket closes with its last reader", || fake.open_sockets() == 0).await;
        let again = virtumancer.watch(&EventQuery::all()).await.unwrap();
        assert_eq!(fake.opened_sockets(), 2);
        // The task ends with the last handle, streams included.
        drop(virtumancer);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(fake.open_sockets(), 1);
        drop(again);
        until("the socket is gone with the last handle", || fake.open_sockets() == 0).await;
    }
}

#[tokio::test]
async fn subscribe_vm_stats() {
    for generation in SERVED {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let mut loads = virtumancer.watch_vm_load(&vm()).await.unwrap();
        let load = soon("a load", loads.next()).await.unwrap().unwrap();
        assert_eq!(load.vm, vm());
        assert_eq!(
            fake.frames(),
            [r#"{"type":"subscribe-vm-stats","payload":{"hostId":"kvmsrv","vmName":"ubuntu-vm-01"}}"#]
        );
        // A second reader needs no second subscription.
        let mut second = virtumancer.watch_vm_load(&vm()).await.unwrap();
        soon("a load for the second reader", second.next()).await.unwrap().unwrap();
        assert_eq!(fake.frames().len(), 1);
        assert_eq!(requests(&fake, "/vms"), 0, "nobody wanted events: no list is read");
    }
}

#[tokio::test]
async fn unsubscribe_vm_stats() {
    let fake = fake(Generation::Early).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let _events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    let (first, second) =
        (virtumancer.watch_vm_load(&vm()).await.unwrap(), virtumancer.watch_vm_load(&vm()).await.unwrap());
    until("the subscription", || fake.frames().len() == 1).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(fake.frames().len(), 1, "somebody still listens");
    drop(second);
    until("the subscription ends", || fake.frames().len() == 2).await;
    assert_eq!(
        fake.frames()[1],
        r#"{"type":"unsubscribe-vm-stats","payload":{"hostId":"kvmsrv","vmName":"ubuntu-vm-01"}}"#
    );
}

#[tokio::test]
async fn hosts_changed() {
    for generation in SERVED {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
        virtumancer.add_host(&AddHost::new("h2", "qemu:///system")).await.unwrap();
        let (_, before) = find(&mut events, |kind| *kind == EventKind::HostChanged("h2".into())).await;
        assert!(before.is_empty(), "{before:?}");
        virtumancer.remove_host(&"h2".into()).await.unwrap();
        find(&mut events, |kind| *kind == EventKind::HostChanged("h2".into())).await;
        // Both forms: without a payload, and with the document's null. Nothing has changed, so that nothing is told.
        fake.send(r#"{"type":"hosts-changed"}"#);
        fake.send(r#"{"type":"hosts-changed","payload":null}"#);
        fake.set_state("kvmsrv", "db-01", 1);
        let (_, before) = find(&mut events, |kind| matches!(kind, EventKind::VmStateChanged { .. })).await;
        assert!(before.is_empty(), "{before:?}");
    }
}

#[tokio::test]
async fn vms_changed() {
    for generation in SERVED {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
        let mut only = virtumancer.watch(&EventQuery::all().vm("kvmsrv/db-01")).await.unwrap();
        fake.forget_requests();
        drop(virtumancer.power_vm(&"kvmsrv/db-01".into(), &PowerAction::Start).await.unwrap());
        let running = EventKind::VmStateChanged { vm: "kvmsrv/db-01".into(), state: VmState::Running };
        find(&mut events, |kind| *kind == running).await;
        assert_eq!(
            requests(&fake, "/vms"),
            1,
            "a current server sends the frame three times; the list is read once"
        );
        assert_eq!(requests(&fake, "/hosts"), 0, "a known host is not looked for");
        fake.add_vm(FakeVm::new("kvmsrv", "new-01"));
        find(&mut events, |kind| *kind == EventKind::VmCreated("kvmsrv/new-01".into())).await;
        fake.remove_vm("kvmsrv", "new-01");
        find(&mut events, |kind| *kind == EventKind::VmDeleted("kvmsrv/new-01".into())).await;
        fake.send(r#"{"type":"vms-changed","payload":{"hostId":"a host that nobody knows"}}"#);
        let (_, before) = find(&mut only, |kind| *kind == running).await;
        assert!(before.is_empty(), "{before:?}");
        assert!(soon("nothing else", async { only.next().now_or_never() }).await.is_none());
    }
}

#[tokio::test]
async fn vm_stats_updated() {
    let fake = fake(Generation::Early).stats_every(Duration::from_secs(3600)).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut loads = virtumancer.watch_vm_load(&vm()).await.unwrap();
    until("the subscription", || fake.frames().len() == 1).await;
    // Loads that other clients have asked for come to everybody.
    fake.send(r#"{"type":"vm-stats-updated","payload":{"hostId":"kvmsrv","vmName":"db-01","stats":{"state":1,"memory":1,"cpu_time":1}}}"#);
    fake.send(r#"{"type":"vm-stats-updated","payload":{"hostId":"other","vmName":"ubuntu-vm-01","stats":{"state":1,"memory":1,"cpu_time":1}}}"#);
    // The last frame of a guest that has stopped is no load.
    fake.send(r#"{"type":"vm-stats-updated","payload":{"hostId":"kvmsrv","vmName":"ubuntu-vm-01","stats":{"state":5,"memory":0,"max_mem":0,"vcpu":0,"cpu_time":0,"disk_stats":null,"net_stats":null}}}"#);
    // The document's own example.
    fake.send(r#"{"type":"vm-stats-updated","payload":{"hostId":"kvmsrv","vmName":"ubuntu-vm-01","stats":{"state":1,"memory":2097152,"max_mem":2097152,"vcpu":2,"cpu_time":1234567890,"disk_stats":[{"device":"vda","read_bytes":1024,"write_bytes":2048}],"net_stats":[{"device":"vnet0","read_bytes":4096,"write_bytes":8192}]}}}"#);
    let load = soon("the load", loads.next()).await.unwrap().unwrap();
    assert_eq!(
        (load.memory_total, load.cpu_time),
        (Some(ByteSize::gib(2)), Some(Duration::from_nanos(1_234_567_890)))
    );
    assert_eq!(load.disks[&"vda".into()].read, ByteSize::bytes(1024));
    assert_eq!(load.nics[&"vnet0".into()].sent, ByteSize::bytes(8192));
    // What a current server sends.
    fake.send(r#"{"type":"vm-stats-updated","payload":{"hostId":"kvmsrv","stats":{"cpu_percent":0.33,"cpu_percent_core":1.3,"cpu_percent_raw":1.3,"cpu_percent_guest":50,"cpu_percent_host":0.66,"memory_mb":256,"disk_read_mb":0.001,"uptime":0},"vmName":"ubuntu-vm-01"}}"#);
    let load = soon("the load", loads.next()).await.unwrap().unwrap();
    assert_eq!((load.memory_total, load.cpu_usage), (Some(ByteSize::mib(256)), Some(0.5)));
}

#[tokio::test]
async fn host_stats_updated() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut loads = virtumancer.watch_host_load(&"kvmsrv".into()).await.unwrap();
    let load = soon("a load", loads.next()).await.unwrap().unwrap();
    assert_eq!((load.cpu_usage, load.memory_used), (Some(0.7), Some(ByteSize::bytes(4_000_000_000))));
    assert_eq!(fake.frames(), [r#"{"type":"subscribe-host-stats","payload":{"hostId":"kvmsrv"}}"#]);
    let early = self::fake(Generation::Early).start().await.unwrap();
    let error = connect(&early).await.watch_host_load(&"kvmsrv".into()).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}

#[tokio::test]
async fn host_connection_changed() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    fake.set_connected("kvmsrv", false);
    let lost = EventKind::VmStateChanged { vm: vm(), state: VmState::Unreachable };
    let (_, before) = find(&mut events, |kind| *kind == lost).await;
    assert!(before.contains(&EventKind::HostChanged("kvmsrv".into())), "{before:?}");
    fake.set_connected("kvmsrv", true);
    let back = EventKind::VmStateChanged { vm: vm(), state: VmState::Running };
    find(&mut events, |kind| *kind == back).await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again_with_its_subscriptions_and_told() {
    for generation in SERVED {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let mut events = virtumancer.watch(&EventQuery::all().vm(vm())).await.unwrap();
        let mut loads = virtumancer.watch_vm_load(&vm()).await.unwrap();
        soon("a load", loads.next()).await.unwrap().unwrap();
        for round in 1..=3 {
            fake.cut_sockets();
            let resync = |kind: &EventKind| matches!(kind, EventKind::Resync { .. });
            let (kind, _) = find(&mut events, resync).await;
            assert!(matches!(&kind, EventKind::Resync { reason } if !reason.is_empty()));
            until("the subscription is made again", || sent(&fake, "subscribe-vm-stats") == round + 1).await;
        }
        assert_eq!(fake.opened_sockets(), 4);
        while loads.next().now_or_never().is_some() {}
        soon("a load after that", loads.next()).await.unwrap().unwrap();
        // And events come again.
        fake.set_state("kvmsrv", "ubuntu-vm-01", 5);
        let off = EventKind::VmStateChanged { vm: vm(), state: VmState::Stopped };
        find(&mut events, |kind| *kind == off).await;
    }
}

#[tokio::test]
async fn attempts_wait_longer_and_longer_while_the_server_refuses() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    fake.refuse_sockets(true);
    fake.cut_sockets();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let tries = requests(&fake, "/ws");
    assert!((2..=6).contains(&tries), "{tries} tries in 1.5 s");
    fake.refuse_sockets(false);
    let (_, before) = find(&mut events, |kind| matches!(kind, EventKind::Resync { .. })).await;
    assert!(before.is_empty(), "a refused attempt is no event: {before:?}");
}

#[tokio::test]
async fn a_first_connection_that_fails_is_an_error_and_leaves_nothing_behind() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    fake.refuse_sockets(true);
    let error = virtumancer.watch(&EventQuery::all()).await.map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), error.operation()),
        (ErrorKind::Backend, Some(hypervisor_core::Operation::Watch)),
        "{error}"
    );
    let error = virtumancer.watch_vm_load(&vm()).await.unwrap_err();
    assert_eq!(error.target(), Some("vm `kvmsrv/ubuntu-vm-01`"), "{error}");
    let tries = requests(&fake, "/ws");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(requests(&fake, "/ws"), tries, "nobody wants anything any more");
    fake.refuse_sockets(false);
    drop(virtumancer.watch(&EventQuery::all()).await.unwrap());
}

#[tokio::test]
async fn pings_are_answered() {
    let fake = fake(Generation::Current).ping_every(Duration::from_millis(30)).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let _events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    until("pongs", || fake.pongs() >= 3).await;
    assert_eq!((fake.open_sockets(), fake.opened_sockets()), (1, 1));
}

#[tokio::test]
async fn what_is_no_frame_is_left_out() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    for odd in [
        "",
        "not json",
        "[]",
        "{}",
        "null",
        r#"{"type":7}"#,
        r#"{"type":"vms-changed"}"#,
        r#"{"type":"vms-changed","payload":[]}"#,
        r#"{"type":"teleported","payload":{"x":[1]}}"#,
        r#"{"type":"vm-stats-updated","payload":{"stats":9}}"#,
    ] {
        fake.send(odd);
    }
    fake.set_state("kvmsrv", "db-01", 1);
    let (_, before) = find(&mut events, |kind| matches!(kind, EventKind::VmStateChanged { .. })).await;
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(fake.opened_sockets(), 1);
}

#[tokio::test]
async fn a_guest_that_was_off_is_subscribed_to_again() {
    for generation in [Generation::Early, Generation::Current] {
        let fake = fake(generation).start().await.unwrap();
        let virtumancer = connect(&fake).await;
        let mut loads = virtumancer.watch_vm_load(&vm()).await.unwrap();
        soon("a load", loads.next()).await.unwrap().unwrap();
        fake.set_state("kvmsrv", "ubuntu-vm-01", 5);
        // The server drops the subscription at its next look, without a word.
        tokio::time::sleep(Duration::from_millis(150)).await;
        while loads.next().now_or_never().is_some() {}
        fake.set_state("kvmsrv", "ubuntu-vm-01", 1);
        soon("a load after the start", loads.next()).await.unwrap().unwrap();
        assert!(sent(&fake, "subscribe-vm-stats") >= 2);
    }
}

#[tokio::test]
async fn a_subscription_that_the_server_dropped_without_a_word_is_made_again() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut loads = virtumancer.watch_vm_load(&vm()).await.unwrap();
    soon("a load", loads.next()).await.unwrap().unwrap();
    // Paused and resumed behind the server's back: no frame tells of it.
    fake.set_state_quietly("kvmsrv", "ubuntu-vm-01", 3);
    tokio::time::sleep(Duration::from_millis(150)).await;
    while loads.next().now_or_never().is_some() {}
    fake.set_state_quietly("kvmsrv", "ubuntu-vm-01", 1);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(loads.next().now_or_never().is_none() && sent(&fake, "subscribe-vm-stats") == 1);
    // From here on time passes as soon as nobody has anything to do.
    tokio::time::pause();
    let load = tokio::time::timeout(Duration::from_secs(60), loads.next()).await;
    load.expect("a load after at most some heartbeats").unwrap().unwrap();
    assert!(sent(&fake, "subscribe-vm-stats") >= 2);
}

#[tokio::test]
async fn a_slow_reader_is_told_that_it_has_missed_something() {
    let fake = fake(Generation::Early).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut slow = virtumancer.watch(&EventQuery::all()).await.unwrap();
    let mut quick = virtumancer.watch(&EventQuery::all()).await.unwrap();
    // 1200 events, more than are kept.
    fake.add_vms("kvmsrv", (0..600).map(|number| FakeVm::new("kvmsrv", format!("n-{number}"))));
    let last = EventKind::VmCreated("kvmsrv/n-99".into());
    find(&mut quick, |kind| *kind == last).await;
    fake.remove_vms("kvmsrv");
    let last = EventKind::VmDeleted("kvmsrv/ubuntu-vm-01".into());
    let (_, before) = find(&mut quick, |kind| *kind == last).await;
    assert!(before.iter().all(|kind| !matches!(kind, EventKind::Resync { .. })));
    let first = soon("the first event", slow.next()).await.unwrap().unwrap();
    assert!(matches!(&first.kind, EventKind::Lagged { missed } if *missed > 0), "{first:?}");
    let next = soon("the next event", slow.next()).await.unwrap().unwrap();
    assert!(matches!(next.kind, EventKind::VmCreated(_) | EventKind::VmDeleted(_)), "{next:?}");
}

#[tokio::test]
async fn a_change_that_the_servers_books_show_late_is_still_told() {
    let fake = fake(Generation::Early).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    fake.forget_requests();
    fake.send(r#"{"type":"vms-changed","payload":{"hostId":"kvmsrv"}}"#);
    until("the first look", || requests(&fake, "/vms") == 1).await;
    fake.set_state_quietly("kvmsrv", "db-01", 1);
    find(&mut events, |kind| matches!(kind, EventKind::VmStateChanged { .. })).await;
    assert_eq!(requests(&fake, "/vms"), 2);
}

#[tokio::test]
async fn names_that_the_server_would_close_the_connection_for_are_refused() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let long = VmId::from(format!("kvmsrv/{}", "x".repeat(600)));
    let error = virtumancer.watch_vm_load(&long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(fake.opened_sockets(), 0);
}

#[tokio::test]
async fn a_server_that_comes_back_at_the_same_place_is_found_again() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    let address = fake.address();
    drop(fake);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fake = soon("the port", async {
        loop {
            match self::fake(Generation::Current).start_at(address).await {
                Ok(fake) => return fake,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    find(&mut events, |kind| matches!(kind, EventKind::Resync { .. })).await;
    fake.set_state("kvmsrv", "db-01", 1);
    find(&mut events, |kind| matches!(kind, EventKind::VmStateChanged { .. })).await;
}

#[tokio::test]
async fn a_reader_in_another_runtime_is_told_when_the_first_one_ends() {
    let fake = fake(Generation::Current).start().await.unwrap();
    let url = fake.url();
    // The runtime in which the socket was opened goes away, the handle does not.
    let opening = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(async {
            let virtumancer = Virtumancer::connect(ClientConfig::new(&url).unwrap()).await.unwrap();
            let events = virtumancer.watch(&EventQuery::all()).await.unwrap();
            (virtumancer, events)
        });
        drop(runtime);
        made
    });
    // The fake is served by this thread, which must not block.
    until("the other runtime has ended", || opening.is_finished()).await;
    let (virtumancer, mut events) = opening.join().unwrap();
    let end = soon("the end", events.next()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::Cancelled, "{end}");
    assert!(events.next().await.is_none());
    drop(virtumancer);
}

#[tokio::test]
async fn the_documented_server_tells_loads_over_the_websocket_alone() {
    let fake = fake(Generation::Documented).start().await.unwrap();
    let virtumancer = connect(&fake).await;
    let load = soon("the load", virtumancer.get_vm_metrics(&vm())).await.unwrap();
    assert_eq!(load.memory_total, Some(ByteSize::mib(256)));
    assert_eq!(requests(&fake, "/stats"), 0);
    until("the socket closes", || fake.open_sockets() == 0).await;
    let error = virtumancer.get_vm_metrics(&"kvmsrv/db-01".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let (scripted, virtumancer) =
        server(Generation::Current, |line| (line == "GET /api/v1/hosts").then(|| json("[]"))).await;
    let mut events = virtumancer.watch(&EventQuery::all()).await.unwrap();
    let opened = |came: Vec<crate::support::Came>| came.iter().filter(|came| came.line == "GET /ws").count();
    assert_eq!(opened(scripted.came()), 1);
    // Nothing but time goes by.
    tokio::time::pause();
    let (kind, _) = loop {
        if let Some(event) = events.next().await {
            break (event.unwrap().kind, ());
        }
    };
    assert!(matches!(&kind, EventKind::Resync { reason } if reason.contains("silent")), "{kind:?}");
    assert!(opened(scripted.came()) >= 1);
}
