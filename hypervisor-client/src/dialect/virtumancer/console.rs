//! Screens: a WebSocket on the server that passes the bytes of VNC or SPICE on.

use hypervisor_core::http::{Request, WebSocket};
use hypervisor_core::model::{ConsoleAccess, ConsoleKind, VmId};
use hypervisor_core::{Error, Operation, Result};

use super::BACKEND;
use super::backend::Virtumancer;
use super::wire::Place;

/// The last part of the path.
fn part(kind: &ConsoleKind) -> Result<&'static str> {
    match kind {
        ConsoleKind::Vnc => Ok("console"),
        ConsoleKind::Spice => Ok("spice"),
        _ => Err(Error::invalid("kind", "the server passes on VNC and SPICE screens only")),
    }
}

impl Virtumancer {
    /// The path of a console's WebSocket below [`Generation::base`](super::Generation::base), without looking whether the guest has one.
    ///
    /// # Errors
    /// `NotFound` for an id that is none of this server's, `Unsupported` for the document's shape, `InvalidInput` for a console that is no screen.
    pub fn console_path(&self, vm: &VmId, kind: &ConsoleKind) -> Result<String> {
        let place = Place::vm(vm)?;
        let parts = [("host", place.host.as_str()), ("vm", place.name.as_str()), ("console", part(kind)?)];
        Ok(self.inner.api.request(Operation::GetConsole, &parts)?.path().to_owned())
    }

    /// Opens a running guest's screen: binary messages with the bytes of VNC (RFB) or SPICE. The server opens every such WebSocket, and
    /// where there is no screen behind it, or the host's URI names no user and host to reach it by, it cuts it without a word.
    ///
    /// # Errors
    /// As [`get_console`](hypervisor_core::Compute::get_console), and what opening a WebSocket says.
    pub async fn open_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<WebSocket> {
        self.require(Operation::GetConsole, &[])?;
        self.console(vm, kind).await?;
        let request = Request::get(self.console_path(vm, kind)?).header("sec-websocket-protocol", "binary");
        self.inner.api.websocket(request).await.map_err(|error| error.with_target(VmId::NOUN, vm))
    }

    pub(super) async fn console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        let path = self.console_path(vm, kind)?;
        let place = Place::vm(vm)?;
        let (row, reachable) = self.inner.api.vm_now(&place).await?;
        let refuse =
            |why: String| Error::invalid_state(why).with_target(VmId::NOUN, vm).with_backend(BACKEND);
        let state = row.state(reachable);
        if !state.is_active() {
            return Err(refuse(format!("it is {state}, but must be running")));
        }
        let there = if *kind == ConsoleKind::Spice { row.graphics.spice } else { row.graphics.vnc };
        if !there {
            return Err(refuse(format!(
                "it has no {} screen",
                if *kind == ConsoleKind::Spice { "SPICE" } else { "VNC" }
            )));
        }
        let base = self.inner.api.http.base().as_str().trim_end_matches('/').to_owned();
        let base = base.replacen("http", "ws", 1);
        Ok(ConsoleAccess::new(kind.clone()).url(format!("{base}{path}")))
    }
}
