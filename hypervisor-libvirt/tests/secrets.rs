//! Passwords are planted in every place that takes one, and looked for in everything that is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use common::session::{everything, free_port, refused, uri_to, with_password};
use hypervisor_core::layer::Stack;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{ErrorKind, Hypervisor};
use hypervisor_libvirt::{Libvirt, LibvirtConfig};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Part of every password here, and of nothing else.
const CANARY: &str = "c4n4ry";

/// All that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for &Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut &*self);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What the test itself was told, as text.
#[derive(Default)]
struct Told(String);

impl Told {
    fn hear(&mut self, what: &dyn Debug) {
        writeln!(self.0, "{what:?} {what:#?}").unwrap();
    }

    fn error(&mut self, error: &hypervisor_core::Error) {
        self.0.push_str(&everything(error));
    }
}

/// One test, because the log is that of the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_ever_told() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let mut told = Told::default();

    // Nobody there, with the password in each place that takes one, well written or not.
    let port = free_port();
    let bare: LibvirtConfig = format!("qemu+tcp://127.0.0.1:{port}/system").parse().unwrap();
    let inside: LibvirtConfig = format!("qemu+tcp://ann:{CANARY}-1@127.0.0.1:{port}/system").parse().unwrap();
    for config in [bare.credentials("ann", format!("{CANARY}-2")), inside] {
        told.hear(&config);
        write!(told.0, "{config} {}", config.uri()).unwrap();
        let error = refused(config).await;
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        told.error(&error);
    }
    for broken in ["%zz", "/x", "?x", "#x/y", ":x/y", "@x:/y"] {
        let uri = format!("qemu+tcp://ann:{CANARY}{broken}@127.0.0.1:{port}/system");
        match LibvirtConfig::new(&uri) {
            Ok(config) => {
                told.hear(&config);
                told.0.push_str(config.uri());
            }
            Err(error) => told.error(&error),
        }
    }

    if common::needed("no_password_is_ever_told, at a daemon", "HYPERVISOR_TEST_LIBVIRT_URI").is_some() {
        at_a_daemon(&mut told).await;
    }

    let logged = log.0.lock().unwrap().clone();
    assert!(
        logged.contains("a libvirt") || logged.contains("libvirt connection"),
        "nothing was logged: {logged}"
    );
    for text in [&told.0, &logged] {
        let at = text.find(CANARY).map(|at| text.get(at.saturating_sub(200)..(at + 100).min(text.len())));
        assert!(at.is_none(), "a password was told: {at:?}");
    }
}

/// A daemon that asks for the password, and calls of every kind with the usual layers around.
async fn at_a_daemon(told: &mut Told) {
    let right = format!("{CANARY}-3");
    let daemon = with_password("alice", &right);
    let config: LibvirtConfig = uri_to(&daemon, &format!("alice:{right}@")).parse().unwrap();
    let libvirt = Arc::new(Libvirt::connect(config.clone()).await.unwrap());
    told.hear(&config);
    told.hear(&libvirt);
    let hv = Stack::standard(Arc::clone(&libvirt) as Arc<dyn Hypervisor>).trace().build();
    told.hear(&hv.info());
    let spec = VmSpec::new("secret").memory(ByteSize::mib(64));
    let vm: VmId = hv.vms().create(&spec).await.unwrap().wait().await.unwrap().into();
    told.hear(&hv.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap());
    told.hear(&hv.get_vm_config(&vm).await.unwrap());
    told.error(&hv.create_vm(&spec).await.unwrap_err());
    told.error(&hv.ping_agent(&vm).await.unwrap_err());

    // Another daemon to move to has a password of its own.
    let elsewhere = format!("qemu+tcp://bob:{CANARY}-4@127.0.0.1:{}/system", free_port());
    match hv.vm(vm.clone()).migrate(&MigrateSpec::to(elsewhere)).await {
        Ok(task) => told.error(&task.wait().await.unwrap_err()),
        Err(error) => told.error(&error),
    }
    for task in hv.list_tasks(&TaskQuery::all(), &PageRequest::first()).await.unwrap().items {
        told.hear(&task);
        told.hear(&hv.get_task_log(&task.id, 0, 1000).await.unwrap());
    }
    let _ = hv.delete_vm(&vm, &DeleteVm::keep_disks()).await.unwrap();

    // A password that is refused, and one that is right at a daemon that goes away.
    let error = refused(uri_to(&daemon, &format!("alice:{CANARY}-5@")).parse().unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    told.error(&error);
    drop(daemon);
    let error = libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap_err();
    told.error(&error);
    let error = libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap_err();
    told.error(&error);
    told.hear(&libvirt);
}
