//! Ways to a domain's screen and serial port.

use hypervisor_core::Result;

use super::{Api, Call};
use crate::dialect::hypersdk::names::check;
use crate::dialect::hypersdk::routes::{self, Route};
use crate::dialect::hypersdk::wire::{ConsoleInfo, Saved, SerialDevice, VncConsole};

impl Api {
    /// Reads where a running domain's VNC server listens (`GET /libvirt/console`).
    pub async fn vnc_console(&self, name: &str) -> Result<VncConsole> {
        self.send(of(&routes::VNC_CONSOLE, name)?).await?.object()
    }

    /// Reads what consoles a domain has (`GET /console/info`); one that does not exist has none.
    pub async fn console_info(&self, name: &str) -> Result<ConsoleInfo> {
        self.send(of(&routes::CONSOLE_INFO, name)?).await?.object()
    }

    /// Gets a page for people that tells how to reach a domain's screen, as HTML (`GET /console/vnc`).
    pub async fn vnc_page(&self, name: &str) -> Result<String> {
        Ok(self.send(of(&routes::CONSOLE_VNC, name)?).await?.text())
    }

    /// Gets a page for people that tells how to reach a domain's serial port, as HTML (`GET /console/serial`).
    pub async fn serial_page(&self, name: &str) -> Result<String> {
        Ok(self.send(of(&routes::CONSOLE_SERIAL, name)?).await?.text())
    }

    /// Reads which terminal on the host is behind a running domain's serial port (`GET /console/serial-device`).
    pub async fn serial_device(&self, name: &str) -> Result<SerialDevice> {
        self.send(of(&routes::CONSOLE_SERIAL_DEVICE, name)?).await?.object()
    }

    /// Saves a picture of a running domain's screen on the daemon's host and returns the file's path there (`GET /console/screenshot`). The picture
    /// itself cannot be had from the daemon.
    pub async fn screenshot(&self, name: &str) -> Result<String> {
        let saved: Saved = self.send(of(&routes::CONSOLE_SCREENSHOT, name)?).await?.object()?;
        Ok(saved.path)
    }
}

fn of(route: &Route, name: &str) -> Result<Call> {
    check("vm", name)?;
    Ok(Call::new(route).query("name", name).about("vm", name))
}
