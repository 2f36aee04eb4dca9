//! Consoles and ISO images.

use super::soft;

answers! {
    /// Where a domain's VNC server listens.
    VncConsole {
        may {
            /// The domain.
            domain: String,
            /// `127.0.0.1:0` or `:0`, in displays: port 5900 and up.
            vnc_display: String,
            /// Malformed by the daemon where the display has an address.
            vnc_url: String,
        }
    }

    /// What consoles a domain has. All are missing for a domain that does not exist.
    ConsoleInfo {
        may {
            /// The domain.
            vm_name: String,
            /// As in [`VncConsole`].
            vnc_display: String,
            /// 0 where the display has an address.
            vnc_port: u16,
            /// As in [`VncConsole`].
            vnc_url: String,
            /// A page for people, relative to the daemon.
            webvnc_url: String,
            /// Whether there is a VNC server.
            has_vnc: bool,
            /// Whether there is a SPICE server.
            has_spice: bool,
            /// Never true at the commits known; see [`SerialDevice`].
            has_serial: bool,
        }
    }

    /// The terminal behind a domain's serial port.
    SerialDevice {
        may {
            /// The domain.
            vm_name: String,
            /// Its path on the host.
            device: String,
            /// Whether there is one.
            has_serial: bool,
        }
    }

    /// An ISO image in the daemon's folder.
    Iso {
        must {
            /// Its name.
            name: String,
        }
        may {
            /// Where it lies on the host.
            path: String,
            /// Its size in bytes.
            size: u64,
        }
    }
}

/// What a screenshot was saved as: a file on the host, in PPM.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Saved {
    #[serde(deserialize_with = "soft::field")]
    pub(crate) path: String,
}

/// The address and port of a display: `127.0.0.1:0`, `:1`, `[::1]:0`.
pub(crate) fn display(text: &str) -> Option<(Option<String>, u16)> {
    let (address, number) = text.trim().rsplit_once(':')?;
    let port = number.parse::<u16>().ok()?;
    let port = if port < 5900 { port.checked_add(5900)? } else { port };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    Some(((!address.is_empty()).then(|| address.to_owned()), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_become_ports() {
        assert_eq!(display("127.0.0.1:0"), Some((Some("127.0.0.1".into()), 5900)));
        assert_eq!(display(":12"), Some((None, 5912)));
        assert_eq!(display("[::1]:1"), Some((Some("::1".into()), 5901)));
        for none in ["", "127.0.0.1", ":x", ":70000"] {
            assert_eq!(display(none), None, "{none}");
        }
    }
}
