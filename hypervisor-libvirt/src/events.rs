//! What is not there yet: the capabilities say so, with the reason.

use hypervisor_core::traits::{Batch, Events};

use crate::backend::Libvirt;

impl Events for Libvirt {}

/// libvirt has no bulk calls that change anything: core's own algorithm.
impl Batch for Libvirt {}
