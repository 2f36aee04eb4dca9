//! Secrets that are planted in every place that takes one, and looked for in what is logged at the finest level, in every error, in `Debug` and
//! in the addresses that are asked for.

use std::fmt::Debug;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use hypervisor_client::dialect::hypersdk::HyperSdk;
use hypervisor_client::dialect::hypersdk::wire::{JobDefinition, JobQuery, VCenter};
use hypervisor_client::dialect::v1::{TokenSpec, V1, WebhookSpec};
use hypervisor_client::dialect::virtualization_mcp::VirtualizationMcp;
use hypervisor_client::dialect::virtumancer::{AddHost, Virtumancer};
use hypervisor_client::{ClientConfig, Dialect};
use hypervisor_core::Compute as _;
use hypervisor_core::model::{EventQuery, PageRequest, PowerAction, VmQuery};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::Ended;

/// What is looked for. It stands in every secret of these tests, and in nothing else.
const CANARY: &str = "canary";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for dialect in Dialect::ALL {
        for who in WHO {
            let run = move || check(dialect, who).map_err(Failed::from);
            trials.push(Trial::test(format!("canaries::{dialect}::{who:?}"), run));
        }
    }
    trials
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Token,
    Key,
    User,
    Client,
}

const WHO: [Who; 4] = [Who::Token, Who::Key, Who::User, Who::Client];

impl Who {
    fn on(self, config: ClientConfig) -> ClientConfig {
        match self {
            Self::Token => config.token("canary-token"),
            Self::Key => config.api_key("canary-key"),
            Self::User => config.basic("bob", "canary-password"),
            Self::Client => config.oauth("client", "canary-secret"),
        }
    }
}

/// Keeps every event and span with all its fields.
struct Recorder(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut log = self.0.lock().unwrap();
        let _ = write!(log, "\n{}: ", span.metadata().name());
        span.record(&mut Fields(&mut log));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().unwrap();
        let _ = write!(log, "\n{} {}: ", event.metadata().level(), event.metadata().target());
        event.record(&mut Fields(&mut log));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A server that gives every dialect enough to be connected to, hands out secrets, repeats those that it got, and refuses the rest.
struct Gossip;

impl Respond for Gossip {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let ok = |body: Value| ResponseTemplate::new(200).set_body_json(body);
        let vcenter = json!({"server": "v", "username": "u", "password": "canary-vcenter"});
        match (request.method.as_str(), request.url.path()) {
            (_, "/v1/info") => ok(json!({"success": true, "data": {"version": "1"}})),
            (_, "/v1/oauth/token" | "/auth/token" | "/api/v1/auth/token") => ok(json!({
                "access_token": "canary-access", "refresh_token": "canary-refresh", "token_type": "bearer", "expires_in": 60,
            })),
            ("POST", "/v1/auth/tokens") => ok(json!({"success": true, "data": {
                "token_id": "t", "access_token": "canary-made", "refresh_token": "canary-refresh", "secret": "canary-s",
            }})),
            (_, "/v1/webhooks") => ok(json!({"success": true, "data": {
                "id": "w", "url": "https://h", "secret": "canary-hook",
                "webhooks": [{"id": "w", "url": "https://h", "secret": "canary-hook"}],
            }})),
            (_, "/health") => ok(json!({"status": "healthy"})),
            (_, "/status") => ok(json!({"version": "0.0.1"})),
            ("POST", "/api/login") => ok(json!({"token": "canary-session", "username": "bob"})),
            (_, "/jobs/query") => {
                ok(json!({"jobs": [{"definition": {"id": "j", "vcenter": vcenter}, "status": "failed"}]}))
            }
            (_, "/api/v1/health") => ok(json!({"ok": true})),
            (_, "/api/v1/hosts") => {
                ok(json!([{"id": "h", "uri": "qemu+libssh2://root:canary-uri@h/system"}]))
            }
            (_, "/api/v1/settings/metrics/runtime") => ok(json!({})),
            _ => ResponseTemplate::new(401).set_body_json(json!({"error": "who are you?"})),
        }
    }
}

