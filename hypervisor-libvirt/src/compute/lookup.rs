//! Finding a domain, and reading its state and definition.

use hypervisor_core::model::{HostId, VmId, VmInfo, VmState};
use hypervisor_core::{Error, ErrorKind};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use crate::error::{Fail, Outcome};
use crate::ffi;
use crate::xml::Element;
use crate::xml::guest::{self, Facts};
use crate::xml::marks::Marks;

const SHUT_OFF: i32 = 5;

/// The domain of this id.
pub(crate) fn domain(conn: &Connect, vm: &VmId) -> Outcome<Domain> {
    // An id that is no UUID was not given by us.
    let uuid = Uuid::parse_str(vm.as_str()).map_err(|_| vm.not_found())?;
    Domain::lookup_by_uuid(conn, uuid).map_err(|error| {
        let fail = Fail::from(error);
        if fail.has_code(sys::VIR_ERR_NO_DOMAIN) { vm.not_found().into() } else { named(vm)(fail) }
    })
}

/// The name that is taken, if it is.
pub(crate) fn refuse_taken_name(conn: &Connect, name: &str) -> Outcome<()> {
    match Domain::lookup_by_name(conn, name) {
        Ok(_) => Err(Error::already_exists(VmId::NOUN, name).into()),
        Err(error) => match Fail::from(error) {
            fail if fail.has_code(sys::VIR_ERR_NO_DOMAIN) => Ok(()),
            fail => Err(fail),
        },
    }
}

/// Names the guest in an error.
pub(crate) fn named(vm: &VmId) -> impl Fn(Fail) -> Fail + '_ {
    move |fail| Fail::Ours(Error::from(fail).with_target(VmId::NOUN, vm))
}

/// The state of a domain.
pub(crate) fn state(domain: &Domain) -> Outcome<VmState> {
    let (state, reason) = ffi::state(domain)?;
    let saved = state == SHUT_OFF && domain.has_managed_save(0)?;
    Ok(guest::state(state, reason, saved))
}

/// Whether a domain occupies the host's memory.
pub(crate) fn is_active(domain: &Domain) -> Outcome<bool> {
    Ok(domain.is_active()?)
}

/// The definition that is used at the next start, as others may see it.
pub(crate) fn definition(domain: &Domain) -> Outcome<String> {
    Ok(domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?)
}

/// The definition with its passwords, which a definition that is given back must have.
pub(crate) fn whole_definition(domain: &Domain) -> Outcome<Element> {
    let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    Ok(Element::parse(&domain.get_xml_desc(flags)?)?)
}

/// What the domain is now: for a running one, with what libvirt has added.
pub(crate) fn live(domain: &Domain) -> Outcome<Element> {
    Ok(Element::parse(&domain.get_xml_desc(0)?)?)
}

/// The facts of a domain; of a running one, CPUs and memory are those it runs with.
pub(crate) fn facts(domain: &Domain, active: bool) -> Outcome<Facts> {
    let mut facts = guest::facts(&Element::parse(&definition(domain)?)?)?;
    if active {
        let info = domain.get_info()?;
        facts.cpus = info.nr_virt_cpu;
        facts.memory = hypervisor_core::model::ByteSize::kib(info.memory);
    }
    Ok(facts)
}

/// Refuses a template, which is not to be changed by running it.
pub(crate) fn refuse_template(definition: &Element, vm: &VmId) -> Outcome<()> {
    if Marks::read(definition).template {
        return Err(Error::invalid_state("it is a template").with_target(VmId::NOUN, vm).into());
    }
    Ok(())
}

/// A guest as a list shows it, but for what it does now and whether it starts with the host.
pub(crate) fn info(facts: Facts, host: &HostId) -> VmInfo {
    let mut info = VmInfo::new(facts.uuid.as_str(), facts.name, VmState::Stopped)
        .uid(facts.uuid)
        .kind(facts.kind)
        .host(host)
        .cpus(facts.cpus)
        .memory(facts.memory)
        .tags(facts.marks.tags)
        .template(facts.marks.template);
    info.description = facts.description;
    info.client_token = facts.marks.client_token;
    info.created = facts.marks.created;
    info
}

/// A guest of which no more is known than that it is there, and why.
pub(crate) fn unread(uuid: Uuid, name: &str, host: &HostId, fail: &Fail) -> VmInfo {
    tracing::warn!(%uuid, name, error = %fail, "the definition of a guest cannot be read");
    let mut info = VmInfo::new(uuid.to_string(), name, VmState::Stopped).uid(uuid.to_string()).host(host);
    info.extra.insert(crate::BACKEND, "trouble", fail.to_string());
    info
}

/// Refuses to go on when the domain has another uid than the caller expects.
pub(crate) fn check_uid(domain: &Domain, vm: &VmId, expected: Option<&str>) -> Outcome<()> {
    let uuid = domain.get_uuid_string()?;
    let info = VmInfo::new(vm, "", VmState::Stopped).uid(uuid);
    Ok(info.check_uid(expected)?)
}

/// The error for a guest whose definition does not outlive it.
pub(crate) fn refuse_ephemeral(domain: &Domain, vm: &VmId) -> Outcome<()> {
    if domain.is_persistent()? {
        return Ok(());
    }
    let error =
        Error::new(ErrorKind::InvalidState, "it is ephemeral: it has no definition that could be changed");
    Err(error.with_target(VmId::NOUN, vm).into())
}
