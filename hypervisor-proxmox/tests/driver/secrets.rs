//! Canaries: secrets that must not be seen anywhere, planted in every place that a secret has.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hypervisor_core::Hypervisor;
use hypervisor_core::layer::Stack;
use hypervisor_core::model::{ConsoleKind, PageRequest, PowerAction, VmChange, VmQuery, VmSpec};
use hypervisor_core::traits::Compute as _;
use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::vm;

/// Everything that is logged, at every level, by this crate and by those below it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn line(&self, text: std::fmt::Arguments<'_>) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(log, "{text}");
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Fields<'a>(&'a Log, &'static str);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.line(format_args!("{} {}={value:?}", self.1, field.name()));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(self, span.metadata().name()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(self, "record"));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(self, event.metadata().target()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.line(format_args!("{} {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

/// The libraries below use `log`, which there is one of.
fn plain_log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        log::set_boxed_logger(Box::new(log.clone())).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        log
    })
}

/// Fails where a canary is seen.
fn free_of(what: &str, text: &str, canaries: &[&str]) {
    for canary in canaries {
        assert!(!text.contains(canary), "{what} shows the secret `{canary}`:\n{text}");
    }
}

/// What a program may show of a connection, an error or a panic.
fn shown(proxmox: &Proxmox, config: &ProxmoxConfig) -> String {
    let everything =
        format!("{proxmox:?} {proxmox:#?} {:?} {:?} {config:?} {config:#?}", proxmox.api(), proxmox.info());
    let panic = catch_unwind(AssertUnwindSafe(|| panic!("{proxmox:?} {config:?}"))).unwrap_err();
    format!("{everything} {}", panic.downcast_ref::<String>().unwrap())
}

/// A round of calls: some that succeed, some that are refused, some that break.
async fn round(pve: &FakePve, proxmox: &Proxmox) -> String {
    let mut errors = String::new();
    let mut note = |error: hypervisor_core::Error| {
        let _ = writeln!(errors, "{error} {error:?} {error:#?} {}", serde_json::to_string(&error).unwrap());
    };
    let hv = Stack::standard(Arc::new(proxmox.clone())).build();
    hv.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    let _made = hv.create_vm(&VmSpec::new("seen")).await.unwrap();
    let access = hv.get_console(&vm(100), &ConsoleKind::Vnc).await.unwrap();
    assert!(access.password.is_some());
    proxmox.open_console(&vm(100), &ConsoleKind::Vnc).await.unwrap();
    note(hv.power_vm(&vm(100), &PowerAction::Start).await.unwrap_err());
    note(hv.get_vm(&vm(999)).await.unwrap_err());
    note(hv.ping_agent(&vm(101)).await.unwrap_err());
    pve.faults().on("PUT", "/nodes/*/qemu/*/config").drop_after();
    note(proxmox.update_vm(&vm(101), &VmChange::new().cpus(2)).await.unwrap_err());
    pve.faults().on("GET", "/nodes/*/qemu/*/config").truncate(7);
    note(proxmox.get_vm_config(&vm(101)).await.unwrap_err());
    pve.faults().on("GET", "/version").reply(401, "invalid token value!", "");
    pve.faults().on("GET", "/version").reply(401, "invalid PVE ticket", "");
    note(proxmox.api().get("/version").await.unwrap_err());
    let form = Form::new().text("cipassword", "canary-of-cloud-init").text("bogus", "1");
    note(proxmox.api().put("/nodes/pve1/qemu/101/config", &form).await.unwrap_err());
    errors
}

async fn start() -> FakePve {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(5))
        .vm(FakeGuest::vm(100).running())
        .vm(FakeGuest::vm(101))
        .user("ann@pve", "canary-password")
        .totp("ann@pve", "135790")
        .api_token("ann@pve", "ci", "canary-token-secret", false)
        .grant("ann@pve", "/", "Administrator");
    pve.start().await.unwrap()
}

