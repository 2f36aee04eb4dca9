use bytes::Bytes;

use super::table::area;
use crate::conformance::check::{Check, check, check_eq, refused, refused_field, refused_unknown};
use crate::conformance::context::Context;
use crate::error::ErrorKind::{AgentUnavailable, InvalidInput, InvalidState, NotFound};
use crate::model::Feature::{AgentAddresses, DirectBoot, GuestAgent};
use crate::model::{AddressSource, ByteSize, ExecSpec, VmId, WriteFile};
use crate::operation::Operation::{
    CreateVm, ExecInGuest, FreezeFilesystems, ListAddresses, PingAgent, ReadGuestFile, StartVm,
    ThawFilesystems, WriteGuestFile,
};

area! { "guest":
    a_stopped_guest_has_no_agent [CreateVm, PingAgent];
    a_guest_without_an_agent_does_not_answer [CreateVm, StartVm, PingAgent];
    an_unknown_guest_has_no_agent [PingAgent];
    an_unknown_guest_has_no_addresses [ListAddresses];
    a_stopped_guest_runs_no_commands [CreateVm, ExecInGuest];
    a_command_without_a_name_is_refused [CreateVm, ExecInGuest];
    an_agent_answers [CreateVm, StartVm, PingAgent, GuestAgent, DirectBoot] {Kernel, Initrd};
    a_command_runs [CreateVm, StartVm, PingAgent, ExecInGuest, GuestAgent, DirectBoot] {Kernel, Initrd};
    a_command_tells_how_it_failed [CreateVm, StartVm, PingAgent, ExecInGuest, GuestAgent, DirectBoot] {Kernel, Initrd};
    a_file_is_written_and_read [
        CreateVm, StartVm, PingAgent, ReadGuestFile, WriteGuestFile, GuestAgent, DirectBoot
    ] {Kernel, Initrd};
    a_missing_or_long_file_is_refused [
        CreateVm, StartVm, PingAgent, ReadGuestFile, WriteGuestFile, GuestAgent, DirectBoot
    ] {Kernel, Initrd};
    file_systems_are_frozen_and_thawed [
        CreateVm, StartVm, PingAgent, FreezeFilesystems, ThawFilesystems, GuestAgent, DirectBoot
    ] {Kernel, Initrd};
    an_agent_tells_addresses [
        CreateVm, StartVm, PingAgent, ListAddresses, AgentAddresses, GuestAgent, DirectBoot
    ] {Kernel, Initrd};
}

async fn a_stopped_guest_has_no_agent(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    refused("asking the agent of a stopped guest", cx.hv.ping_agent(&vm).await, InvalidState)?;
    Ok(())
}

async fn a_guest_without_an_agent_does_not_answer(cx: &Context) -> Check {
    let vm = cx.running("vm").await?;
    refused("asking an agent that is not there", cx.hv.ping_agent(&vm).await, AgentUnavailable)?;
    Ok(())
}

async fn an_unknown_guest_has_no_agent(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    refused_unknown("asking an unknown guest", cx.hv.ping_agent(&unknown).await, VmId::NOUN, &unknown)
}

async fn an_unknown_guest_has_no_addresses(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let listed = cx.hv.list_addresses(&unknown, None).await;
    refused_unknown("the addresses of an unknown guest", listed, VmId::NOUN, &unknown)
}

async fn a_stopped_guest_runs_no_commands(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let run = cx.hv.exec_in_guest(&vm, &ExecSpec::new("/bin/true")).await;
    refused("a command in a stopped guest", run, InvalidState)?;
    Ok(())
}

async fn a_command_without_a_name_is_refused(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let run = cx.hv.exec_in_guest(&vm, &ExecSpec::new("")).await;
    refused_field("a command without a name", run, "program")
}

async fn an_agent_answers(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    Ok(cx.hv.ping_agent(&vm).await?)
}

async fn a_command_runs(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    let output = cx.hv.exec_in_guest(&vm, &ExecSpec::new("/bin/echo").arg("two words")).await?;
    check!(output.success(), "`echo` ended with {output:?}");
    check_eq!("what it wrote", output.stdout, Bytes::from("two words\n"));
    check_eq!("what it complained of", output.stderr, Bytes::new());
    Ok(())
}

async fn a_command_tells_how_it_failed(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    let spec = ExecSpec::new("/bin/cat").arg("/no/such/file");
    let output = cx.hv.exec_in_guest(&vm, &spec).await?;
    check!(!output.success() && output.exit_code.is_some(), "`cat` of no file ended with {output:?}");
    check!(!output.stderr.is_empty(), "`cat` of no file complained of nothing");
    let missing = cx.hv.exec_in_guest(&vm, &ExecSpec::new("/no/such/program")).await;
    refused("a program that is not there", missing, NotFound)?;
    Ok(())
}

const FILE: &str = "/tmp/hypervisor-test";

async fn a_file_is_written_and_read(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    // More than an agent takes at a time, and not text.
    let content = crate::conformance::steps::pattern(100_000);
    cx.hv.write_guest_file(&vm, FILE, content.clone(), &WriteFile::replace()).await?;
    let read = cx.hv.read_guest_file(&vm, FILE, ByteSize::mib(1)).await?;
    check!(read == content, "{} bytes came back that differ from the {} written", read.len(), content.len());
    cx.hv.write_guest_file(&vm, FILE, Bytes::from("one "), &WriteFile::replace()).await?;
    cx.hv.write_guest_file(&vm, FILE, Bytes::from("two"), &WriteFile::append()).await?;
    let read = cx.hv.read_guest_file(&vm, FILE, ByteSize::mib(1)).await?;
    check_eq!("the file after a replace and an append", read, Bytes::from("one two"));
    Ok(())
}

async fn a_missing_or_long_file_is_refused(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    let missing = cx.hv.read_guest_file(&vm, "/tmp/no-such-file", ByteSize::mib(1)).await;
    refused("reading a missing file", missing, NotFound)?;
    cx.hv.write_guest_file(&vm, FILE, Bytes::from("long"), &WriteFile::replace()).await?;
    let long = cx.hv.read_guest_file(&vm, FILE, ByteSize::bytes(3)).await;
    refused("reading a file larger than the limit", long, InvalidInput)?;
    Ok(())
}

async fn file_systems_are_frozen_and_thawed(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    let frozen = cx.hv.freeze_filesystems(&vm).await?;
    let thawed = cx.hv.thaw_filesystems(&vm).await?;
    check_eq!("the number of file systems thawed", thawed, frozen);
    Ok(cx.hv.ping_agent(&vm).await?)
}

async fn an_agent_tells_addresses(cx: &Context) -> Check {
    let vm = cx.booted("vm").await?;
    let found = cx.hv.list_addresses(&vm, Some(AddressSource::Agent)).await?;
    let other = found.iter().find(|address| address.source != AddressSource::Agent);
    check!(other.is_none(), "asked of the agent, but came from elsewhere: {other:?}");
    let all = cx.hv.list_addresses(&vm, None).await?;
    check!(all.len() >= found.len(), "all sources know {}, the agent alone {}", all.len(), found.len());
    Ok(())
}
