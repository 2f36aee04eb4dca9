//! libvirt's XML, without a connection: an ordered tree, and what is read from it and written to it.

pub(crate) mod backup;
pub(crate) mod capabilities;
pub(crate) mod device;
pub(crate) mod domain;
mod element;
pub(crate) mod guest;
pub(crate) mod marks;
pub(crate) mod network;
pub(crate) mod snapshot;
pub(crate) mod storage;
mod units;

pub use element::{Element, Node, XmlError};
