//! What goes through the agent inside a guest, and where a guest's addresses are known.

mod agent;

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use hypervisor_core::model::{AddressSource, ByteSize, ExecOutput, ExecSpec, GuestAddress, VmId, WriteFile};
use hypervisor_core::traits::Guest;
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result, Retry};
use serde_json::{Value, json};
use virt::connect::Connect;
use virt_sys as sys;

use crate::backend::Libvirt;
use crate::compute::lookup;
use crate::error::{Outcome, named};
use crate::ffi;

/// How much of a file is read or written at a time: the agent's answers are held in memory several times over.
const PART: usize = 48 << 10;
/// The first pause between two looks at a command; it doubles up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// The addresses that one source knows.
fn addresses(conn: &Connect, vm: &VmId, source: AddressSource) -> Outcome<Vec<GuestAddress>> {
    let domain = lookup::domain(conn, vm)?;
    agent::refuse_unless_running(&domain, vm)?;
    let asked = match source {
        AddressSource::Lease => ffi::AddressSource::Lease,
        AddressSource::Agent => ffi::AddressSource::Agent,
        AddressSource::Arp => ffi::AddressSource::Arp,
        _ => return Err(Error::invalid("source", "libvirt does not know it").into()),
    };
    let found = ffi::interface_addresses(&domain, asked).map_err(|error| lookup::named(vm)(error.into()))?;
    let mut all = Vec::new();
    for interface in found {
        let mac = interface.mac.as_deref().and_then(|mac| mac.parse().ok());
        for (address, prefix) in interface.addresses {
            let Ok(address) = address.parse() else { continue };
            let mut entry = GuestAddress::new(address, source);
            entry.prefix = u8::try_from(prefix).ok();
            entry.mac = mac;
            // Of a lease it is the host's name for the NIC, not the guest's.
            entry.interface = (source == AddressSource::Agent).then(|| interface.name.clone());
            all.push(entry);
        }
    }
    Ok(all)
}

#[async_trait]
impl Guest for Libvirt {
    async fn ping_agent(&self, vm: &VmId) -> Result<()> {
        self.agent(Operation::PingAgent, vm, json!({"execute": "guest-ping"})).await.map(drop)
    }

