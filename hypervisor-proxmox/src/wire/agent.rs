//! The agent inside a guest, as the server hands on what it says.

use std::net::IpAddr;

use bytes::Bytes;
use hypervisor_core::model::{AddressSource, ExecOutput, ExecSpec, GuestAddress};
use hypervisor_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::form::Form;
use super::scalar::{Scalar, row, text_of};

row! {
    /// The answer of `agent/exec-status`.
    ExecStatus {
        /// Whether the command has ended.
        exited: bool = "exited",
        /// Its exit code.
        exitcode: f64 = "exitcode",
        /// The signal that ended it.
        signal: f64 = "signal",
        /// What it wrote to its standard output, byte for character.
        out_data: String = "out-data",
        /// What it wrote to its standard error.
        err_data: String = "err-data",
        /// Whether output was cut off.
        out_truncated: bool = "out-truncated",
        /// Whether error output was cut off.
        err_truncated: bool = "err-truncated",
    }
}

/// The bytes behind a text that the server has read as Latin-1. A text with other characters stands for itself.
#[must_use]
pub fn bytes_of(text: &str) -> Bytes {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    bytes.map_or_else(|| Bytes::copy_from_slice(text.as_bytes()), Bytes::from)
}

/// What a command of the agent gave back.
///
/// # Errors
/// `Unsupported` where the agent does not know the command, which the server says with status 200.
pub fn result(body: &[u8]) -> Result<Value> {
    let mut answer: Value = super::envelope::data(body)?;
    let Some(inner) = answer.get_mut("result").map(Value::take) else { return Ok(answer) };
    let Some(error) = inner.get("error") else { return Ok(inner) };
    let text = |key: &str| error.get(key).and_then(text_of).unwrap_or_default();
    let class = text("class");
    let kind = if class == "CommandNotFound" { ErrorKind::Unsupported } else { ErrorKind::Backend };
    Err(Error::new(kind, text("desc")).with_code(class).with_backend(crate::BACKEND))
}

/// The parameters of `agent/exec`.
///
/// # Errors
/// `InvalidInput` naming the field; environment variables cannot be set.
pub fn exec(spec: &ExecSpec) -> Result<Form> {
    spec.validate()?;
    if !spec.env.is_empty() {
        return Err(Error::invalid(
            "env",
            "Proxmox hands on no environment; use `/usr/bin/env` as the program",
        ));
    }
    // As an array: one string would become the name of a program with blanks in it.
    let command = std::iter::once(&spec.program).chain(&spec.args).cloned();
    let form = Form::new().each("command", command);
    let Some(stdin) = &spec.stdin else { return Ok(form) };
    let text = std::str::from_utf8(stdin)
        .map_err(|_| Error::invalid("stdin", "Proxmox takes text in UTF-8 only"))?;
    Ok(form.text("input-data", text))
}

/// The number of the command that was started.
///
/// # Errors
/// `Protocol` where the answer has none.
pub fn started(body: &[u8]) -> Result<u64> {
    let answer: Value = super::envelope::data(body)?;
    let pid = answer.get("pid").and_then(text_of).and_then(|pid| u64::from_text(&pid));
    pid.ok_or_else(|| Error::new(ErrorKind::Protocol, "the answer has no pid").with_backend(crate::BACKEND))
}

/// What a command has given; `None` while it runs.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn output(body: &[u8]) -> Result<Option<ExecOutput>> {
    let status: ExecStatus = super::envelope::data(body)?;
    if status.exited != Some(true) {
        return Ok(None);
    }
    let whole = |number: Option<f64>| number.and_then(|number| format!("{number:.0}").parse::<i32>().ok());
    let of = |text: Option<String>| bytes_of(text.as_deref().unwrap_or_default());
    let mut output = ExecOutput::exited(0, of(status.out_data), of(status.err_data));
    output.exit_code = whole(status.exitcode);
    output.signal = whole(status.signal);
    output.truncated = status.out_truncated == Some(true) || status.err_truncated == Some(true);
    Ok(Some(output))
}

/// A file's content from `agent/file-read`, and whether it was cut off.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn file(body: &[u8]) -> Result<(Bytes, bool)> {
    let answer: Value = super::envelope::data(body)?;
    let content = answer.get("content").and_then(text_of).unwrap_or_default();
    let truncated = answer.get("truncated").and_then(text_of).and_then(|text| bool::from_text(&text));
    Ok((bytes_of(&content), truncated.unwrap_or(false)))
}

/// Bytes for `agent/file-write` with `encode=0`.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = part.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4_usize {
            let digit = usize::try_from(word >> (18 - 6 * place) & 63).ok().and_then(|at| DIGITS.get(at));
            out.push(if place > part.len() { '=' } else { char::from(digit.copied().unwrap_or(b'A')) });
        }
    }
    out
}

