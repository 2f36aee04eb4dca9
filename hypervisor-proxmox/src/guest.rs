//! What goes through the agent inside a guest.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hypervisor_core::model::{
    AddressSource, ByteSize, ExecOutput, ExecSpec, Feature, GuestAddress, GuestKind, VmId, WriteFile,
};
use hypervisor_core::traits::Guest;
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::Call;
use crate::backend::{Found, Inner, Proxmox};
use crate::compute::list;
use crate::error::named;
use crate::wire::agent as wire;
use crate::wire::form::Form;
use crate::wire::scalar::{Scalar as _, text_of};

/// How much of a file one call writes: the server takes 60 KiB of text, and base64 makes four characters of three bytes.
const WRITE_PART: usize = 45_000;
/// The most that one call reads of a file.
const READ_PART: u64 = 16 << 20;
/// The pauses between two looks at a command.
const POLL: Duration = Duration::from_millis(100);
const POLL_MOST: Duration = Duration::from_secs(2);

#[async_trait]
impl Guest for Proxmox {
    async fn ping_agent(&self, vm: &VmId) -> Result<()> {
        let operation = Operation::PingAgent;
        self.inner.require(operation, &[])?;
        self.inner.agent(operation, vm, &Ask::post("ping", Form::new()).reads()).await.map(drop)
    }

    async fn list_addresses(&self, vm: &VmId, source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
        let operation = Operation::ListAddresses;
        if let Some(source) = source {
            self.inner.require(operation, &source.needs())?;
        }
        addresses(&self.inner, vm, source).await.map_err(named(operation))
    }

    async fn exec_in_guest(&self, vm: &VmId, spec: &ExecSpec) -> Result<ExecOutput> {
        let operation = Operation::ExecInGuest;
        let form = wire::exec(spec).map_err(named(operation))?;
        self.inner.require(operation, &[])?;
        exec(&self.inner, vm, spec, form).await.map_err(named(operation))
    }

    async fn read_guest_file(&self, vm: &VmId, path: &str, limit: ByteSize) -> Result<Bytes> {
        let operation = Operation::ReadGuestFile;
        self.inner.require(operation, &[])?;
        read(&self.inner, vm, path, limit).await.map_err(named(operation))
    }

    async fn write_guest_file(
        &self,
        vm: &VmId,
        path: &str,
        content: Bytes,
        options: &WriteFile,
    ) -> Result<()> {
        let operation = Operation::WriteGuestFile;
        self.inner.require(operation, &[])?;
        write(&self.inner, vm, path, content, *options).await.map_err(named(operation))
    }

    async fn freeze_filesystems(&self, vm: &VmId) -> Result<u32> {
        let operation = Operation::FreezeFilesystems;
        self.inner.require(operation, &[])?;
        let answer = self.inner.agent(operation, vm, &Ask::post("fsfreeze-freeze", Form::new())).await?;
        count(&answer).map_err(named(operation))
    }

    async fn thaw_filesystems(&self, vm: &VmId) -> Result<u32> {
        let operation = Operation::ThawFilesystems;
        self.inner.require(operation, &[])?;
        let answer = self.inner.agent(operation, vm, &Ask::post("fsfreeze-thaw", Form::new())).await?;
        count(&answer).map_err(named(operation))
    }
}

/// One command of the agent.
struct Ask<'a> {
    command: &'a str,
    form: Form,
    get: bool,
    reads: bool,
}

impl<'a> Ask<'a> {
    fn post(command: &'a str, form: Form) -> Self {
        Self { command, form, get: false, reads: false }
    }

    fn get(command: &'a str, form: Form) -> Self {
        Self { command, form, get: true, reads: true }
    }

    fn reads(mut self) -> Self {
        self.reads = true;
        self
    }
}

impl Inner {
    async fn agent(&self, operation: Operation, vm: &VmId, ask: &Ask<'_>) -> Result<Bytes> {
        self.on_guest(operation, vm, |found| async move { self.agent_of(operation, &found, ask).await }).await
    }

