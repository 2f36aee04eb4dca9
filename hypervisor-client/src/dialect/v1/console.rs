//! A console's bytes, through a WebSocket of an extended gateway.

use hypervisor_core::http::WebSocket;
use hypervisor_core::model::{ConsoleKind, VmId};
use hypervisor_core::{Operation as O, Result};

use super::V1;
use super::call::{about, json};

impl V1 {
    /// Opens a machine's console: raw bytes of VNC, SPICE or its serial port in binary frames, both ways
    /// (`GET /v1/vms/{vm}/console/stream`). The gateway does not take part in what they say.
    ///
    /// # Errors
    /// `InvalidState` if the machine does not run or has no such console, `Unsupported` on a gateway that is not extended.
    pub async fn open_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<WebSocket> {
        self.needs(O::GetConsole, &[])?;
        let path = format!("{}/stream", self.request(O::GetConsole, &[vm.as_str()])?.path());
        let request = hypervisor_core::http::Request::get(path).operation(O::GetConsole);
        let request = request.query("kind", json("kind", kind)?);
        self.link.websocket(request).await.map_err(about(VmId::NOUN, vm))
    }
}