fn check(dialect: Dialect, who: Who) -> Ended {
    let log = Arc::new(Mutex::new(String::new()));
    let recorder = Recorder(Arc::clone(&log));
    // One thread, so that the subscriber of this thread hears everything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (seen, asked): (String, Vec<String>) =
        tracing::subscriber::with_default(recorder, || runtime.block_on(talk(dialect, who)));
    let log = log.lock().unwrap().clone();
    if !asked.is_empty() && !log.contains("TRACE") && !log.contains("DEBUG") {
        return Err("nothing at all was logged: the test hears nothing".to_owned());
    }
    for (place, text) in [("what is shown", &seen), ("the log", &log)] {
        if let Some(line) = text.lines().find(|line| line.contains(CANARY)) {
            return Err(format!("{place} has a secret: {line}"));
        }
    }
    // The daemon's own API asks for a vCenter's password there.
    let open = |url: &&String| url.contains(CANARY) && !url.contains("/vms/list?");
    match asked.iter().find(open) {
        Some(url) => Err(format!("a secret was in an address: {url}")),
        None => Ok(()),
    }
}

/// Everything that can be seen of some calls, and the addresses that were asked for.
async fn talk(dialect: Dialect, who: Who) -> (String, Vec<String>) {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(Gossip).mount(&server).await;
    let mut seen = String::new();
    let mut show = |what: &dyn Debug| {
        let _ = writeln!(seen, "{what:?}");
    };
    let plain = || who.on(ClientConfig::new(&server.uri()).unwrap().speaks(dialect));
    show(&plain());
    show(&plain().to_string());
    // Refused: it would go over plain http.
    show(&hypervisor_client::connect(plain()).await.err());
    let config = plain().allow_plain_http_credentials();
    let connected = hypervisor_client::connect(config.clone()).await;
    if let Ok(hv) = &connected {
        show(&hv.info());
        show(&hv.list_vms(&VmQuery::all(), &PageRequest::first()).await);
        show(&hv.power_vm(&"h/a".into(), &PowerAction::Start).await);
        show(&hv.watch(&EventQuery::all()).await.err());
    }
    show(&connected.err());
    match dialect {
        Dialect::V1 => {
            if let Ok(v1) = V1::connect(config).await {
                show(&v1);
                show(&v1.create_token(&TokenSpec::new("t", ["vm:read"])).await);
                let hook = WebhookSpec::new("https://h", ["vm.created"]).secret("canary-hook");
                show(&hook);
                show(&v1.create_webhook(&hook).await);
                show(&v1.list_webhooks(&PageRequest::first()).await);
            }
        }
        Dialect::HyperSdk => {
            if let Ok(hypersdk) = HyperSdk::connect(config).await {
                let (api, password) = (hypersdk.api(), "canary-password".into());
                show(&hypersdk);
                show(&api.login("bob", &password).await);
                let vcenter = VCenter::new("v", "u", "canary-vcenter".into());
                show(&api.vsphere_vms(Some(&vcenter)).await.err());
                let job = JobDefinition::new("/DC/vm/a", "/srv/a").vcenter(vcenter);
                show(&api.submit_jobs(&[job]).await.err());
                show(&api.query_jobs(&JobQuery::all()).await);
            }
        }
        Dialect::Virtumancer => {
            if let Ok(virtumancer) = Virtumancer::connect(config).await {
                show(&virtumancer);
                show(&virtumancer.hosts().await);
                show(&virtumancer.get_host(&"h".into()).await);
                let host = AddHost::new("g", "qemu+libssh2://root:canary-uri@g/system");
                show(&host);
                show(&virtumancer.add_host(&host).await);
            }
        }
        _ => {
            if let Ok(mcp) = VirtualizationMcp::connect(config).await {
                show(&mcp);
                show(&mcp.templates().await.err());
            }
        }
    }
    let asked = server.received_requests().await.unwrap();
    (seen, asked.iter().map(|request| request.url.to_string()).collect())
}