    async fn agent_of(&self, operation: Operation, found: &Found, ask: &Ask<'_>) -> Result<Bytes> {
        if found.place.kind == GuestKind::Container {
            let error = Error::new(ErrorKind::AgentUnavailable, "containers have no guest agent");
            return Err(error.with_hint(
                "`pct exec` on the host runs commands in containers; the API has no call for it",
            ));
        }
        let path = found.path(&format!("/agent/{}", ask.command))?;
        let call = if ask.get {
            Call::get(path).query(ask.form.clone())
        } else {
            Call::post(path, ask.form.clone())
        };
        let call = if ask.reads { call.reads() } else { call };
        let answer = match self.api.bytes(&call.operation(operation)).await {
            // The server looks at the options first; that the guest is off matters more.
            Err(error) if error.kind() == ErrorKind::AgentUnavailable => {
                let state = list::current(self, operation, found).await?.state;
                if state.is_active() {
                    return Err(error);
                }
                return Err(Error::invalid_state(format!(
                    "it is {state}; only a running guest has an agent that answers"
                )));
            }
            other => other.map_err(refined)?,
        };
        if !answer.is_empty() {
            // An error of the agent may come with status 200.
            wire::result(&answer)?;
        }
        Ok(answer)
    }
}

/// What the agent itself says, behind `Agent error:`.
fn refined(error: Error) -> Error {
    let text = error.message();
    let is_agent = text.contains("Agent error") || text.contains("guest-");
    let missing =
        ["No such file or directory", "failed to open file", "Failed to execute child process", "not found"];
    if error.kind() == ErrorKind::Backend && is_agent && missing.iter().any(|words| text.contains(words)) {
        return crate::error::again(&error, Error::new(ErrorKind::NotFound, ""));
    }
    error
}

fn count(answer: &[u8]) -> Result<u32> {
    Ok(text_of(&wire::result(answer)?).and_then(|text| u32::from_text(&text)).unwrap_or(0))
}

async fn addresses(inner: &Inner, vm: &VmId, source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
    let operation = Operation::ListAddresses;
    inner
        .on_guest(operation, vm, |found| async move {
            if found.place.kind == GuestKind::Container {
                let call = Call::get(found.path("/interfaces")?).operation(operation);
                let mut found = match inner.api.bytes(&call).await {
                    Ok(answer) => wire::addresses(&answer)?,
                    Err(error) if source.is_none() && error.kind() == ErrorKind::InvalidState => Vec::new(),
                    Err(error) => return Err(error),
                };
                // The host has looked into the container: nobody inside had to say so.
                found.iter_mut().for_each(|address| address.source = AddressSource::Config);
                found.retain(|address| source.is_none_or(|source| address.source == source));
                return Ok(found);
            }
            if source == Some(AddressSource::Config) {
                return Ok(Vec::new());
            }
            let ask = Ask::get("network-get-interfaces", Form::new());
            match inner.agent_of(operation, &found, &ask).await {
                Ok(answer) => wire::addresses(&answer),
                // Nobody in the guest to ask is no failure where every source is meant; that there is no guest is.
                Err(error)
                    if source.is_none()
                        && matches!(error.kind(), ErrorKind::AgentUnavailable | ErrorKind::InvalidState) =>
                {
                    Ok(Vec::new())
                }
                Err(error) => Err(error),
            }
        })
        .await
}

async fn exec(inner: &Inner, vm: &VmId, spec: &ExecSpec, form: Form) -> Result<ExecOutput> {
    let operation = Operation::ExecInGuest;
    // A deadline beyond what the clock can show is none.
    let deadline = Instant::now().checked_add(spec.deadline);
    let over = |after: Duration| deadline.is_some_and(|deadline| Instant::now() + after > deadline);
    let started = inner.agent(operation, vm, &Ask::post("exec", form)).await?;
    let pid = wire::started(&started)?;
    let ask = Ask::get("exec-status", Form::new().number("pid", pid));
    let mut pause = POLL;
    loop {
        match inner.agent(operation, vm, &ask).await {
            Ok(answer) => {
                if let Some(output) = wire::output(&answer)? {
                    return Ok(output);
                }
            }
            // A failed look is no failed command.
            Err(error) if error.retry() != hypervisor_core::Retry::Never && !over(Duration::ZERO) => {}
            Err(error) => return Err(error.with_effect(Effect::Unknown)),
        }
        if over(pause) {
            let message = format!("the command still runs after {:?}, with the number {pid}", spec.deadline);
            return Err(Error::new(ErrorKind::Timeout, message).with_target(VmId::NOUN, vm));
        }
        sleep(pause).await;
        pause = (pause * 2).min(POLL_MOST);
    }
}

