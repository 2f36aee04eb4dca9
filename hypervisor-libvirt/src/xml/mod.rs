//! libvirt's XML, without a connection: an ordered tree, and what is read from it and written to it.

mod element;
mod units;

pub use element::{Element, Node, XmlError};