    async fn list_addresses(&self, vm: &VmId, source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
        let operation = Operation::ListAddresses;
        if let Some(source) = source {
            self.inner.require(operation, &source.needs())?;
            let id = vm.clone();
            let limit = self.inner.config.timeout;
            let lane = crate::blocking::Lane::Slow;
            return self.inner.run(operation, lane, limit, move |conn| addresses(conn, &id, source)).await;
        }
        let known = [AddressSource::Lease, AddressSource::Agent, AddressSource::Arp];
        let able = |source: &AddressSource| self.inner.require(operation, &source.needs()).is_ok();
        let mut all = Vec::new();
        for source in known.into_iter().filter(able) {
            match Box::pin(self.list_addresses(vm, Some(source))).await {
                Ok(found) => all.extend(found),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidState) => {
                    return Err(error);
                }
                Err(error) => tracing::debug!(%vm, %source, %error, "a source of addresses does not answer"),
            }
        }
        Ok(all)
    }

    async fn exec_in_guest(&self, vm: &VmId, spec: &ExecSpec) -> Result<ExecOutput> {
        let operation = Operation::ExecInGuest;
        spec.validate().map_err(named(operation))?;
        let environment: Vec<_> = spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut arguments = json!({"path": spec.program, "arg": spec.args, "capture-output": true});
        if let Some(fields) = arguments.as_object_mut() {
            if !environment.is_empty() {
                fields.insert("env".into(), json!(environment));
            }
            if let Some(stdin) = &spec.stdin {
                fields.insert("input-data".into(), json!(STANDARD.encode(stdin)));
            }
        }
        // A deadline beyond what the clock can show is none.
        let deadline = tokio::time::Instant::now().checked_add(spec.deadline);
        let begun = self.agent(operation, vm, json!({"execute": "guest-exec", "arguments": arguments})).await;
        let begun = begun.map_err(missing(operation, &spec.program))?;
        let pid = begun.get("pid").cloned().unwrap_or_default();
        let mut pause = FIRST_LOOK;
        loop {
            let look = json!({"execute": "guest-exec-status", "arguments": {"pid": pid}});
            let status = self.agent(operation, vm, look).await;
            let now = tokio::time::Instant::now();
            let over = deadline.is_some_and(|deadline| now >= deadline);
            let exited = |status: &Value| status.get("exited").and_then(Value::as_bool) == Some(true);
            match status {
                Ok(status) if exited(&status) => {
                    return agent::exec_output(&status).map_err(named(operation));
                }
                Ok(_) => {}
                // A failed look is no failed command.
                Err(error) if error.retry() != Retry::Never && !over => {}
                Err(error) => return Err(error.with_effect(Effect::Unknown)),
            }
            if over {
                let why = format!("`{}` goes on inside the guest after {:?}", spec.program, spec.deadline);
                return Err(named(operation)(
                    Error::new(ErrorKind::Timeout, why).with_target(VmId::NOUN, vm),
                ));
            }
            let next = now + pause;
            tokio::time::sleep_until(deadline.map_or(next, |deadline| deadline.min(next))).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    async fn read_guest_file(&self, vm: &VmId, path: &str, limit: ByteSize) -> Result<Bytes> {
        let operation = Operation::ReadGuestFile;
        let handle = self.open_file(operation, vm, path, "rb").await?;
        let outcome = self.read_open(vm, &handle, limit).await;
        self.close_file(operation, vm, &handle).await;
        outcome
    }

    async fn write_guest_file(
        &self,
        vm: &VmId,
        path: &str,
        content: Bytes,
        options: &WriteFile,
    ) -> Result<()> {
        let operation = Operation::WriteGuestFile;
        let mode = if options.append { "ab" } else { "wb" };
        let handle = self.open_file(operation, vm, path, mode).await?;
        // The file is open, and with that made or emptied.
        let outcome = self.write_open(vm, &handle, &content).await.map_err(Error::after_part);
        self.close_file(operation, vm, &handle).await;
        outcome
    }

    async fn freeze_filesystems(&self, vm: &VmId) -> Result<u32> {
        self.file_systems(Operation::FreezeFilesystems, vm, ffi::freeze).await
    }

    async fn thaw_filesystems(&self, vm: &VmId) -> Result<u32> {
        self.file_systems(Operation::ThawFilesystems, vm, ffi::thaw).await
    }
}

impl Libvirt {
    /// Sends a command to a guest's agent and returns what it answers.
    async fn agent(&self, operation: Operation, vm: &VmId, command: Value) -> Result<Value> {
        let id = vm.clone();
        let limit = self.inner.config.agent_timeout;
        let seconds = u32::try_from(limit.as_secs()).unwrap_or(u32::MAX).max(1);
        let work = move |conn: &Connect| agent::command(conn, &id, &command, seconds);
        // libvirt waits five seconds of its own for the agent to answer at all, before the command's time begins.
        let limit = limit.saturating_add(Duration::from_secs(8));
        self.inner.run(operation, crate::blocking::Lane::Slow, limit, work).await
    }

    async fn open_file(&self, operation: Operation, vm: &VmId, path: &str, mode: &str) -> Result<Value> {
        if path.is_empty() || path.contains('\0') {
            return Err(named(operation)(Error::invalid("path", "must be a path inside the guest")));
        }
        let command = json!({"execute": "guest-file-open", "arguments": {"path": path, "mode": mode}});
        self.agent(operation, vm, command).await.map_err(missing(operation, path))
    }

    async fn close_file(&self, operation: Operation, vm: &VmId, handle: &Value) {
        let command = json!({"execute": "guest-file-close", "arguments": {"handle": handle}});
        if let Err(error) = self.agent(operation, vm, command).await {
            tracing::debug!(%vm, %error, "a file inside the guest stays open");
        }
    }

    async fn read_open(&self, vm: &VmId, handle: &Value, limit: ByteSize) -> Result<Bytes> {
        let operation = Operation::ReadGuestFile;
        let most = usize::try_from(limit.as_bytes()).unwrap_or(usize::MAX);
        let mut content = BytesMut::new();
        loop {
            let command =
                json!({"execute": "guest-file-read", "arguments": {"handle": handle, "count": PART}});
            let answer = self.agent(operation, vm, command).await?;
            content.extend_from_slice(&agent::decode(&answer, "buf-b64").map_err(named(operation))?);
            if content.len() > most {
                let why = format!("the file has more than the {limit} that are wanted");
                return Err(named(operation)(Error::invalid("limit", why)));
            }
            if answer.get("eof").and_then(Value::as_bool) != Some(false) {
                return Ok(content.freeze());
            }
        }
    }

    async fn write_open(&self, vm: &VmId, handle: &Value, content: &Bytes) -> Result<()> {
        let operation = Operation::WriteGuestFile;
        let mut rest = content.as_ref();
        while !rest.is_empty() {
            let part = rest.get(..PART.min(rest.len())).unwrap_or(rest);
            let arguments = json!({"handle": handle, "buf-b64": STANDARD.encode(part)});
            let answer =
                self.agent(operation, vm, json!({"execute": "guest-file-write", "arguments": arguments}));
            let written = answer.await?.get("count").and_then(Value::as_u64);
            let written = written.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
            rest = written.and_then(|count| rest.get(count..)).ok_or_else(|| {
                named(operation)(Error::new(
                    ErrorKind::Protocol,
                    "the agent does not say how much it has written",
                ))
            })?;
        }
        Ok(())
    }

    async fn file_systems(
        &self,
        operation: Operation,
        vm: &VmId,
        call: fn(&virt::domain::Domain, &[String]) -> Result<usize, crate::LibvirtError>,
    ) -> Result<u32> {
        let id = vm.clone();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            agent::refuse_unless_running(&domain, &id)?;
            let count = call(&domain, &[]).map_err(|error| lookup::named(&id)(error.into()))?;
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let limit = self.inner.config.timeout;
        self.inner.run(operation, crate::blocking::Lane::Slow, limit, work).await
    }
}

/// The state of libvirt in which CPUs run.
const RUNNING: std::ops::RangeInclusive<i32> = 1..=2;

/// A file that is not in the guest: the agent says it in words only.
fn missing(operation: Operation, path: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| {
        if error.message().contains("No such file") {
            return named(operation)(Error::not_found("file", path));
        }
        error
    }
}

/// The number of the error that a refused command gives.
const COMMAND_FAILED: u32 = sys::VIR_ERR_AGENT_COMMAND_FAILED;
