//! What creates whose answers were lost may have left in the pools.
//!
//! A guest is found again by its client token; a volume carries no marks. So it is remembered which volumes a create was about to make
//! when its connection broke: the same create, called again, takes away what there is of them and makes them anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hypervisor_core::model::VolumeId;
use hypervisor_core::{Error, ErrorKind, Retry};
use virt::connect::Connect;
use virt_sys as sys;

use crate::error::{Fail, Outcome};
use crate::storage;

/// Longer than a call is repeated; afterwards a volume of such a name is somebody else's.
const AGE: Duration = Duration::from_secs(600);

/// The volumes, by client token.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(Mutex<HashMap<String, (Instant, Vec<VolumeId>)>>);

impl Leftovers {
    /// These may be there, or may come to be there: the daemon may still be at work on the call.
    pub(crate) fn keep(&self, token: &str, volumes: Vec<VolumeId>) {
        let mut kept = self.lock();
        kept.retain(|_, (lost, _)| lost.elapsed() < AGE);
        if !volumes.is_empty() {
            kept.insert(token.to_owned(), (Instant::now(), volumes));
        }
    }

    /// The guest is there, and they are its disks.
    pub(crate) fn forget(&self, token: &str) {
        self.lock().remove(token);
    }

    /// Takes away what a create with this token has left, before it is carried out again. What a guest uses stays, and the create is
    /// refused for it like for any volume that is there.
    pub(crate) fn clear(&self, conn: &Connect, token: &str) -> Outcome<()> {
        let volumes = self.of(token);
        volumes.iter().try_for_each(|id| take_away(conn, id))
    }

    /// A create that finds a volume of its own in the way has met its former self, which the daemon is still at work on.
    pub(crate) fn explain(&self, token: &str, fail: Fail) -> Fail {
        let met = fail.kind() == ErrorKind::AlreadyExists && !self.of(token).is_empty();
        if !met {
            return fail;
        }
        let error = Error::new(ErrorKind::Locked, Error::from(fail).message().to_owned());
        let hint = "The daemon is still at work on the same call, whose answer was lost";
        error.with_retry(Retry::Safe).with_hint(hint).into()
    }

    fn of(&self, token: &str) -> Vec<VolumeId> {
        let fresh = |(lost, _): &&(Instant, Vec<VolumeId>)| lost.elapsed() < AGE;
        self.lock().get(token).filter(fresh).map(|(_, volumes)| volumes.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Vec<VolumeId>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_away(conn: &Connect, id: &VolumeId) -> Outcome<()> {
    let volume = match storage::find_volume(conn, id) {
        Ok((_, volume)) => volume,
        Err(fail) if fail.kind() == ErrorKind::NotFound => return Ok(()),
        Err(fail) => return Err(fail),
    };
    match storage::refuse_used(conn, &volume, id) {
        Ok(()) => {}
        Err(fail) if fail.kind() == ErrorKind::InvalidState => return Ok(()),
        Err(fail) => return Err(fail),
    }
    match volume.delete(0).map_err(Fail::from) {
        Ok(()) => Ok(()),
        Err(fail) if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) => Ok(()),
        // It is still being written.
        Err(fail) if fail.has_code(sys::VIR_ERR_OPERATION_INVALID) => {
            let error = Error::new(ErrorKind::Locked, Error::from(fail).message().to_owned());
            Err(error.with_retry(Retry::Safe).with_target(VolumeId::NOUN, id).into())
        }
        Err(fail) => Err(fail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_told_from_what_others_have_made() {
        let taken = || Fail::from(Error::already_exists(VolumeId::NOUN, "p/a"));
        let leftovers = Leftovers::default();
        assert_eq!(leftovers.explain("t", taken()).kind(), ErrorKind::AlreadyExists);
        leftovers.keep("t", vec!["p/a".into()]);
        let error = Error::from(leftovers.explain("t", taken()));
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Locked, Retry::Safe));
        let other = Fail::from(Error::invalid_state("no"));
        assert_eq!(leftovers.explain("t", other).kind(), ErrorKind::InvalidState);
        assert_eq!(leftovers.explain("u", taken()).kind(), ErrorKind::AlreadyExists);
        leftovers.forget("t");
        assert_eq!(leftovers.explain("t", taken()).kind(), ErrorKind::AlreadyExists);
    }
}
