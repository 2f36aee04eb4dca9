//! TLS in one room: which cryptography rustls uses.

/// Has rustls use ring, unless the program has chosen already.
pub(crate) fn install() {
    // An error means that somebody was faster, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
