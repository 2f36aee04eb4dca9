//! A guest's screen and serial port.

use hypervisor_core::model::{ConsoleAccess, ConsoleKind, Screenshot, VmId};
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::stream::Stream;
use virt_sys as sys;

use super::{Shared, lookup};
use crate::error::{Fail, Outcome};
use crate::storage::stream::broken;
use crate::xml::{Element, guest};

/// A picture is some megabytes; more is no picture.
const MOST: usize = 256 << 20;

/// How to reach a console.
pub(super) async fn access(inner: &Shared, vm: &VmId, kind: ConsoleKind) -> Result<ConsoleAccess> {
    let (id, read_only) = (vm.clone(), inner.config.read_only);
    let work = move |conn: &Connect| -> Outcome<ConsoleAccess> {
        let domain = lookup::domain(conn, &id)?;
        refuse_unless_active(&domain, &id)?;
        let flags = if read_only { 0 } else { sys::VIR_DOMAIN_XML_SECURE };
        let live = Element::parse(&domain.get_xml_desc(flags)?)?;
        guest::console(&live, &kind).ok_or_else(|| {
            let error = Error::invalid_state(format!("it has no {kind} console"));
            Fail::Ours(error.with_target(VmId::NOUN, &id))
        })
    };
    inner.call(Operation::GetConsole, work).await
}

pub(crate) fn refuse_unless_active(domain: &virt::domain::Domain, vm: &VmId) -> Outcome<()> {
    if lookup::is_active(domain)? {
        return Ok(());
    }
    let state = lookup::state(domain)?;
    let error = Error::invalid_state(format!("it is {state}, but must be running"));
    Err(error.with_target(VmId::NOUN, vm).into())
}

/// A picture of the first screen.
pub(super) async fn screenshot(inner: &Shared, vm: &VmId) -> Result<Screenshot> {
    let id = vm.clone();
    let work = move |conn: &Connect| -> Outcome<Screenshot> {
        let domain = lookup::domain(conn, &id)?;
        refuse_unless_active(&domain, &id)?;
        let stream = Stream::new(conn, 0)?;
        let media_type =
            domain.screenshot(&stream, 0, 0).map_err(|error| lookup::named(&id)(Fail::from(error)))?;
        let mut picture = Vec::new();
        let mut part = vec![0; 256 << 10];
        while picture.len() <= MOST {
            match stream.recv(&mut part) {
                Ok(0) => {
                    stream.finish()?;
                    return Ok(Screenshot::new(media_type, picture));
                }
                Ok(count) => picture.extend(part.iter().take(count)),
                Err(error) => return Err(broken(stream, error)),
            }
        }
        stream.abort()?;
        Err(Error::new(ErrorKind::Protocol, format!("the picture has more than {MOST} bytes")).into())
    };
    inner.call_slow(Operation::ScreenshotVm, work).await
}