/// Reads a file. What is more than one call gives is read in parts, which only later releases can.
async fn read(inner: &Inner, vm: &VmId, path: &str, limit: ByteSize) -> Result<Bytes> {
    let operation = Operation::ReadGuestFile;
    let too_large = || Error::invalid("limit", format!("the file is larger than {limit}"));
    let mut all = Vec::new();
    loop {
        let offset = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let form = Form::new().text("file", path);
        let form = if offset == 0 { form } else { form.number("offset", offset).number("count", READ_PART) };
        let answer = match inner.agent(operation, vm, &Ask::get("file-read", form)).await {
            Err(error) if error.fields().contains_key("offset") => {
                let why = format!("this release reads at most {} of a file", ByteSize::bytes(READ_PART));
                return Err(crate::error::unsupported(operation, &why));
            }
            other => other?,
        };
        let (part, truncated) = wire::file(&answer)?;
        let ended = part.is_empty() || !truncated;
        all.extend_from_slice(&part);
        if u64::try_from(all.len()).unwrap_or(u64::MAX) > limit.as_bytes() {
            return Err(too_large());
        }
        if ended {
            return Ok(all.into());
        }
    }
}

/// Writes a file. What is more than one call takes is written in parts beside it, which a command inside the guest joins.
async fn write(inner: &Inner, vm: &VmId, path: &str, content: Bytes, options: WriteFile) -> Result<()> {
    if path.is_empty() || path.contains('\0') {
        return Err(Error::invalid("path", "must be a path inside the guest"));
    }
    if content.len() <= WRITE_PART && !options.append {
        return write_part(inner, vm, path, &content).await;
    }
    let mut joined = !options.append;
    let part = format!("{path}.hv-part");
    for (number, chunk) in content.chunks(WRITE_PART).enumerate() {
        let later = |error: Error| if number > 0 { error.after_part() } else { error };
        if joined {
            // The first part of a file that is replaced.
            write_part(inner, vm, path, chunk).await?;
            joined = false;
            continue;
        }
        write_part(inner, vm, &part, chunk).await.map_err(later)?;
        let script = "cat \"$1\" >> \"$2\" && rm -f \"$1\"";
        let spec = ExecSpec::new("/bin/sh").arg("-c").arg(script).arg("sh").arg(&part).arg(path);
        let form = wire::exec(&spec)?;
        let output = exec(inner, vm, &spec, form).await.map_err(Error::after_part)?;
        if !output.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let error =
                Error::new(ErrorKind::Backend, format!("the parts of the file cannot be joined: {why}"));
            return Err(error.with_effect(Effect::Partial).with_target(VmId::NOUN, vm));
        }
    }
    Ok(())
}

async fn write_part(inner: &Inner, vm: &VmId, path: &str, content: &[u8]) -> Result<()> {
    // Encoded here: the server would take bytes that are no text for something else.
    let form = Form::new().text("file", path).text("content", wire::base64(content)).flag("encode", false);
    inner.agent(Operation::WriteGuestFile, vm, &Ask::post("file-write", form)).await.map(drop)
}

impl Proxmox {
    /// Asks the agent a question of QEMU's own (`get-osinfo`, `get-fsinfo`, `get-users`, …) and gives its answer as it is.
    ///
    /// # Errors
    /// As the methods of [`Guest`]; `Unsupported` where the agent does not know the command.
    pub async fn ask_agent(&self, vm: &VmId, command: &str) -> Result<Value> {
        let command = crate::wire::form::segment("command", command)?;
        let operation = Operation::PingAgent;
        self.inner.require(operation, &[Feature::GuestAgent])?;
        wire::result(&self.inner.agent(operation, vm, &Ask::get(&command, Form::new())).await?)
    }

    /// What a guest does, without its configuration: one request, always from the node that has it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn vm_status(&self, vm: &VmId) -> Result<hypervisor_core::model::VmInfo> {
        list::state(&self.inner, Operation::GetVm, vm).await
    }
}
