//! Consoles and the picture on the screen.

use std::time::Duration;

use super::serial::Serial;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::state::{Vm, World};
use crate::model::{ConsoleAccess, ConsoleKind, ConsoleStream, GraphicsKind, GuestKind, Screenshot, VmId};
use crate::operation::Operation;

const WIDTH: u8 = 16;
const HEIGHT: u8 = 12;

impl World {
    /// The guest, if it has power.
    fn powered(&self, id: &VmId) -> Result<&Vm> {
        let vm = self.vm(id)?;
        if vm.state.is_active() {
            return Ok(vm);
        }
        Err(Error::invalid_state(format!("it is {}", vm.state)).with_target(VmId::NOUN, id))
    }

    pub(super) fn console(&mut self, id: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        let vm = self.powered(id)?;
        let spec = vm.in_force();
        let has = match kind {
            ConsoleKind::Vnc => spec.graphics == Some(GraphicsKind::Vnc),
            ConsoleKind::Spice => spec.graphics == Some(GraphicsKind::Spice),
            ConsoleKind::Serial => spec.serial.is_some() || spec.kind == GuestKind::Container,
            ConsoleKind::Unknown(_) => false,
        };
        if !has {
            return Err(Error::invalid_state(format!("it has no {kind} console")).with_target(VmId::NOUN, id));
        }
        let active = self.vms.values().filter(|other| other.state.is_active());
        let number = u16::try_from(active.take_while(|other| other.id != *id).count()).unwrap_or(u16::MAX);
        let access = ConsoleAccess::new(kind.clone());
        if *kind == ConsoleKind::Serial {
            return Ok(access.path(format!("/dev/pts/{number}")));
        }
        let password = self.rng.u32(..);
        Ok(access
            .address("127.0.0.1")
            .port(5900_u16.saturating_add(number))
            .password(format!("{password:08x}"))
            .valid_for(Duration::from_secs(30)))
    }

    pub(super) fn open_console(&mut self, id: &VmId, kind: &ConsoleKind) -> Result<ConsoleStream> {
        self.console(id, kind)?;
        if *kind != ConsoleKind::Serial {
            let why = "nobody is behind the screens of in-memory guests";
            return Err(Error::unsupported(Operation::GetConsole, why).with_target(VmId::NOUN, id));
        }
        self.serials.retain(|_, open| !open.is_left());
        if self.serials.contains_key(id) {
            let why = "its serial port is open already";
            return Err(Error::new(ErrorKind::Locked, why).with_target(VmId::NOUN, id));
        }
        let serial = Serial::greeting(&self.vm(id)?.in_force().name);
        self.serials.insert(id.clone(), serial.clone());
        Ok(ConsoleStream::new(serial))
    }

    pub(super) fn screenshot(&self, id: &VmId) -> Result<Screenshot> {
        let vm = self.powered(id)?;
        if vm.in_force().graphics.is_none() {
            return Err(Error::invalid_state("it has no screen").with_target(VmId::NOUN, id));
        }
        let colour: Vec<u8> = vm.uid.bytes().take(3).collect();
        let mut picture = format!("P6\n{WIDTH} {HEIGHT}\n255\n").into_bytes();
        for _ in 0..u16::from(WIDTH) * u16::from(HEIGHT) {
            picture.extend_from_slice(&colour);
        }
        Ok(Screenshot::new("image/x-portable-pixmap", picture))
    }
}
