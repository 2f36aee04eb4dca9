//! Whose certificate is accepted.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::config::{HttpConfig, config_error};
use crate::error::{Error, Result};

/// Whose certificate is accepted. In every mode but [`System`](Self::System) and [`Ca`](Self::Ca) the certificate itself is compared and
/// neither its names nor its dates matter.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Trust {
    /// What the operating system trusts.
    #[default]
    System,
    /// What these authorities signed, in PEM, and nothing else. The certificate has to name the host.
    Ca(Vec<u8>),
    /// The one certificate with this fingerprint.
    Fingerprint(Fingerprint),
    /// The certificate that was seen at the first connection, remembered in this file (one line for each `host:port`), as SSH does it.
    /// A certificate that has changed since is refused until its line is removed.
    FirstUse(PathBuf),
}

/// The SHA-256 of a certificate in DER.
///
/// ```
/// use hypervisor_core::http::Fingerprint;
/// let text = "4F:1B".to_owned() + &":00".repeat(30);
/// assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
/// assert!("4F:1B".parse::<Fingerprint>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    /// From the 32 bytes of the digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    /// As `openssl x509 -fingerprint` writes it: `4F:1B:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    /// 64 hexadecimal digits, with or without colons.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                "fingerprint",
                "a SHA-256 fingerprint is 64 hexadecimal digits, with or without colons",
            )
        };
        let digits = text.trim().replace(':', "");
        let mut bytes = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(wrong());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(at * 2..at * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// The TLS set-up of a configuration.
pub(super) fn client_config(config: &HttpConfig) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| config_error("TLS cannot be set up").with_source(error))?;
    let rule = match &config.trust {
        _ if config.accept_invalid_certs => Rule::Any,
        Trust::System => {
            let builder = builder.with_platform_verifier().map_err(|error| {
                config_error(format!("the system's certificates cannot be read: {error}"))
            })?;
            return Ok(builder.with_no_client_auth());
        }
        Trust::Ca(pem) => {
            return Ok(builder.with_root_certificates(authorities(pem)?).with_no_client_auth());
        }
        Trust::Fingerprint(fingerprint) => Rule::Pinned(*fingerprint),
        Trust::FirstUse(file) => Rule::FirstUse(FirstUse {
            file: file.clone(),
            endpoints: config
                .endpoints
                .iter()
                .filter_map(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)))
                .collect(),
            writing: Mutex::new(()),
        }),
    };
    let verifier = Arc::new(Verifier { rule, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn authorities(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| config_error(format!("the authority is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| config_error(format!("the authority cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(config_error("the authority's PEM holds no certificate"));
    }
    Ok(roots)
}

#[derive(Debug)]
enum Rule {
    Any,
    Pinned(Fingerprint),
    FirstUse(FirstUse),
}

/// Compares the certificate itself; that the server has its key is still proved by the handshake's signature.
#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let seen = Fingerprint::of(end_entity);
        let verdict = match &self.rule {
            Rule::Any => Ok(()),
            Rule::Pinned(expected) if *expected == seen => Ok(()),
            Rule::Pinned(expected) => {
                Err(format!("the certificate's fingerprint is {seen}, not {expected} as configured"))
            }
            Rule::FirstUse(store) => store.check(&server_name.to_str(), seen),
        };
        verdict.map(|()| ServerCertVerified::assertion()).map_err(rustls::Error::General)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct FirstUse {
    file: PathBuf,
    endpoints: Vec<(String, u16)>,
    writing: Mutex<()>,
}

impl FirstUse {
    fn check(&self, host: &str, seen: Fingerprint) -> std::result::Result<(), String> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A verifier is told the host alone; an address of IPv6 is in brackets in a URL and is not here.
        let port =
            self.endpoints.iter().find(|(name, _)| name.trim_matches(['[', ']']).eq_ignore_ascii_case(host));
        let key = format!("{host}:{}", port.map_or(443, |(_, port)| *port));
        let store = self.file.display();
        let known = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(format!("the store of known certificates {store} cannot be read: {error}"));
            }
        };
        let line = known.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key));
        if let Some((_, expected)) = line {
            return match expected.parse::<Fingerprint>() {
                Ok(expected) if expected == seen => Ok(()),
                Ok(expected) => Err(format!(
                    "the certificate of {key} has changed: its fingerprint is {seen}, not {expected} as remembered in {store}; \
                     if that is right, remove the line from the file"
                )),
                Err(_) => Err(format!("{store} has no fingerprint in the line of {key}")),
            };
        }
        let new_line = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(&self.file);
        opened
            .and_then(|mut file| file.write_all(format!("{new_line}{key} {seen}\n").as_bytes()))
            .map_err(|error| format!("the store of known certificates {store} cannot be written: {error}"))
    }
}
