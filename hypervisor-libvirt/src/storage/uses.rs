//! Which guest uses which file of the host.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hypervisor_core::{Error, ErrorKind};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use crate::blocking::CallError as _;
use crate::compute::volumes::{handle_at_path, named};
use crate::error::{Fail, Outcome};
use crate::xml::Element;
use crate::xml::device::{named_volume, source_path};
use crate::xml::storage::volume_id;

/// How long what was read is believed: a batch that deletes many guests reads all definitions once in this time, rather than once for each.
const BELIEVED: Duration = Duration::from_secs(1);
/// More files than any chain has.
const DEEPEST: usize = 64;

/// The files that guests use, as their definitions say and as those that run do.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// The guests by the path, each with its name.
    by_path: HashMap<String, Vec<(Uuid, String)>>,
    /// Guests whose definition is beyond us.
    unread: Vec<Unread>,
    /// What the files of disks start from, as far as it was asked.
    below: Mutex<HashMap<String, Option<String>>>,
}

#[derive(Debug)]
struct Unread {
    uuid: Uuid,
    name: String,
    why: String,
    /// The definition as libvirt gave it, where it did.
    text: Option<String>,
}

impl Unread {
    /// Whether it may use this file: its text has the name of the file in it, or is not known.
    fn may_use(&self, path: &str) -> bool {
        let file = path.rsplit('/').next().unwrap_or(path);
        let mut escaped = String::with_capacity(file.len());
        for each in file.chars() {
            match each {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '\'' => escaped.push_str("&apos;"),
                '"' => escaped.push_str("&quot;"),
                other => escaped.push(other),
            }
        }
        self.text.as_ref().is_none_or(|text| text.contains(file) || text.contains(&escaped))
    }
}

impl Uses {
    /// Reads what all guests use.
    pub(crate) fn read(conn: &Connect) -> Outcome<Self> {
        let mut uses = Self::default();
        for domain in conn.list_all_domains(0)? {
            let Some(uuid) = there(domain.get_uuid())? else { continue };
            let name = there(domain.get_name())?.unwrap_or_default();
            let mut paths = HashSet::new();
            // What a running guest has may differ from what it will have at its next start; it needs both.
            let running = there(domain.is_active())?.unwrap_or_default();
            let kinds = [Some(sys::VIR_DOMAIN_XML_INACTIVE), running.then_some(0)];
            for flags in kinds.into_iter().flatten() {
                match text(&domain, flags)? {
                    Text::Gone => {}
                    Text::Refused(why) => {
                        uses.unread.push(Unread { uuid, name: name.clone(), why, text: None });
                    }
                    Text::Given(text) => match Element::parse(&text) {
                        Ok(definition) => files(conn, &definition, &mut paths)?,
                        Err(error) => {
                            let why = error.to_string();
                            uses.unread.push(Unread { uuid, name: name.clone(), why, text: Some(text) });
                        }
                    },
                }
            }
            for path in paths {
                uses.by_path.entry(path).or_default().push((uuid, name.clone()));
            }
        }
        Ok(uses)
    }

    /// The first of these paths that a guest uses, other than `except`, and the guest. A guest that cannot be read is no reason to refuse what has
    /// nothing to do with it.
    ///
    /// # Errors
    /// `Protocol` where such a guest may use one of them.
    pub(crate) fn find<'a>(
        &self,
        except: Option<Uuid>,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Outcome<Option<(String, String)>> {
        for path in paths {
            let mut guests = self.by_path.get(path).into_iter().flatten();
            if let Some((_, guest)) = guests.find(|(uuid, _)| Some(*uuid) != except) {
                return Ok(Some((path.to_owned(), guest.clone())));
            }
            let mut unread = self.unread.iter().filter(|unread| Some(unread.uuid) != except);
            if let Some(guest) = unread.find(|unread| unread.may_use(path)) {
                let why = format!(
                    "the guest `{}` may use {path}: its definition cannot be read: {}",
                    guest.name, guest.why
                );
                return Err(Error::new(ErrorKind::Protocol, why)
                    .with_hint(format!("Look with `virsh dumpxml {}`, and mend or undefine it", guest.uuid))
                    .into());
            }
        }
        Ok(None)
    }

    /// The first disk of another guest that lies outside of `folder` and starts from one of these files, at whatever depth, and that guest. What lies in
    /// the folder is a pool's to tell, in one call.
    pub(crate) fn above(
        &self,
        conn: &Connect,
        except: Uuid,
        folder: &str,
        bases: &HashSet<&str>,
    ) -> Outcome<Option<(String, String)>> {
        let inside = |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder);
        for (path, guests) in &self.by_path {
            let Some((_, guest)) = guests.iter().find(|(uuid, _)| *uuid != except) else { continue };
            if inside(path) {
                continue;
            }
            let mut at = path.clone();
            for _ in 0..DEEPEST {
                let Some(below) = self.below(conn, &at)? else { break };
                if bases.contains(below.as_str()) {
                    return Ok(Some((below, guest.clone())));
                }
                at = below;
            }
        }
        Ok(None)
    }

    fn below(&self, conn: &Connect, path: &str) -> Outcome<Option<String>> {
        let known = self.below.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let volume = handle_at_path(conn, path)?;
        let text = volume.map(|volume| volume.get_xml_desc(0)).transpose()?;
        let below = text.map(|text| Ok::<_, Fail>(Element::parse(&text)?.text_at("backingStore/path")));
        let below = below.transpose()?.flatten();
        let mut all = self.below.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned(), below.clone());
        Ok(below)
    }
}

