//! Codes of a second factor: TOTP (RFC 6238) with SHA-1, six digits, thirty seconds, which is what Proxmox sets up.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha1::Sha1;

const STEP: u64 = 30;

/// The shared secret.
#[derive(Clone)]
pub(crate) struct Totp(SecretSlice<u8>);

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totp(***)")
    }
}

impl Totp {
    /// Reads base32, with or without padding and blanks.
    pub(crate) fn new(base32: &SecretString) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Config, "the secret of the second factor is no base32")
                .with_backend(crate::BACKEND)
        };
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0_u32, 0_u32);
        for c in base32.expose_secret().chars().filter(|c| !c.is_whitespace() && !matches!(c, '=' | '-')) {
            let value = match c.to_ascii_uppercase() {
                letter @ 'A'..='Z' => u32::from(letter) - u32::from('A'),
                digit @ '2'..='7' => u32::from(digit) - u32::from('2') + 26,
                _ => return Err(wrong()),
            };
            bits = ((bits << 5) | value) & 0xfff;
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from((bits >> count) & 0xff).map_err(|_| wrong())?);
            }
        }
        if bytes.is_empty() { Err(wrong()) } else { Ok(Self(bytes.into())) }
    }

    /// The code of a step of thirty seconds, counted from 1970.
    pub(crate) fn code(&self, step: u64) -> SecretString {
        // A key of any length makes an HMAC.
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.0.expose_secret()) else {
            return SecretString::default();
        };
        mac.update(&step.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let at = usize::from(digest.last().copied().unwrap_or(0) & 0xf);
        let number =
            digest.iter().skip(at).take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000).into()
    }
}

/// The steps whose codes were sent. The server takes each code once, and those of the steps beside the present one too.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    last: Option<u64>,
}

impl Steps {
    /// The step whose code is to be sent next, and how long to wait before that.
    pub(crate) fn next(&mut self, now: SystemTime) -> (u64, Duration) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let present = now.as_secs() / STEP;
        let step = self.last.map_or(present, |last| present.max(last.saturating_add(1)));
        self.last = Some(step);
        // The one after the present one is taken as well, those behind it only when their time comes.
        let begins = Duration::from_secs(step.saturating_sub(1).saturating_mul(STEP));
        (step, begins.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_sent_twice() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut steps = Steps::default();
        assert_eq!(steps.next(at(605)), (20, Duration::ZERO));
        assert_eq!(steps.next(at(606)), (21, Duration::ZERO));
        assert_eq!(steps.next(at(607)), (22, Duration::from_secs(23)));
        assert_eq!(steps.next(at(900)), (30, Duration::ZERO));
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six digits; the secret is "12345678901234567890".
        let totp = Totp::new(&"GEZDGNBVGY3TQOJQ GEZDGNBVGY3TQOJQ".to_owned().into()).unwrap();
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(totp.code(seconds / STEP).expose_secret(), code, "{seconds}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        for wrong in ["", "canary1", "0"] {
            let error = Totp::new(&wrong.to_owned().into()).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        assert!(!format!("{:?}", Totp::new(&"GEZDGNBV".to_owned().into()).unwrap()).contains("1234"));
    }
}