#[tokio::test]
async fn no_secret_of_a_token_is_seen() {
    let (plain, log) = (plain_log(), Log::default());
    let _guard = tracing::subscriber::set_default(log.clone());
    let pve = start().await;
    let config = ProxmoxConfig::new(&format!("{}?timeout=10s", pve.url())).unwrap();
    let config = config.token("ann@pve!ci", "canary-token-secret");
    let proxmox = Proxmox::connect(config.clone()).await.unwrap();
    let errors = round(&pve, &proxmox).await;
    let wrong = Proxmox::connect(config.clone().secret("canary-wrong-secret")).await.unwrap_err();
    let canaries = ["canary-token-secret", "canary-wrong-secret", "canary-of-cloud-init"];
    free_of("an error", &format!("{errors} {wrong} {wrong:#?}"), &canaries);
    free_of("Debug or a panic", &shown(&proxmox, &config), &canaries);
    let logged = log.text() + &plain.text();
    assert!(logged.contains("list_vms") || logged.contains("hypervisor"), "nothing was logged: {logged}");
    free_of("the log", &logged, &canaries);
    for seen in pve.requests() {
        free_of("a URL", &seen.path, &canaries);
    }
}

#[tokio::test]
async fn no_password_ticket_or_second_factor_is_seen() {
    let (plain, log) = (plain_log(), Log::default());
    let _guard = tracing::subscriber::set_default(log.clone());
    let pve = start().await;
    // The seed of RFC 6238 in base32; the code of the moment is whatever it is, so the fake is told what to answer.
    let seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let challenge = r#"{"data":{"username":"ann@pve","ticket":"PVE:!tfa!canary-challenge","NeedTFA":1,"CSRFPreventionToken":"canary-half"}}"#;
    pve.faults().on("POST", "/access/ticket").reply(200, "OK", challenge);
    let ticket = r#"{"data":{"username":"ann@pve","ticket":"PVE:ann@pve:canary-ticket","CSRFPreventionToken":"canary-csrf"}}"#;
    pve.faults().on("POST", "/access/ticket").reply(200, "OK", ticket);
    let version = r#"{"data":{"version":"9.1.3","release":"9.1"}}"#;
    pve.faults().on("GET", "/version").reply(200, "OK", version);
    pve.faults().on("GET", "/access/permissions").reply(200, "OK", r#"{"data":{}}"#);
    pve.faults().on("GET", "/cluster/resources").reply(
        200,
        "OK",
        r#"{"data":[{"type":"node","node":"pve1","status":"online"}]}"#,
    );
    let config = ProxmoxConfig::new(&pve.url()).unwrap().password("ann@pve", "canary-password");
    let config = config.totp_secret(seed).unwrap();
    let proxmox = Proxmox::connect(config.clone()).await.unwrap();
    let logins: Vec<_> = pve.requests().into_iter().filter(|seen| seen.path == "/access/ticket").collect();
    assert_eq!(logins.len(), 2, "{logins:?}");
    // The fake knows nothing of that ticket: a new login is asked for, and refused.
    let refused = proxmox.power_vm(&vm(100), &PowerAction::PowerOff).await.unwrap_err();
    let canaries = [
        "canary-password",
        seed,
        "canary-challenge",
        "canary-half",
        "canary-ticket",
        "canary-csrf",
        "canary-of-cloud-init",
    ];
    free_of("an error", &format!("{refused} {refused:?} {refused:#?}"), &canaries);
    free_of("Debug or a panic", &shown(&proxmox, &config), &canaries);
    // And with a ticket that is good.
    let root = ProxmoxConfig::new(&pve.url()).unwrap().password("root@pam", pve.password());
    let good = Proxmox::connect(root.clone()).await.unwrap();
    let errors = round(&pve, &good).await;
    let canaries = [&canaries[..], &[pve.password(), "PVEVNC:", "PVE:root@pam:"]].concat();
    free_of("an error", &errors, &canaries);
    free_of("Debug or a panic", &shown(&good, &root), &canaries);
    free_of("the log", &(log.text() + &plain.text()), &canaries);
}