/// What libvirt answers for an object that may be deleted meanwhile.
fn there<T>(answer: Result<T, virt::error::Error>) -> Outcome<Option<T>> {
    match answer.map_err(Fail::from) {
        Ok(answer) => Ok(Some(answer)),
        Err(fail) if fail.has_code(sys::VIR_ERR_NO_DOMAIN) => Ok(None),
        Err(fail) => Err(fail),
    }
}

enum Text {
    Given(String),
    /// It was deleted meanwhile; then it uses nothing.
    Gone,
    Refused(String),
}

fn text(domain: &Domain, flags: u32) -> Outcome<Text> {
    match there(domain.get_xml_desc(flags)) {
        Ok(Some(text)) => Ok(Text::Given(text)),
        Ok(None) => Ok(Text::Gone),
        Err(fail) if fail.is_disconnect() => Err(fail),
        Err(fail) => Ok(Text::Refused(fail.to_string())),
    }
}

/// The files of a definition: those of disks and what they are known to start from, those that it boots from, and memory that outlives it.
fn files(conn: &Connect, definition: &Element, found: &mut HashSet<String>) -> Outcome<()> {
    for name in ["os/kernel", "os/initrd", "os/dtb", "os/nvram", "os/loader"] {
        found.extend(definition.text_at(name));
    }
    found.extend(definition.attr_at("os/nvram/source", "file").map(str::to_owned));
    for memory in definition.all("devices/memory") {
        found.extend(memory.text_at("source/path"));
    }
    for disk in definition.all("devices/disk") {
        if let Some((pool, volume)) = named_volume(disk) {
            found.extend(named(conn, &volume_id(pool, volume))?.and_then(|volume| volume.path));
        }
        let mut level = Some(disk);
        while let Some(element) = level {
            found.extend(source_path(element));
            // A copy that is under way has another side.
            found.extend(element.child("mirror").and_then(source_path));
            level = element.child("backingStore");
        }
    }
    Ok(())
}

/// What was read lately.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<Option<(Instant, Arc<Uses>)>>);

impl Users {
    /// Forgets all, after a guest was given something.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What guests use, which may be a moment old: guests that are in it may be gone.
    fn lately(&self, conn: &Connect) -> Outcome<Arc<Uses>> {
        let kept = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.as_ref().filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, uses)| Arc::clone(uses))
        };
        match kept {
            Some(kept) => Ok(kept),
            None => self.now(conn),
        }
    }

    fn now(&self, conn: &Connect) -> Outcome<Arc<Uses>> {
        let begun = Instant::now();
        let read = Arc::new(Uses::read(conn)?);
        let kept = Some((begun, Arc::clone(&read)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(read)
    }

    /// Asks what was read lately, and anew where that says that somebody is in the way: it may be gone.
    pub(crate) fn ask<T>(
        &self,
        conn: &Connect,
        question: impl Fn(&Uses) -> Outcome<Option<T>>,
    ) -> Outcome<Option<T>> {
        if matches!(question(&*self.lately(conn)?), Ok(None)) {
            return Ok(None);
        }
        question(&*self.now(conn)?)
    }
}

/// The first guest that uses a file at one of these paths.
pub(crate) fn user_of<'a>(
    conn: &Connect,
    paths: impl IntoIterator<Item = &'a str>,
) -> Outcome<Option<String>> {
    Ok(Uses::read(conn)?.find(None, paths)?.map(|(_, guest)| guest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(text: Option<&str>) -> Uses {
        let text = text.map(str::to_owned);
        let unread = Unread { uuid: Uuid::from_u128(7), name: "odd".into(), why: "too deep".into(), text };
        Uses { unread: vec![unread], ..Uses::default() }
    }

    #[test]
    fn a_guest_that_cannot_be_read_is_in_the_way_of_its_own_files_only() {
        let uses = unread(Some("<domain><source file='/p/a.qcow2'/><source volume='b &amp; c'/>"));
        assert_eq!(uses.find(None, ["/p/d.qcow2"]).unwrap(), None);
        for mentioned in ["/p/a.qcow2", "/elsewhere/a.qcow2", "/q/b & c"] {
            let error = Error::from(uses.find(None, [mentioned]).unwrap_err());
            assert!(error.message().contains("`odd` may use") && error.hint().is_some(), "{error}");
            assert_eq!(uses.find(Some(Uuid::from_u128(7)), [mentioned]).unwrap(), None);
        }
        assert!(unread(None).find(None, ["/p/d.qcow2"]).is_err(), "nothing is known of it");
        assert_eq!(unread(None).find(None, []).unwrap(), None);
    }
}