/// The addresses that the agent knows (`agent/network-get-interfaces`), or that a container has (`lxc/{vmid}/interfaces`).
///
/// # Errors
/// As [`result`].
pub fn addresses(body: &[u8]) -> Result<Vec<GuestAddress>> {
    let answer = result(body)?;
    let empty = Vec::new();
    let interfaces = answer.as_array().unwrap_or(&empty);
    Ok(interfaces.iter().flat_map(of_interface).collect())
}

fn of_interface(interface: &Value) -> Vec<GuestAddress> {
    let text = |of: &Value, keys: [&str; 2]| keys.iter().find_map(|key| of.get(*key).and_then(text_of));
    let name = text(interface, ["name", "ifname"]);
    let mac = text(interface, ["hardware-address", "hwaddr"]).and_then(|mac| mac.parse().ok());
    let finish = |address: IpAddr, prefix: Option<u8>| {
        let mut found = GuestAddress::new(address, AddressSource::Agent);
        (found.prefix, found.mac, found.interface) = (prefix, mac, name.clone());
        found
    };
    if let Some(list) = interface.get("ip-addresses").and_then(Value::as_array) {
        let found = list.iter().filter_map(|entry| {
            let prefix = text(entry, ["prefix", "prefix-length"]).and_then(|prefix| prefix.parse().ok());
            // A link-local address may name its interface.
            let address = text(entry, ["ip-address", "address"])?;
            Some(finish(address.split('%').next()?.parse().ok()?, prefix))
        });
        return found.collect();
    }
    // Containers on older releases: one address of each family, with its prefix.
    let families = ["inet", "inet6"].into_iter().filter_map(|key| interface.get(key).and_then(text_of));
    let found = families.filter_map(|cidr| {
        let (address, prefix) =
            cidr.split_once('/').map_or((cidr.as_str(), None), |(a, p)| (a, p.parse().ok()));
        Some(finish(address.parse().ok()?, prefix))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    #[test]
    fn output_comes_back_as_the_bytes_that_it_was() {
        let body =
            "{\"data\":{\"out-data\":\"hi Ã¼\\n\",\"exited\":1,\"err-data\":\"warn\\n\",\"exitcode\":3}}";
        let output = output(body.as_bytes()).unwrap().unwrap();
        assert_eq!(output.stdout, "hi ü\n");
        assert_eq!((output.exit_code, output.signal), (Some(3), None));
        assert_eq!(super::output(br#"{"data":{"exited":0}}"#).unwrap(), None);
        assert_eq!(bytes_of("\u{ff}"), Bytes::from_static(&[0xff]));
        assert_eq!(bytes_of("€"), "€");
    }

    #[test]
    fn a_command_that_the_agent_does_not_know_is_an_error() {
        let body = br#"{"data":{"result":{"error":{"desc":"The command guest-get-users has not been found","class":"CommandNotFound"}}}}"#;
        assert_eq!(result(body).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(result(br#"{"data":{"result":{}}}"#).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn addresses_are_read_from_both_kinds_of_guests() {
        let vm = br#"{"data":{"result":[{"name":"eth0","hardware-address":"bc:24:11:81:50:d5","ip-addresses":[
            {"ip-address":"10.0.0.5","ip-address-type":"ipv4","prefix":24},{"ip-address":"fe80::1%eth0","prefix":"64"},{"ip-address":"odd"}]},
            {"name":"lo","hardware-address":"00:00:00:00:00:00"}]}}"#;
        let found = addresses(vm).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].prefix, found[0].interface.as_deref()), (Some(24), Some("eth0")));
        assert!(found[0].mac.is_some());
        let ct = br#"{"data":[{"name":"eth0","hwaddr":"bc:24:11:66:6e:2b","inet":"10.0.0.6/24","inet6":"fe80::2/64"}]}"#;
        assert_eq!(addresses(ct).unwrap().len(), 2);
        assert!(addresses(br#"{"data":null}"#).unwrap().is_empty());
    }

    #[test]
    fn a_command_is_an_array() {
        let form = exec(&ExecSpec::new("/bin/ls").arg("-l /").stdin("x")).unwrap();
        assert_eq!(form.encode(), "command=%2Fbin%2Fls&command=-l%20%2F&input-data=x");
        assert!(exec(&ExecSpec::new("/bin/ls").env([("A".into(), "b".into())].into())).is_err());
        assert_eq!(started(br#"{"data":{"pid":"4242"}}"#).unwrap(), 4242);
        assert!(started(br#"{"data":null}"#).is_err());
    }
}
