//! Which volumes start from the content of others: those must stay as long as these do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use crate::error::Outcome;
use crate::xml::Element;

/// How long what was read is believed: a batch that deletes many guests reads a pool once in this time, rather than once for each.
const BELIEVED: Duration = Duration::from_secs(1);

/// The paths of the uppers in a pool, by the paths that they start from.
type OfPool = Arc<HashMap<String, Vec<String>>>;

/// What was read lately.
#[derive(Debug, Default)]
pub(crate) struct Uppers(Mutex<HashMap<String, (Instant, OfPool)>>);

impl Uppers {
    /// Forgets all, after something was put on top of something.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The paths of the volumes in the same pool that start from this one's content, or from one that does.
    pub(crate) fn of(&self, volume: &StorageVol) -> Outcome<HashSet<String>> {
        let pool = StoragePool::lookup_by_volume(volume)?;
        let (name, path) = (pool.get_name()?, volume.get_path()?);
        let kept = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&name).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, kept)| Arc::clone(kept))
        };
        // Those that were there may be deleted since: only that there are none is believed.
        if kept.is_some_and(|kept| !kept.contains_key(&path)) {
            return Ok(HashSet::new());
        }
        let begun = Instant::now();
        let read = Arc::new(read(&pool)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (begun, Arc::clone(&read)));
        let (mut found, mut bases) = (HashSet::new(), vec![path]);
        while let Some(base) = bases.pop() {
            let uppers = read.get(&base).into_iter().flatten();
            bases.extend(uppers.filter(|upper| found.insert((*upper).clone())).cloned());
        }
        Ok(found)
    }
}

fn read(pool: &StoragePool) -> Outcome<HashMap<String, Vec<String>>> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for volume in pool.list_all_volumes(0)? {
        // It may be deleted meanwhile; then it starts from nothing.
        let Ok(text) = volume.get_xml_desc(0) else { continue };
        let Some(below) = Element::parse(&text)?.text_at("backingStore/path") else { continue };
        all.entry(below).or_default().push(volume.get_path()?);
    }
    Ok(all)
}
