use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::*;
use crate::layer::{Counters, Latency, RetryPolicy, Stack, Trace};
use crate::operation::Operation;

/// The fields of every span, in the order of the spans, and the text of every event.
#[derive(Clone, Default)]
struct Recorder {
    spans: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    events: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = BTreeMap::from([("span".to_owned(), span.metadata().target().to_owned())]);
        span.record(&mut Fields(&mut fields));
        let mut spans = self.spans.lock().unwrap();
        spans.push(fields);
        Id::from_u64(u64::try_from(spans.len()).unwrap())
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let index = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Fields(&mut self.spans.lock().unwrap()[index]));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        self.events.lock().unwrap().push(fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Records what this thread does. While there is but one subscriber, `tracing` asks the thread that comes to a span first whether anybody
/// wants it, and other tests' threads say no; the second subscriber makes it ask for every thread.
fn record() -> (Recorder, DefaultGuard) {
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Recorder::default()));
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    (recorder, guard)
}

fn stack(backend: &Arc<Scripted>) -> Arc<dyn Hypervisor> {
    Stack::new(Arc::clone(backend) as Arc<dyn Hypervisor>).trace().retry(RetryPolicy::new()).limit(4).build()
}

#[tokio::test(start_paused = true)]
async fn one_span_for_a_call_with_all_its_attempts() {
    let (recorder, _default) = record();
    let last = Error::new(ErrorKind::PermissionDenied, "you may not").with_request_id("req-9");
    let backend = Scripted::shared([fail(ErrorKind::Connect), fail(ErrorKind::Connect), Step::Fail(last)]);
    stack(&backend).power_vm(&"web-1".into(), &PowerAction::Start).await.unwrap_err();
    let spans = recorder.spans.lock().unwrap().clone();
    let ours: Vec<_> = spans.iter().filter(|span| span["span"] == "hypervisor").collect();
    assert_eq!(ours.len(), 1);
    let expected = [
        ("otel.name", "start_vm"),
        ("otel.kind", "client"),
        ("otel.status_code", "ERROR"),
        ("error.type", "permission_denied"),
        ("server.address", "host.example"),
        ("hypervisor.operation", "start_vm"),
        ("hypervisor.backend", "scripted"),
        ("hypervisor.target", "vm web-1"),
        ("hypervisor.attempts", "3"),
        ("hypervisor.queued_ms", "0"),
        ("hypervisor.outcome", "permission_denied"),
        ("hypervisor.request_id", "req-9"),
    ];
    for (field, value) in expected {
        assert_eq!(ours[0].get(field).map(String::as_str), Some(value), "{field}");
    }
    assert_eq!(ours[0].len(), expected.len() + 1, "{:?}", ours[0]);
    assert_eq!(recorder.events.lock().unwrap().len(), 2, "one event for each repetition");
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_sent_or_answered_enters_a_span_or_an_event() {
    let (recorder, _default) = record();
    const SECRET: &str = "hunter2";
    let leaky = || Step::Fail(Error::new(ErrorKind::Locked, "the server says hunter2"));
    let output = ExecOutput::exited(0, Bytes::from(SECRET), Bytes::from(SECRET));
    let backend = Scripted::shared([
        leaky(),
        answer(Started::done(VmId::from("v"))),
        leaky(),
        answer(output),
        leaky(),
        answer(()),
    ]);
    let hv = stack(&backend);
    let spec = VmSpec::new("v").cloud_init(CloudInit::user_data(SECRET)).description(SECRET);
    let _ = hv.create_vm(&spec).await.unwrap();
    let exec =
        ExecSpec::new("/bin/sh").arg(SECRET).env([("TOKEN".into(), SECRET.into())].into()).stdin(SECRET);
    hv.exec_in_guest(&"v".into(), &exec).await.unwrap();
    let file = Bytes::from(SECRET);
    hv.write_guest_file(&"v".into(), SECRET, file, &WriteFile::replace()).await.unwrap();
    let spans = recorder.spans.lock().unwrap().clone();
    let events = recorder.events.lock().unwrap().clone();
    assert_eq!((spans.len(), events.len()), (3, 3));
    assert!(!format!("{spans:?}{events:?}").contains(SECRET), "{spans:?} {events:?}");
}

#[tokio::test(start_paused = true)]
async fn counters_add_up() {
    let mut backend = Scripted::new([
        answer(VmInfo::new("v", "v", VmState::Running)),
        fail(ErrorKind::Connect),
        answer(VmInfo::new("v", "v", VmState::Running)),
        fail(ErrorKind::NotFound),
    ]);
    backend.slow = Duration::from_millis(20);
    let backend = Arc::new(backend);
    let counters = Counters::new();
    let retry = RetryPolicy::new().delay(Duration::from_millis(500), Duration::from_secs(1)).without_jitter();
    let hv = Stack::new(Arc::clone(&backend) as Arc<dyn Hypervisor>)
        .trace_with(Trace::with_counters(&counters))
        .retry(retry)
        .build();
    let vm = VmId::from("v");
    let under_way = hv.get_vm(&vm);
    let mut under_way = Box::pin(under_way);
    assert!(futures::poll!(&mut under_way).is_pending());
    assert_eq!(counters.of(Operation::GetVm).in_flight, 1);
    under_way.await.unwrap();
    hv.get_vm(&vm).await.unwrap();
    hv.get_vm(&vm).await.unwrap_err();
    let mut dropped = Box::pin(hv.get_vm(&vm));
    assert!(futures::poll!(&mut dropped).is_pending());
    drop(dropped);

    let counts = counters.of(Operation::GetVm);
    assert_eq!((counts.calls, counts.succeeded, counts.failed(), counts.dropped), (4, 2, 1, 1));
    assert_eq!(counts.errors, BTreeMap::from([(ErrorKind::NotFound, 1)]));
    assert_eq!((counts.in_flight, counts.attempts), (0, 5));
    assert_eq!(counts.latency.sum, Duration::from_millis(20 + 540 + 20));
    let bucket = |millis| Latency::BOUNDS.iter().position(|bound| bound.as_millis() == millis).unwrap();
    assert_eq!(counts.latency.buckets[bucket(25)], 2);
    assert_eq!(counts.latency.buckets[bucket(1000)], 1);
    assert_eq!(counts.latency.buckets.iter().sum::<u64>(), 3);
    assert_eq!(counters.snapshot().keys().collect::<Vec<_>>(), [&Operation::GetVm]);
}
