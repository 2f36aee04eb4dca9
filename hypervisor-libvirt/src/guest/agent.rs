//! Commands to the agent and their answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hypervisor_core::model::{ExecOutput, VmId};
use hypervisor_core::{Error, ErrorKind, Result};
use serde_json::Value;
use virt::connect::Connect;
use virt::domain::Domain;

use super::{COMMAND_FAILED, RUNNING};
use crate::compute::lookup;
use crate::error::{Fail, Outcome};
use crate::ffi;

/// Refuses a guest whose agent cannot answer.
pub(super) fn refuse_unless_running(domain: &Domain, vm: &VmId) -> Outcome<()> {
    if RUNNING.contains(&ffi::state(domain)?.0) {
        return Ok(());
    }
    let error = Error::invalid_state(format!("it is {}, but must be running", lookup::state(domain)?));
    Err(error.with_target(VmId::NOUN, vm).into())
}

/// Sends a command, and returns what is in the answer's `return`.
pub(super) fn command(conn: &Connect, vm: &VmId, command: &Value, seconds: u32) -> Outcome<Value> {
    let domain = lookup::domain(conn, vm)?;
    refuse_unless_running(&domain, vm)?;
    let answer = ffi::agent_command(&domain, &command.to_string(), seconds).map_err(|error| {
        let refused = error.code == COMMAND_FAILED;
        let fail = lookup::named(vm)(error.into());
        // The agent answered: it is there, and its reason is what counts.
        if refused {
            Fail::Ours(Error::from(fail).with_effect(hypervisor_core::Effect::Unknown))
        } else {
            fail
        }
    })?;
    let parsed: Value = serde_json::from_str(&answer).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("the agent's answer is no JSON: {error}"))
    })?;
    Ok(parsed.get("return").cloned().unwrap_or_default())
}

/// A Base64 field of an answer; nothing where there is none.
pub(super) fn decode(answer: &Value, field: &str) -> Result<Bytes> {
    let text = answer.get(field).and_then(Value::as_str).unwrap_or_default();
    let decoded = STANDARD.decode(text);
    let decoded =
        decoded.map_err(|error| Error::new(ErrorKind::Protocol, format!("`{field}` is no Base64: {error}")));
    decoded.map(Bytes::from)
}

/// How a command ended.
pub(super) fn exec_output(status: &Value) -> Result<ExecOutput> {
    let number =
        |name: &str| status.get(name).and_then(Value::as_i64).and_then(|value| i32::try_from(value).ok());
    let flag = |name: &str| status.get(name).and_then(Value::as_bool).unwrap_or_default();
    let (stdout, stderr) = (decode(status, "out-data")?, decode(status, "err-data")?);
    let mut output = ExecOutput::exited(number("exitcode").unwrap_or_default(), stdout, stderr);
    output.exit_code = number("exitcode");
    output.signal = number("signal");
    Ok(output.truncated(flag("out-truncated") || flag("err-truncated")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_end_is_read() {
        let output =
            exec_output(&json!({"exited": true, "exitcode": 3, "out-data": "aGk=", "out-truncated": true}));
        let output = output.unwrap();
        assert_eq!((output.exit_code, output.signal), (Some(3), None));
        assert_eq!((output.stdout.as_ref(), output.stderr.as_ref()), (&b"hi"[..], &b""[..]));
        assert!(output.truncated && !output.success());
        let killed = exec_output(&json!({"exited": true, "signal": 9})).unwrap();
        assert_eq!((killed.exit_code, killed.signal), (None, Some(9)));
        assert_eq!(exec_output(&json!({"out-data": "?"})).unwrap_err().kind(), ErrorKind::Protocol);
    }
}
