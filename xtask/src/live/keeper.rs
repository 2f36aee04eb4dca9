//! The process that keeps one private libvirtd, inside namespaces of its own.
//!
//! It runs under `tini -s`, in mount and network namespaces: libvirt's compiled-in folders lead into our own, and
//! bridges, addresses and firewall rules that libvirt makes are seen by nobody else and end with the last process.
//! tini adopts the QEMU processes that detach themselves, so all of them stay below it and can be found and ended.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::place::{FOLDERS, Place};
use super::proc;
use crate::run;

const TICK: Duration = Duration::from_millis(30);

/// What the outside may ask for, by the request file.
pub(crate) const STOP: &str = "stop";
pub(crate) const RESTART: &str = "restart";

/// Runs until told to stop, or, where owned, until the owner closes our standard input by ending.
pub(crate) fn keep(place: &Place, owned: bool, host_network: bool) -> Result<()> {
    let orphaned = Arc::new(AtomicBool::new(false));
    if owned {
        let orphaned = Arc::clone(&orphaned);
        std::thread::spawn(move || {
            let _read = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            orphaned.store(true, Ordering::Relaxed);
        });
    }
    let kept = prepare(place, host_network).and_then(|()| serve(place, &orphaned));
    end_all();
    if orphaned.load(Ordering::Relaxed) {
        place.remove()?;
    }
    kept
}

fn serve(place: &Place, orphaned: &AtomicBool) -> Result<()> {
    let mut daemon = start(place)?;
    while !orphaned.load(Ordering::Relaxed) {
        // Reaps it where a test has killed it; it stays down until a restart is asked for.
        let _ended = daemon.try_wait()?;
        match fs::read_to_string(place.request()).unwrap_or_default().trim() {
            STOP => break,
            RESTART => {
                stop(&mut daemon);
                daemon = start(place)?;
                fs::remove_file(place.request())?;
            }
            _ => run::pause(TICK),
        }
    }
    Ok(())
}

fn start(place: &Place) -> Result<Child> {
    let _stale = fs::remove_file(place.libvirtd_pid());
    Command::new("libvirtd")
        .arg("--config")
        .arg(place.dir().join("etc/libvirtd.conf"))
        .arg("--pid-file")
        .arg(place.libvirtd_pid())
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start libvirtd")
}

/// Ends libvirtd and leaves its guests running.
fn stop(daemon: &mut Child) {
    if let Ok(pid) = i32::try_from(daemon.id()) {
        proc::signal(pid, Signal::TERM);
        // A stopped process takes no other signal.
        proc::signal(pid, Signal::CONT);
    }
    run::reap(daemon, Duration::from_secs(5));
}

/// Ends every process below tini but this one.
fn end_all() {
    let (Ok(me), Ok(tini)) = (i32::try_from(std::process::id()), i32::try_from(parent_id())) else { return };
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let mut others = proc::below(tini);
        others.retain(|pid| *pid != me && proc::alive(*pid));
        if others.is_empty() || Instant::now() >= end {
            return;
        }
        for pid in others {
            proc::signal(pid, Signal::KILL);
        }
        run::pause(TICK);
    }
}

/// Makes this namespace look as libvirtd expects.
fn prepare(place: &Place, host_network: bool) -> Result<()> {
    if !host_network {
        own_network(place)?;
    }
    user(place)?;
    // Over the system bus libvirtd would change the machine's firewalld and register guests with its machined.
    if Path::new("/run/dbus").is_dir() {
        mount(&["-t", "tmpfs", "tmpfs", "/run/dbus"])?;
    }
    for (name, wired) in FOLDERS {
        fs::create_dir_all(wired).with_context(|| format!("cannot make {wired}"))?;
        mount(&["--bind", &text(&place.dir().join(name)), wired])?;
    }
    fs::create_dir_all("/run/lock").context("cannot make /run/lock")
}

/// `/sys` shows the interfaces of the network namespace in which it was mounted, and libvirt looks there.
fn own_network(place: &Place) -> Result<()> {
    let (cgroup, aside) = ("/sys/fs/cgroup", text(&place.dir().join("cgroup")));
    let moved = mount(&["--move", cgroup, &aside]).is_ok();
    mount(&["-t", "sysfs", "sysfs", "/sys"])?;
    if moved {
        mount(&["--move", &aside, cgroup])?;
    }
    run::output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    Ok(())
}

/// libvirtd does not start without this user, although its configuration names another one to run guests as.
fn user(place: &Place) -> Result<()> {
    let (passwd, group) = (fs::read_to_string("/etc/passwd")?, fs::read_to_string("/etc/group")?);
    let user = "libvirt-qemu:x:64055:64055:Libvirt Qemu:/var/lib/libvirt:/usr/sbin/nologin\n";
    for (file, old, more) in [("passwd", passwd, user), ("group", group, "libvirt-qemu:x:64055:\n")] {
        if !old.lines().any(|line| line.starts_with("libvirt-qemu:")) {
            let own = place.dir().join(file);
            fs::write(&own, old + more)?;
            mount(&["--bind", &text(&own), &format!("/etc/{file}")])?;
        }
    }
    Ok(())
}

fn mount(args: &[&str]) -> Result<()> {
    run::output(Command::new("mount").args(args)).map(|_| ())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
