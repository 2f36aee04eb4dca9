use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Condvar, Mutex};

use super::*;

#[derive(Debug, PartialEq)]
enum Broken {
    Lost,
    Refused,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl CallError for Broken {
    fn is_disconnect(&self) -> bool {
        matches!(self, Self::Lost)
    }
}

struct Fake {
    number: u32,
    alive: Arc<AtomicBool>,
}

impl Fake {
    fn die(&self) -> Result<(), Broken> {
        self.alive.store(false, Ordering::Release);
        Ok(())
    }
}

impl Connection for Fake {
    fn looks_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}

/// A daemon that can be stopped: calls and openings wait while it is.
#[derive(Default)]
struct Daemon {
    hung: Mutex<bool>,
    wake: Condvar,
    opened: AtomicU32,
    refuse: AtomicBool,
}

impl Daemon {
    fn hang(&self, hung: bool) {
        *self.hung.lock().unwrap() = hung;
        self.wake.notify_all();
    }

    /// A call that waits.
    fn wait(&self) -> Result<(), Broken> {
        self.pass();
        Ok(())
    }

    fn pass(&self) {
        drop(self.wake.wait_while(self.hung.lock().unwrap(), |hung| *hung).unwrap());
    }
}

fn pool(abandoned: usize) -> (Arc<Daemon>, Pool<Fake, Broken>) {
    pool_with(Limits { open: Duration::from_millis(200), abandoned, slow_connections: 1, single: false })
}

fn pool_with(limits: Limits) -> (Arc<Daemon>, Pool<Fake, Broken>) {
    let daemon = Arc::new(Daemon::default());
    let theirs = Arc::clone(&daemon);
    let pool = Pool::new(limits, move || {
        theirs.pass();
        if theirs.refuse.load(Ordering::Acquire) {
            return Err(Broken::Refused);
        }
        let number = theirs.opened.fetch_add(1, Ordering::AcqRel) + 1;
        Ok(Fake { number, alive: Arc::new(AtomicBool::new(true)) })
    });
    (daemon, pool)
}

const SHORT: Duration = Duration::from_millis(80);
const LONG: Duration = Duration::from_secs(10);

async fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..500 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn answers_and_reuses_its_threads_and_connection() {
    let (_daemon, pool) = pool(4);
    for _ in 0..20 {
        let number = pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap();
        assert_eq!(number, 1);
    }
    assert_eq!(pool.generation(), 1);
    assert_eq!(pool.threads.count(), 1, "{pool:?}");
    assert_eq!(pool.run(Lane::Slow, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 2);
}

#[tokio::test]
async fn nobody_waits_for_what_is_left_for_afterwards() {
    let (_daemon, pool) = pool(4);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let ended = Arc::new(AtomicBool::new(false));
    let late = Arc::clone(&ended);
    let call = move |_: &Fake| {
        afterwards(move || {
            let _ended = receiver.recv();
            late.store(true, Ordering::Release);
        });
        Ok(7)
    };
    assert_eq!(pool.run(Lane::Fast, "test", LONG, call).await.unwrap(), 7);
    assert!(!ended.load(Ordering::Acquire));
    // The thread is at work still, so that the next call has another one.
    assert_eq!(pool.run(Lane::Fast, "test", LONG, |_: &Fake| Ok(8)).await.unwrap(), 8);
    assert_eq!((pool.threads.count(), pool.threads.abandoned()), (2, 0));
    drop(sender);
    eventually("it is done", || ended.load(Ordering::Acquire)).await;
}

#[tokio::test]
async fn a_hung_call_times_out_and_the_next_one_gets_another_connection() {
    let (daemon, pool) = pool(4);
    daemon.hang(false);
    let hung = Arc::clone(&daemon);
    pool.run(Lane::Fast, "open", LONG, |_| Ok(())).await.unwrap();
    daemon.hang(true);
    let before = Instant::now();
    let outcome = pool.run(Lane::Fast, "hang", SHORT, move |_| hung.wait()).await;
    assert!(matches!(outcome, Err(Failure::CallTimeout(_))), "{outcome:?}");
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(pool.threads.abandoned(), 1);
    daemon.hang(false);
    eventually("the abandoned thread comes back", || pool.threads.abandoned() == 0).await;
    assert_eq!(pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_with_a_straggler_gets_no_new_calls() {
    let (_daemon, pool) = pool(4);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    let theirs = Arc::clone(&gate);
    let outcome = pool.run(Lane::Fast, "hang", SHORT, move |_| theirs.wait()).await;
    assert!(matches!(outcome, Err(Failure::CallTimeout(_))));
    assert_eq!(pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 2);
    assert_eq!(pool.generation(), 2);
    gate.hang(false);
}

#[tokio::test]
async fn a_hung_opening_times_out() {
    let (daemon, pool) = pool(4);
    daemon.hang(true);
    let before = Instant::now();
    let outcome = pool.run(Lane::Fast, "never", LONG, |_| Ok(())).await;
    assert!(matches!(outcome, Err(Failure::OpenTimeout(_))), "{outcome:?}");
    assert!(before.elapsed() < Duration::from_secs(3));
    daemon.hang(false);
    pool.run(Lane::Fast, "again", LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn abandoned_threads_are_bounded_and_come_back() {
    let (_daemon, pool) = pool(3);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    for _ in 0..3 {
        let theirs = Arc::clone(&gate);
        let outcome = pool.run(Lane::Fast, "hang", SHORT, move |_| theirs.wait()).await;
        assert!(matches!(outcome, Err(Failure::CallTimeout(_))), "{outcome:?}");
    }
    let before = Instant::now();
    let outcome = pool.run(Lane::Slow, "refused", LONG, |_| Ok(())).await;
    assert!(matches!(outcome, Err(Failure::Exhausted(3))), "{outcome:?}");
    assert!(before.elapsed() < SHORT);
    gate.hang(false);
    eventually("the threads come back", || pool.threads.abandoned() == 0).await;
    pool.run(Lane::Fast, "again", LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn the_bound_holds_however_many_call_at_once() {
    let (_daemon, pool) = pool(3);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let calls = (0..12).map(|number| {
        let (theirs, inside, most) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&most));
        let lane = if number % 2 == 0 { Lane::Fast } else { Lane::Slow };
        pool.run(lane, "hang", SHORT * 2, move |_| {
            most.fetch_max(inside.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
            theirs.pass();
            inside.fetch_sub(1, Ordering::AcqRel);
            Ok(())
        })
    });
    let outcomes = futures::future::join_all(calls).await;
    let hung = outcomes.iter().filter(|outcome| matches!(outcome, Err(Failure::CallTimeout(_)))).count();
    assert!((1..=3).contains(&hung) && outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert!(most.load(Ordering::Acquire) <= 3 && pool.threads.abandoned() <= 3, "{pool:?}");
    gate.hang(false);
    eventually("the threads come back", || pool.threads.abandoned() == 0).await;
    pool.run(Lane::Slow, "again", LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn openings_that_hang_are_not_repeated_for_ever() {
    let (daemon, pool) = pool(32);
    daemon.hang(true);
    for _ in 0..30 {
        let outcome = pool.run(Lane::Fast, "open", SHORT, |_| Ok(())).await;
        assert!(matches!(outcome, Err(Failure::OpenTimeout(_))), "{outcome:?}");
    }
    assert!((1..=4).contains(&pool.threads.abandoned()), "{pool:?}");
    daemon.hang(false);
    pool.run(Lane::Fast, "again", LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_connection_lost_in_silence_costs_no_call() {
    let (_daemon, pool) = pool(4);
    let alive = pool.run(Lane::Fast, "keep", LONG, |fake| Ok(Arc::clone(&fake.alive))).await.unwrap();
    alive.store(false, Ordering::Release);
    assert_eq!(pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_dead_connection_is_replaced() {
    let (_daemon, pool) = pool(4);
    let outcome = pool.run(Lane::Fast, "lost", LONG, |_| Err::<(), _>(Broken::Lost)).await;
    assert!(matches!(outcome, Err(Failure::Call(Broken::Lost))));
    assert_eq!(pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 2);
    pool.run(Lane::Fast, "dies", LONG, |fake| fake.die()).await.unwrap();
    assert_eq!(pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 3);
    let outcome = pool.run(Lane::Fast, "fails", LONG, |_| Err::<(), _>(Broken::Refused)).await;
    assert!(matches!(outcome, Err(Failure::Call(Broken::Refused))));
    assert_eq!(pool.generation(), 3, "an ordinary error does not cost the connection");
}

#[tokio::test]
async fn waiting_calls_share_a_failed_opening() {
    let (daemon, pool) = pool(4);
    daemon.refuse.store(true, Ordering::Release);
    daemon.hang(true);
    let calls = (0..4).map(|_| pool.run(Lane::Fast, "refused", LONG, |_| Ok(())));
    let calls = futures::future::join_all(calls);
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        daemon.hang(false);
    };
    let (outcomes, ()) = futures::future::join(calls, release).await;
    for outcome in outcomes {
        assert!(matches!(&outcome, Err(Failure::Open(error)) if **error == Broken::Refused), "{outcome:?}");
    }
    assert_eq!(pool.fast.attempts(), 1);
    daemon.refuse.store(false, Ordering::Release);
    pool.run(Lane::Fast, "again", LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_lets_the_call_go_on() {
    let (_daemon, pool) = pool(4);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    let (done, theirs, flag) = (Arc::new(AtomicBool::new(false)), Arc::clone(&gate), AtomicBool::new(false));
    let flag = Arc::new(flag);
    let (reached, finished) = (Arc::clone(&flag), Arc::clone(&done));
    {
        let call = pool.run(Lane::Fast, "write", LONG, move |_| {
            reached.store(true, Ordering::Release);
            theirs.pass();
            finished.store(true, Ordering::Release);
            Ok(())
        });
        tokio::select! {
            _ = call => panic!("it hangs"),
            () = eventually("the call begins", || flag.load(Ordering::Acquire)) => {}
        }
    }
    assert_eq!(pool.threads.abandoned(), 1);
    gate.hang(false);
    eventually("the call ends", || done.load(Ordering::Acquire) && pool.threads.abandoned() == 0).await;
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let (_daemon, pool) = pool(4);
    let outcome =
        pool.run(Lane::Fast, "panics", LONG, |_| -> Result<(), Broken> { panic!("as asked") }).await;
    assert!(matches!(&outcome, Err(Failure::Panicked(text)) if text == "as asked"), "{outcome:?}");
    pool.run(Lane::Fast, "again", LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn more_calls_than_places_wait_or_time_out() {
    let (_daemon, pool) = pool(16);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    let calls = [LONG, LONG, LONG, LONG, SHORT].map(|limit| {
        let theirs = Arc::clone(&gate);
        pool.run(Lane::Fast, "hang", limit.min(SHORT * 5), move |_| theirs.wait())
    });
    let outcomes = futures::future::join_all(calls).await;
    let queued = outcomes.iter().filter(|outcome| matches!(outcome, Err(Failure::QueueTimeout(_)))).count();
    let hung = outcomes.iter().filter(|outcome| matches!(outcome, Err(Failure::CallTimeout(_)))).count();
    assert_eq!((queued, hung), (1, 4), "{outcomes:?}");
    gate.hang(false);
}

#[tokio::test]
async fn a_single_connection_serves_both_lanes_and_keeps_its_stragglers() {
    let limits = Limits { open: LONG, abandoned: 4, slow_connections: 3, single: true };
    let (_daemon, pool) = pool_with(limits);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    let theirs = Arc::clone(&gate);
    let outcome = pool.run(Lane::Slow, "hang", SHORT, move |_| theirs.wait()).await;
    assert!(matches!(outcome, Err(Failure::CallTimeout(_))));
    assert_eq!(pool.run(Lane::Fast, "number", LONG, |fake| Ok(fake.number)).await.unwrap(), 1);
    gate.hang(false);
}

#[tokio::test]
async fn dropping_the_pool_ends_its_threads() {
    let (_daemon, pool) = pool(4);
    let gate = Arc::new(Daemon::default());
    gate.hang(true);
    let theirs = Arc::clone(&gate);
    pool.run(Lane::Fast, "first", LONG, |_| Ok(())).await.unwrap();
    let outcome = pool.run(Lane::Fast, "hang", SHORT, move |_| theirs.wait()).await;
    assert!(outcome.is_err());
    let threads = Arc::clone(&pool.threads);
    assert!(threads.count() >= 1);
    drop(pool);
    eventually("the idle threads end", || threads.count() == 1).await;
    gate.hang(false);
    eventually("the hung thread ends", || threads.count() == 0).await;
}

#[tokio::test]
async fn libvirts_test_driver_answers() {
    let limits = Limits { open: LONG, abandoned: 4, slow_connections: 1, single: true };
    let pool = Pool::new(limits, || crate::ffi::open("test:///default", false, None));
    let names = pool.run(Lane::Fast, "list", LONG, |conn| {
        let domains = conn.list_all_domains(0)?;
        Ok(domains.iter().map(virt::domain::Domain::get_name).collect::<Result<Vec<_>, _>>()?)
    });
    assert_eq!(names.await.unwrap(), ["test"]);
}
