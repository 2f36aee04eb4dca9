//! Answers that no server should give, to each dialect, for a call that reads and one that writes: no panic, no more memory than allowed, and
//! an error of the right kind that says what is known of the effect.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::Generation;
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::{FakeHost, FakeVm};
use hypervisor_core::model::{ByteSize, PageRequest, PowerAction, VmId, VmInfo, VmQuery, VmSpec, VmState};
use hypervisor_core::{Effect, ErrorKind, Hypervisor, Retry};
use libtest_mimic::{Failed, Trial};

use super::spoiler::{Spoiler, Spoilt};
use super::{Ended, address, in_a_runtime};

const MIB: usize = 1 << 20;
/// How much of a body the driver may keep.
const MOST: u64 = 1;
/// How much more than that may be on its way, in the buffers of a loopback connection.
const ON_ITS_WAY: usize = 24 * MIB;

const DIALECTS: [&str; 4] = ["v1", "hypersdk", "virtumancer", "virtualization-mcp"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for dialect in DIALECTS {
        for (name, spoilt, kind) in table() {
            for writes in [false, true] {
                let spoilt = spoilt.clone();
                let what = if writes { "write" } else { "read" };
                let run = move || in_a_runtime(check(dialect, writes, spoilt, kind)).map_err(Failed::from);
                trials.push(Trial::test(format!("answers::{dialect}::{what}::{name}"), run));
            }
        }
        let run = move || in_a_runtime(strange_but_right(dialect)).map_err(Failed::from);
        trials.push(Trial::test(format!("answers::{dialect}::strange_but_right"), run));
    }
    trials
}

fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What comes, and the kind of the error.
fn table() -> Vec<(&'static str, Spoilt, ErrorKind)> {
    const JSON: &str = "application/json";
    let page = "<!doctype html><html><head><title>Welcome</title></head><body>Sign in</body></html>";
    let short = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"data\":"
        .to_vec();
    let bytes = |bytes| Spoilt::Bytes(bytes);
    vec![
        (
            "truncated_json",
            bytes(answer("200 OK", JSON, r#"{"status":"success","data":{"vms":[{"na"#)),
            ErrorKind::Protocol,
        ),
        ("html", bytes(answer("200 OK", "text/html; charset=utf-8", page)), ErrorKind::Protocol),
        ("html_called_json", bytes(answer("200 OK", JSON, page)), ErrorKind::Protocol),
        ("html_of_a_proxy", bytes(answer("502 Bad Gateway", "text/html", page)), ErrorKind::Transport),
        ("no_http", bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), ErrorKind::Transport),
        ("nothing", bytes(Vec::new()), ErrorKind::Transport),
        ("shorter_than_said", bytes(short.clone()), ErrorKind::Transport),
        ("reset_in_the_body", Spoilt::Reset(short), ErrorKind::Transport),
        ("redirects_without_end", Spoilt::Circle, ErrorKind::Protocol),
        ("a_gibibyte", Spoilt::Flood { bytes: 1 << 30, chunked: false }, ErrorKind::Protocol),
        ("a_gibibyte_in_chunks", Spoilt::Flood { bytes: 1 << 30, chunked: true }, ErrorKind::Protocol),
        ("slow_loris", Spoilt::Drip, ErrorKind::Timeout),
    ]
}

/// A driver with a spoiler between it and a fake that has one guest, which is off.
struct Bench {
    hv: Arc<dyn Hypervisor>,
    spoiler: Spoiler,
    vm: VmId,
    _fake: Box<dyn Any + Send + Sync>,
}

async fn bench(dialect: &str) -> Bench {
    let (uri, fake): (String, Box<dyn Any + Send + Sync>) = match dialect {
        "v1" => {
            let fake = Fake::v1().start().await;
            (fake.uri(), Box::new(fake))
        }
        "hypersdk" => {
            let fake = Fake::hypersdk().with_vm("a", false).start().await;
            (fake.url(), Box::new(fake))
        }
        "virtumancer" => {
            let fake = Fake::virtumancer().generation(Generation::Current).with_host(FakeHost::new("h"));
            let fake = fake.with_vm(FakeVm::new("h", "a")).start().await.unwrap();
            (fake.url(), Box::new(fake))
        }
        _ => {
            let fake = Fake::virtualization_mcp().start().await;
            (fake.uri(), Box::new(fake))
        }
    };
    let spoiler = Spoiler::start(address(&uri)).await;
    let url = format!("http+{dialect}://{}?hv_timeout=2s", spoiler.address);
    let config = ClientConfig::new(&url).unwrap();
    let config = config.with_http(|http| http.max_body(ByteSize::mib(MOST)));
    let hv = hypervisor_client::connect(config).await.unwrap();
    let vm = match dialect {
        "hypersdk" => "a".into(),
        "virtumancer" => "h/a".into(),
        _ => hv.vms().create(&VmSpec::new("a")).await.unwrap().wait().await.unwrap().id().clone(),
    };
    Bench { hv, spoiler, vm, _fake: fake }
}

impl Bench {
    async fn list(&self) -> hypervisor_core::Result<Vec<VmInfo>> {
        self.hv.list_vms(&VmQuery::all(), &PageRequest::first()).await.map(|page| page.items)
    }
}

async fn check(dialect: &str, writes: bool, spoilt: Spoilt, kind: ErrorKind) -> Ended {
    let bench = bench(dialect).await;
    let circle = matches!(spoilt, Spoilt::Circle);
    let lasting = matches!(spoilt, Spoilt::Drip | Spoilt::Flood { .. });
    bench.spoiler.spoil(writes, "", spoilt);
    let error = if writes {
        bench.hv.power_vm(&bench.vm, &PowerAction::Start).await.map(|_| String::new())
    } else {
        bench.list().await.map(|list| format!("{list:?}"))
    };
    let error = match error {
        Ok(answer) => return Err(format!("it was taken for a success: {answer}")),
        Err(error) => error,
    };
    if error.kind() != kind {
        return Err(format!("the kind is {} where {kind} is expected: {error}", error.kind()));
    }
    if bench.spoiler.struck() == 0 {
        return Err("nothing was spoilt".to_owned());
    }
    match (writes, error.effect()) {
        (false, Effect::None) | (true, Effect::Unknown) => {}
        // A redirect is all that was answered, so that nothing was done.
        (true, Effect::None) if circle => {}
        (_, effect) => return Err(format!("the effect is {effect:?}: {error}")),
    }
    if writes && !circle && error.retry() == Retry::Safe {
        return Err(format!("it says that a repetition is safe: {error}"));
    }
    if circle && bench.spoiler.struck() > 20 {
        return Err(format!("it went round {} times", bench.spoiler.struck()));
    }
    let limit = usize::try_from(MOST).unwrap() * MIB + ON_ITS_WAY;
    if bench.spoiler.written() > limit {
        return Err(format!("{} bytes were taken in where {limit} are enough", bench.spoiler.written()));
    }
    if lasting {
        // The connection is given up, not read on in the background.
        let left = async {
            while !bench.spoiler.is_over() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(20), left).await;
        left.map_err(|_| "the connection is still read from".to_owned())?;
    }
    Ok(())
}

/// Empty lists of every spelling, words that nobody knows, and success without a body.
async fn strange_but_right(dialect: &str) -> Ended {
    let (place, empty, odd): (&str, &[&str], &str) = match dialect {
        "v1" => (
            "/vms",
            &[
                r#"{"success":true,"data":{"vms":null}}"#,
                r#"{"success":true,"data":{"items":[]},"meta":null}"#,
            ],
            r#"{"success":true,"data":{"vms":[{"id":"a","name":"a","status":"levitating","odd":{"x":[]}}]}}"#,
        ),
        "hypersdk" => (
            "/libvirt/domain",
            &[r#"{"domains":null,"total":0}"#, "null", r#"{"status":"success","data":null}"#],
            r#"{"domains":[{"id":"-","name":"a","state":"levitating","uuid":"u"}],"name":"a","state":"levitating","uuid":"u"}"#,
        ),
        "virtumancer" => (
            "/vms",
            &["null", "[]"],
            r#"[{"name":"a","uuid":"u","domain_uuid":"d","state":"ACTIVE","libvirtState":"LEVITATING","odd":1}]"#,
        ),
        _ => (
            "/vms",
            &[r#"{"status":"success","vms":null}"#, r#"{"status":"success","data":[],"meta":null}"#],
            r#"{"status":"success","data":[{"id":"a","name":"a","state":"levitating","odd":null}]}"#,
        ),
    };
    let bench = bench(dialect).await;
    for body in empty {
        bench.spoiler.spoil(false, place, Spoilt::Bytes(answer("200 OK", "application/json", body)));
        let list = bench.list().await.map_err(|error| format!("{body}: {error}"))?;
        if !list.is_empty() {
            return Err(format!("{body}: {list:?}"));
        }
    }
    bench.spoiler.spoil(false, place, Spoilt::Bytes(answer("200 OK", "application/json", odd)));
    let list = bench.list().await.map_err(|error| format!("{odd}: {error}"))?;
    let states: Vec<&VmState> = list.iter().map(|vm| &vm.state).collect();
    let kept =
        |state: &VmState| matches!(state, VmState::Unknown(word) if word.eq_ignore_ascii_case("levitating"));
    if !matches!(states.as_slice(), [state] if kept(state)) {
        return Err(format!("{odd}: {states:?}"));
    }
    // Nothing is success for what writes, and no list.
    let nothing = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec();
    bench.spoiler.spoil(true, "", Spoilt::Bytes(nothing.clone()));
    let started = bench.hv.power_vm(&bench.vm, &PowerAction::Start).await;
    let _ = started.map_err(|error| format!("a 204 for a start: {error}"))?;
    bench.spoiler.spoil(false, place, Spoilt::Bytes(nothing));
    match bench.list().await {
        Ok(list) if list.is_empty() => Ok(()),
        Err(error) if error.kind() == ErrorKind::Protocol && error.effect() == Effect::None => Ok(()),
        other => Err(format!("a 204 for a list: {other:?}")),
    }
}
