//! Ways to a daemon: TCP with SASL to a session daemon of its own, ssh, a socket, and a connection that only reads.
//!
//! Runs where `HYPERVISOR_TEST_LIBVIRT_URI` names a live host, whose socket the stand-in for ssh leads to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::path::{Path, PathBuf};

use common::session::{Folder, everything, refused, uri_to, with_password};
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{ErrorKind, Hypervisor};
use hypervisor_libvirt::{Libvirt, LibvirtConfig, OpenConsole};

fn live_uri(test: &str) -> Option<String> {
    common::needed(test, "HYPERVISOR_TEST_LIBVIRT_URI")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_daemon_asks_for_a_password_over_tcp() {
    if live_uri("a_session_daemon_asks_for_a_password_over_tcp").is_none() {
        return;
    }
    let daemon = with_password("alice", "correct horse");
    let config: LibvirtConfig = uri_to(&daemon, "").parse().unwrap();
    let libvirt = Libvirt::connect(config.clone().credentials("alice", "correct horse")).await.unwrap();
    let vm = VmSpec::new("over-tcp").memory(ByteSize::mib(64));
    let vm = libvirt.create_vm(&vm).await.unwrap().output;
    assert_eq!(libvirt.get_vm(&vm).await.unwrap().state, VmState::Stopped);

    let inside: LibvirtConfig = uri_to(&daemon, "alice:correct%20horse@").parse().unwrap();
    assert!(!format!("{inside} {inside:?} {}", inside.uri()).contains("horse"));
    let other = Libvirt::connect(inside).await.unwrap();
    assert!(!format!("{other:?} {:?}", other.info()).contains("horse"));
    assert_eq!(other.get_vm(&vm).await.unwrap().name, "over-tcp");
    // The same daemon, through its socket, where it asks for nothing.
    let socket = daemon.folder.0.join("run/libvirt/libvirt-sock");
    let socket = format!("qemu+unix:///session?socket={}", socket.display());
    let local = Libvirt::connect(socket.parse().unwrap()).await.unwrap();
    let _ = local.delete_vm(&vm, &DeleteVm::keep_disks()).await.unwrap();
    assert!(other.get_vm(&vm).await.unwrap_err().is_not_found());

    let wrong = refused(config.clone().credentials("alice", "wrong staple")).await;
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated, "{wrong}");
    let inside = refused(uri_to(&daemon, "alice:wrong%20staple@").parse().unwrap()).await;
    assert_eq!(inside.kind(), ErrorKind::Unauthenticated, "{inside}");
    for error in [&wrong, &inside] {
        assert!(!everything(error).contains("staple"), "{error:?}");
    }
    let none = refused(config).await;
    assert_eq!(none.kind(), ErrorKind::Unauthenticated, "{none}");
    let port = daemon.port;
    drop(daemon);
    let gone = refused(format!("qemu+tcp://127.0.0.1:{port}/session").parse().unwrap()).await;
    assert_eq!(gone.kind(), ErrorKind::Connect, "{gone}");
}

/// Leads to a socket, as ssh leads to the one on its host. Perl is on every Debian and has what it takes.
fn ssh_to(folder: &Folder, socket: &Path) -> PathBuf {
    let told = folder.0.join("told");
    let script = format!(
        r#"#!/usr/bin/env perl
use IO::Socket::UNIX; use IO::Select;
open(my $told, '>>', '{}'); print $told "@ARGV\n"; close $told;
my $socket = IO::Socket::UNIX->new(Peer => '{}') or die "no socket: $!";
my $both = IO::Select->new($socket, \*STDIN);
while (1) {{
    for my $from ($both->can_read) {{
        my $to = $from == $socket ? \*STDOUT : $socket;
        my $count = sysread($from, my $data, 65536) or exit;
        for (my $at = 0; $at < $count;) {{ $at += syswrite($to, $data, $count - $at, $at) or exit; }}
    }}
}}
"#,
        told.display(),
        socket.display()
    );
    folder.program("ssh", &script)
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_leads_to_the_daemon() {
    let Some(uri) = live_uri("ssh_leads_to_the_daemon") else { return };
    let folder = Folder::new("ssh");
    let socket = uri.split("socket=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
    let ssh = ssh_to(&folder, Path::new(socket));
    let uri = format!("qemu+ssh://admin@kvm.example:2222/system?command={}", ssh.display());
    let libvirt = Libvirt::connect(uri.parse().unwrap()).await.unwrap();
    let host = libvirt.list_hosts(&PageRequest::first()).await.unwrap().items.remove(0);
    assert!(host.cpus.unwrap() > 0);
    let vm = libvirt
        .create_vm(&VmSpec::new("over-ssh").memory(ByteSize::mib(64)).start(true))
        .await
        .unwrap()
        .output;
    let _ = libvirt.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap();
    let told = std::fs::read_to_string(folder.0.join("told")).unwrap();
    for word in ["admin", "kvm.example", "2222", "BatchMode"] {
        assert!(told.contains(word), "{word} is not in: {told}");
    }
    // It reads first: libvirt keeps what ssh says when it reads, not when it cannot write.
    let closed = folder.program(
        "no-ssh",
        "#!/bin/sh\nhead -c 1 >/dev/null\necho 'Permission denied (publickey)' >&2\nexit 255\n",
    );
    let uri = format!("qemu+ssh://kvm.example/system?command={}", closed.display());
    let error = refused(uri.parse().unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.message().contains("Permission denied (publickey)"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_connection_changes_nothing() {
    let Some(uri) = live_uri("a_read_only_connection_changes_nothing") else { return };
    let free = Libvirt::connect(uri.parse().unwrap()).await.unwrap();
    let vm =
        free.create_vm(&VmSpec::new("look-only").memory(ByteSize::mib(64)).start(true)).await.unwrap().output;
    let libvirt = Libvirt::connect(format!("{uri}&hv_readonly=1").parse().unwrap()).await.unwrap();
    assert_eq!(libvirt.get_vm(&vm).await.unwrap().state, VmState::Running);
    // Refused before anything is sent.
    let error = libvirt.power_vm(&vm, &PowerAction::PowerOff).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("read-only"), "{error}");
    let error = libvirt.create_vm(&VmSpec::new("not-here")).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("read-only"), "{error}");
    let error = libvirt.console_stream(&vm, &OpenConsole::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    // And by libvirt, where the SDK is gone round.
    let id = vm.to_string();
    let raw = libvirt.with_connection(move |conn| {
        hypervisor_libvirt::virt::domain::Domain::lookup_by_uuid_string(conn, &id)?.destroy()
    });
    assert_eq!(raw.await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(free.get_vm(&vm).await.unwrap().state, VmState::Running);
    let _ = free.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap();
}
