//! `hv` as a program against servers: each command is a process of its own, as it is for people.

use libtest_mimic::Trial;

#[cfg(not(all(feature = "proxmox", feature = "client", feature = "fake")))]
pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}

#[cfg(all(feature = "proxmox", feature = "client", feature = "fake"))]
pub(crate) use fakes::trials;

#[cfg(all(feature = "proxmox", feature = "client", feature = "fake"))]
mod fakes {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use hypervisor::proxmox::fake::{FakeGuest, FakePve};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use libtest_mimic::Completion;

    use super::Trial;
    use crate::support::{CANARY, Ran, program, ran, timed};

    pub(crate) fn trials() -> Vec<Trial> {
        vec![
            timed("a_cluster_from_one_command_to_the_next", a_cluster),
            timed("ctrl_c_leaves_the_task_and_says_how_to_follow_it", ctrl_c),
            timed("ctrl_c_ends_what_follows", ctrl_c_ends_what_follows),
            timed("a_terminal_is_attached_to_and_detached_from", a_terminal),
            timed("a_terminal_gets_bars_colours_and_every_key", on_a_terminal),
            timed("every_gateway_by_its_url", every_gateway),
            Trial::ignorable_test("a_machine_behind_our_own_gateway", || Ok(own_gateway())),
            timed("what_a_server_refuses_has_its_codes", refusals),
            timed("a_secret_from_a_command_reaches_the_server", secret),
        ]
    }

    /// The fake's URL, with its secret in the environment where a program looks for it.
    fn at(pve: &FakePve, args: &[&str]) -> Command {
        let mut command = program(args);
        let fingerprint = pve.fingerprint().unwrap().replace(':', "");
        let url = format!("proxmox://{}@{}?fingerprint={fingerprint}", pve.token_id(), pve.authority());
        command.env("HV_URL", url).env("PROXMOX_TOKEN_SECRET", pve.token_secret());
        command
    }

    fn hv(pve: &FakePve, args: &[&str]) -> Ran {
        let mut command = at(pve, args);
        // The fake answers in this process meanwhile.
        tokio::task::block_in_place(|| ran(&mut command))
    }

    async fn cluster(task: Duration) -> FakePve {
        let guests = FakePve::builder().hosts(2).tls().task_time(task);
        guests
            .vm(FakeGuest::vm(100).name("web-1"))
            .vm(FakeGuest::vm(101).name("web-2").set("serial0", "socket").running())
            .start()
            .await
            .unwrap()
    }

    async fn a_cluster() {
        let pve = cluster(Duration::from_millis(300)).await;
        let listed = hv(&pve, &["list"]).good();
        assert!(listed.contains("web-1  100  stopped") && listed.contains("web-2  101  running"), "{listed}");
        // Nobody waits: the task is another process's to follow.
        let started = hv(&pve, &["start", "web-1"]).good();
        let task = started.trim().rsplit(' ').next().unwrap();
        assert!(started.starts_with("web-1: begun as task UPID:pve1:"), "{started}");
        assert_eq!(hv(&pve, &["tasks", "follow", task]).good(), format!("{task}: done\n"));
        assert!(pve.guest(100).unwrap().running);
        assert!(hv(&pve, &["tasks", "log", task]).good().contains("TASK OK"));
        assert!(hv(&pve, &["tasks", "--vm", "web-1"]).good().contains("start_vm"));
        assert!(hv(&pve, &["start", "web-1"]).bad(4).contains("it is running"));
        assert_eq!(hv(&pve, &["power-off", "100", "--wait"]).good(), "100: powered off\n");
        let shown = hv(&pve, &["show", "web-1", "--json"]).json();
        assert_eq!((&shown["info"]["id"], &shown["info"]["state"]), (&"100".into(), &"stopped".into()));
        pve.faults().on_task("qmstart").fail("no space left");
        assert!(hv(&pve, &["start", "web-1", "--wait"]).bad(8).contains("no space left"));
    }

