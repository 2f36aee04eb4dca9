//! Ways to a daemon on another host, with the real programs on this one: TLS with certificates on both sides, and ssh to an
//! sshd.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use common::needed;
use common::session::{Folder, Server, free_port, refused, run};
use hypervisor_core::ErrorKind;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_libvirt::Libvirt;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Who signs certificates.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name` and its key.
    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![purpose];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What a client needs, under the names that libvirt looks for: whom it trusts, and who it is.
    fn client(&self, folder: &Folder, name: &str, trusted: &Self) -> String {
        let place = folder.0.join(name);
        std::fs::create_dir(&place).unwrap();
        let (certificate, key) = self.sign("client", ExtendedKeyUsagePurpose::ClientAuth);
        for (file, text) in
            [("cacert.pem", &trusted.certificate), ("clientcert.pem", &certificate), ("clientkey.pem", &key)]
        {
            std::fs::write(place.join(file), text).unwrap();
        }
        place.display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_say_who_is_on_either_side_of_tls() {
    if needed("certificates_say_who_is_on_either_side_of_tls", "HYPERVISOR_TEST_LIBVIRT_URI").is_none() {
        return;
    }
    let (folder, port) = (Folder::new("tls"), free_port());
    let (ours, other) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.sign("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let trusted = ours.client(&folder, "trusted", &ours);
    let stranger = other.client(&folder, "stranger", &ours);
    let doubting = ours.client(&folder, "doubting", &other);
    let config = [("ca_file", &ours.certificate), ("cert_file", &certificate), ("key_file", &key)].map(
        |(name, text)| format!("{name} = \"{}\"\n", folder.file(&format!("{name}.pem"), text).display()),
    );
    let config = format!(
        "{}listen_tls = 1\nlisten_tcp = 0\nlisten_addr = \"127.0.0.1\"\ntls_port = \"{port}\"\nauth_tls = \"none\"\n",
        config.concat()
    );
    let daemon = Server::session(folder, port, &config);
    let uri = |host: &str, who: &str| format!("qemu+tls://{host}:{port}/session?pkipath={who}");

    let libvirt = Libvirt::connect(uri("localhost", &trusted).parse().unwrap()).await.unwrap();
    let vm = VmSpec::new("over-tls").memory(ByteSize::mib(64));
    let vm = libvirt.create_vm(&vm).await.unwrap().output;
    assert_eq!(libvirt.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    let _ = libvirt.delete_vm(&vm, &DeleteVm::keep_disks()).await.unwrap();

    // The daemon's certificate is of nobody whom the client trusts, or of another host; the client's is of nobody whom the
    // daemon trusts.
    for uri in [uri("localhost", &doubting), uri("127.0.0.1", &trusted), uri("localhost", &stranger)] {
        let error = refused(uri.parse().unwrap()).await;
        assert!(
            matches!(error.kind(), ErrorKind::Connect | ErrorKind::Unauthenticated),
            "{uri}: {error}: {}",
            daemon.log()
        );
        assert!(!error.message().is_empty());
    }
    // Whoever asks for no check gets none.
    let blind = format!("{}&no_verify=1", uri("127.0.0.1", &trusted));
    assert!(Libvirt::connect(blind.parse().unwrap()).await.is_ok());
}

/// An sshd on this host that lets in whoever has the key `id` in its folder.
fn sshd() -> Server {
    let (folder, port) = (Folder::new("sshd"), free_port());
    for key in ["host", "id", "other"] {
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.0.join(key)));
    }
    let at = folder.0.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/id.pub\n\
         AuthenticationMethods publickey\nUsePAM no\nStrictModes no\nPidFile none\n"
    );
    let config = folder.file("sshd_config", &config);
    let host = std::fs::read_to_string(folder.0.join("host.pub")).unwrap();
    folder.file("known", &format!("[127.0.0.1]:{port} {host}"));
    folder.file(
        "others",
        &format!("[127.0.0.1]:{port} {}", { std::fs::read_to_string(folder.0.join("other.pub")).unwrap() }),
    );
    if common::session::root() {
        // Its unprivileged part lives here; the package's service makes it.
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(config);
    Server::start(command, port, folder)
}

/// The system's ssh, with a key and the hosts that it knows.
fn ssh(folder: &Folder, name: &str, key: &str, known: &str) -> String {
    let at = folder.0.display();
    let script = format!(
        "#!/bin/sh\nexec ssh -F none -o IdentitiesOnly=yes -o UserKnownHostsFile={at}/{known} -i {at}/{key} \"$@\"\n"
    );
    folder.program(name, &script).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_ssh_leads_to_the_daemon() {
    let Some(live) = needed("a_real_ssh_leads_to_the_daemon", "HYPERVISOR_TEST_LIBVIRT_URI") else { return };
    let socket = live.split("socket=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
    assert!(Path::new(socket).exists(), "{socket}");
    let sshd = sshd();
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let uri = |program: &str| {
        let (user, port) = (user.trim(), sshd.port);
        format!("qemu+ssh://{user}@127.0.0.1:{port}/system?command={program}&socket={socket}")
    };
    let good = ssh(&sshd.folder, "good", "id", "known");
    let libvirt = Libvirt::connect(uri(&good).parse().unwrap()).await.unwrap_or_else(|error| {
        panic!("{error}: {}", sshd.log());
    });
    let vm = VmSpec::new("over-real-ssh").memory(ByteSize::mib(64)).start(true);
    let vm = libvirt.create_vm(&vm).await.unwrap().output;
    assert_eq!(libvirt.get_vm(&vm).await.unwrap().state, VmState::Running);
    let _ = libvirt.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap();

    // Another key, and another host than the one that is known: ssh's own words, and nothing is asked on a terminal.
    for (name, key, known, says) in [
        ("stranger", "other", "known", "Permission denied (publickey)"),
        ("trap", "id", "others", "Host key verification failed"),
    ] {
        let error = refused(uri(&ssh(&sshd.folder, name, key, known)).parse().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
}
