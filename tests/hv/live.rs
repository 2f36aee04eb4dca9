//! `hv` as a program on a real libvirtd with QEMU: each command connects anew.

use libtest_mimic::{Completion, Trial};

use crate::support::{Ran, program, ran};

const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";
const NAME: &str = "hvt-hv-cli";

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::ignorable_test("a_machine_on_a_real_libvirtd", || {
        if !cfg!(feature = "libvirt") {
            return Ok(Completion::ignored_with("the feature libvirt is off"));
        }
        match std::env::var(URI) {
            Ok(uri) => {
                let life = std::panic::catch_unwind(|| life(&uri));
                // Also what a failed run has left.
                hv(&uri, &["delete", NAME, "--with-disks", "--power-off", "--snapshots", "--yes"]);
                life.map(|()| Completion::Completed).map_err(|_| "see above".into())
            }
            Err(_) => Ok(Completion::ignored_with(format!("{URI} is not set"))),
        }
    })]
}

fn hv(uri: &str, args: &[&str]) -> Ran {
    ran(program(args).env("HV_URL", uri))
}

fn life(uri: &str) {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (kernel, initrd) = (variable("HYPERVISOR_TEST_KERNEL"), variable("HYPERVISOR_TEST_INITRD"));
    hv(uri, &["list"]).good();
    let create = ["create", NAME, "--memory", "128MiB", "--kernel", &kernel, "--initrd", &initrd];
    let options = ["--cmdline", "console=ttyS0", "--serial", "--start", "--wait"];
    let made = hv(uri, &[&create[..], &options].concat()).good();
    assert!(made.contains("created and started"), "{made}");
    let listed = hv(uri, &["list", "--json", "--state", "running"]).json();
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|vm| vm["name"].as_str().unwrap()).collect();
    assert!(names.contains(&NAME), "{listed}");
    let metrics = hv(uri, &["metrics", NAME]).good();
    assert!(
        metrics.lines().nth(1).is_some_and(|line| line.starts_with(NAME) && line.contains('%')),
        "{metrics}"
    );
    console(uri);
    assert_eq!(hv(uri, &["power-off", NAME]).good(), format!("{NAME}: powered off\n"));
    hv(uri, &["power-off", NAME]).bad(4);
    hv(uri, &["delete", NAME, "--with-disks", "--yes"]).good();
    hv(uri, &["show", NAME]).bad(3);
}

/// What the guest writes while it boots is to be seen.
fn console(uri: &str) {
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    hv(uri, &["reset", NAME]).good();
    let mut command = program(&["console", NAME]);
    let command = command.env("HV_URL", uri).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (send, parts) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = out.read(&mut part) {
            if send.send(part[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("Linux version") {
        let left = deadline.saturating_duration_since(Instant::now());
        let part = parts.recv_timeout(left);
        seen.extend(part.unwrap_or_else(|_| panic!("no boot in {:?}", String::from_utf8_lossy(&seen))));
    }
    child.stdin.take().unwrap().write_all(b"\x1d").unwrap();
    assert!(child.wait().unwrap().success());
    drop(parts);
    reader.join().unwrap();
}