    /// Starts a command, waits until it has asked the server for this, and sends it Ctrl-C.
    async fn interrupted(pve: &FakePve, args: &[&str], method: &str, path: &str) -> Ran {
        let before = pve.count(method, path);
        let child = at(pve, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while pve.count(method, path) == before {
            assert!(Instant::now() < deadline, "it has not asked for {path}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(signal.success());
        let output = tokio::task::block_in_place(|| child.wait_with_output()).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code =
            output.status.code().and_then(|code| u8::try_from(code).ok()).expect("ended by the signal");
        Ran { code, out: text(output.stdout), err: text(output.stderr) }
    }

    async fn ctrl_c() {
        let pve = cluster(Duration::from_secs(600)).await;
        let ran = interrupted(&pve, &["start", "web-1", "--wait"], "GET", "/nodes/pve1/tasks/*/status").await;
        let err = ran.bad(130);
        assert!(err.contains("start_vm web-1 goes on"), "{err}");
        let follow = err.trim().rsplit_once("hv tasks follow ").unwrap().1.trim_matches('\'');
        assert!(pve.tasks().iter().any(|task| task.upid == follow), "{err}");
        assert_eq!(pve.count("DELETE", "/nodes/*/tasks/*"), 0, "the task was stopped");
    }

    /// Starts a command, waits for its first line while guests come and go, and sends it Ctrl-C.
    async fn followed(pve: &FakePve, args: &[&str]) -> Ran {
        use std::io::{BufRead as _, BufReader, Read as _};
        let mut child = at(pve, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            (line, out)
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        for running in [true, false].into_iter().cycle() {
            pve.set_running(100, running);
            tokio::time::sleep(Duration::from_millis(200)).await;
            if reader.is_finished() {
                break;
            }
            assert!(Instant::now() < deadline, "{args:?} prints nothing");
        }
        let (mut text, mut rest) = reader.join().unwrap();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        tokio::task::block_in_place(|| rest.read_to_string(&mut text)).unwrap();
        let output = child.wait_with_output().unwrap();
        let code =
            output.status.code().and_then(|code| u8::try_from(code).ok()).expect("ended by the signal");
        Ran { code, out: text, err: String::from_utf8(output.stderr).unwrap() }
    }

    async fn ctrl_c_ends_what_follows() {
        let pve = cluster(Duration::ZERO).await;
        assert!(followed(&pve, &["events", "--follow"]).await.good().contains("vm 100 is "));
        assert!(followed(&pve, &["metrics", "--watch"]).await.good().contains("web-2 "));
    }

    async fn a_terminal() {
        let pve =
            FakePve::builder().tls().vm(FakeGuest::vm(100).name("web-1").set("serial0", "socket").running());
        let pve = pve.start().await.unwrap();
        // Ctrl-] detaches; what comes behind it is not sent.
        let mut command = at(&pve, &["console", "web-1"]);
        let attached = tokio::task::block_in_place(|| typed_into(&mut command, &[b"root\r", b"\x1dmore"]));
        assert_eq!(attached.code, 0, "{attached:?}");
        let (out, err) = (&attached.out, &attached.err);
        assert!(err.contains("Ctrl-] detaches") && err.contains("detached from web-1"), "{err}");
        assert!(out.contains("root") && !out.contains("more"), "{out:?}");
        let none = hv(&pve, &["console", "web-1", "--kind", "spice"]);
        assert!(!format!("{none:?}").contains("password  ey"), "{none:?}");
    }

    /// A command into whose input this is typed, part by part.
    fn typed_into(command: &mut Command, typed: &[&[u8]]) -> Ran {
        use std::io::Write as _;
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        for part in typed {
            keys.write_all(part).unwrap();
            std::thread::park_timeout(Duration::from_secs(2));
        }
        drop(keys);
        let output = child.wait_with_output().unwrap();
        let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// A command in a terminal of its own, in which this is typed.
    fn in_a_terminal(pve: &FakePve, args: &str, color: bool, typed: &[&[u8]]) -> Ran {
        use std::io::Write as _;
        let line =
            format!("stty cols 120 rows 40; exec '{}' {args}", std::env::current_exe().unwrap().display());
        let known = at(pve, &[]);
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        if !color {
            command.env("NO_COLOR", "1");
        }
        for (name, value) in known.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            command.env(name, value);
        }
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("`script`, of util-linux");
        let mut keys = child.stdin.take().unwrap();
        for part in typed {
            // The terminal is made raw once the console is open.
            std::thread::park_timeout(Duration::from_secs(2));
            keys.write_all(part).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        drop(keys);
        let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap();
        Ran { code, out: String::from_utf8(output.stdout).unwrap(), err: String::new() }
    }

    async fn on_a_terminal() {
        let pve = cluster(Duration::from_millis(1500)).await;
        let run = |args: &'static str, color, typed: &'static [&'static [u8]]| {
            tokio::task::block_in_place(|| in_a_terminal(&pve, args, color, typed)).good()
        };
        let shown = run("start web-1 --wait", true, &[]);
        assert!(shown.contains("start_vm web-1") && shown.contains('━'), "{shown:?}");
        assert!(shown.ends_with("web-1: started\r\n"), "{shown:?}");
        assert!(run("list", true, &[]).contains("\x1b[32mrunning\x1b[0m"));
        assert!(!run("list", false, &[]).contains('\x1b'));
        // Ctrl-C and Ctrl-Z are keys like others; Ctrl-] detaches.
        let shown = run("console web-2", true, &[b"a\x03b\x1ac", b"\x1d"]);
        assert!(shown.contains("detached from web-2"), "{shown:?}");
        assert!(shown.contains("a\u{3}b\u{1a}c"), "the far end echoes what was typed: {shown:?}");
    }

    async fn every_gateway() {
        use hypervisor::client::fake::{Fake, FakeBox, FakeVm, virtumancer};
        let v1 = Fake::v1().with_vm(FakeVm::new("100", "web-1")).start().await;
        let hypersdk = Fake::hypersdk().with_vm("web-1", false).start().await;
        let lab = Fake::virtumancer().with_host(virtumancer::FakeHost::new("lab"));
        let lab = lab.with_vm(virtumancer::FakeVm::new("lab", "web-1")).start().await.unwrap();
        let mcp = Fake::virtualization_mcp().with_vm(FakeBox::new("web-1")).start().await;
        for url in [
            v1.url(),
            hypersdk.url(),
            lab.url(),
            mcp.url(),
            // One that is asked which of these it is.
            v1.uri(),
        ] {
            let hv = |args: &[&str]| tokio::task::block_in_place(|| ran(program(args).env("HV_URL", &url)));
            let listed = hv(&["list"]).good();
            assert!(listed.contains("\nweb-1 "), "{url}: {listed}");
            let shown = hv(&["show", "web-1", "--json"]).json();
            assert_eq!(shown["info"]["state"], "stopped", "{url}: {shown}");
            let able = hv(&["capabilities", "--json"]).json();
            if able["list_hosts"].get("unsupported").is_some() {
                assert!(hv(&["hosts"]).bad(10).contains("nothing was changed"), "{url}");
            }
        }
    }

    /// The program `hypervisor-gateway` over the in-memory hypervisor.
    fn own_gateway() -> Completion {
        let built = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("hypervisor-gateway");
        if !built.exists() {
            return Completion::ignored_with(
                "`hypervisor-gateway` is not built; `cargo xtask test` builds it",
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}/state.db", folder.path().display());
        let gateway = |args: &[&str]| {
            let mut command = Command::new(&built);
            command.args(args).env("HYPERVISOR_GATEWAY_DATABASE", &database).stdout(Stdio::piped());
            command.stderr(Stdio::null());
            command
        };
        let token = gateway(&["token", "--name", "hv"]).output().unwrap().stdout;
        let token = String::from_utf8(token).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = format!("127.0.0.1:{port}");
        let mut served = gateway(&["--backend", "memory://", "--listen", &at]).spawn().unwrap();
        let url = format!("http+v1://:{}@{at}?hv_plain_credentials=1", token.trim());
        let hv = |args: &[&str]| ran(program(args).env("HV_URL", &url));
        let begun = Instant::now();
        while hv(&["list"]).code != 0 && begun.elapsed() < Duration::from_secs(20) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let checks = std::panic::catch_unwind(|| {
            let disk = ["--memory", "1GiB", "--disk", "10GiB"];
            hv(&[&["create", "web-1", "--serial", "--start", "--wait"][..], &disk].concat()).good();
            assert!(hv(&["list"]).good().contains("web-1  100  running"));
            let attached =
                typed_into(program(&["console", "web-1"]).env("HV_URL", &url), &[b"root\r", b"\x1dmore"]);
            let out = attached.good();
            assert!(out.contains("root") && !out.contains("more"), "{out:?}");
            assert_eq!(hv(&["console", "web-1", "--json"]).json()["path"], "/dev/pts/0");
            assert!(hv(&["snapshot", "create", "web-1", "clean", "--wait"]).good().contains("taken"));
            assert!(hv(&["clone", "web-1", "web-2", "--wait"]).good().contains("cloned"));
            assert!(hv(&["metrics"]).good().contains("web-1"));
            hv(&["shutdown", "web-1", "--wait"]).good();
            assert!(
                hv(&["delete", "web-1", "--with-disks", "--snapshots", "--yes", "--wait"])
                    .good()
                    .contains("deleted")
            );
            assert!(hv(&["show", "web-1"]).bad(3).contains("nothing was changed"));
        });
        let _ = served.kill();
        let _ = served.wait();
        assert!(checks.is_ok(), "see above");
        Completion::Completed
    }

    /// A server that gives every request this answer, and what it was asked.
    async fn server(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (send, asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 8192];
                let count = stream.read(&mut request).await.unwrap_or(0);
                let _ = send.send(String::from_utf8_lossy(&request[..count]).into_owned());
                let head = format!("HTTP/1.1 {answer}\r\ncontent-type: application/json\r\n");
                let body = "{\"success\":false,\"error\":{\"code\":\"X\",\"message\":\"no\"}}";
                let answer =
                    format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, asked)
    }

    async fn refusals() {
        for (answer, code) in [("401 Unauthorized", 6), ("403 Forbidden", 6)] {
            let (address, _asked) = server(answer).await;
            let url = format!("http+v1://:{CANARY}@{address}?hv_plain_credentials=1");
            let ran = tokio::task::block_in_place(|| ran(program(&["list"]).env("HV_URL", &url)));
            assert!(!format!("{ran:?}").contains(CANARY), "{ran:?}");
            ran.bad(code);
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ran = ran(program(&["list"]).env("HV_URL", format!("http+v1://{nobody}")));
        assert!(ran.bad(5).contains("nothing was changed"));
    }

    async fn secret() {
        let (address, mut asked) = server("401 Unauthorized").await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.toml");
        let url = format!("http+v1://{address}?hv_plain_credentials=1");
        let profiles = format!(
            "[profiles.a]\nurl = \"{url}\"\nsecret_command = \"echo {CANARY}\"\n\
             [profiles.b]\nurl = \"{url}\"\nsecret_env = \"HV_TEST_SECRET\"\n"
        );
        std::fs::write(&file, profiles).unwrap();
        for profile in ["a", "b"] {
            let mut command = program(&["--config", file.to_str().unwrap(), "-p", profile, "list"]);
            command.env("HV_TEST_SECRET", CANARY);
            let ran = tokio::task::block_in_place(|| ran(&mut command));
            assert!(!format!("{ran:?}").contains(CANARY), "{ran:?}");
            assert_eq!(ran.code, 6, "{ran:?}");
            let request = asked.recv().await.unwrap().to_lowercase();
            assert!(request.contains(&format!("authorization: bearer {CANARY}")), "{request}");
        }
    }
}
