//! The files of a disk, and what a job does away with.

use hypervisor_core::{Error, Result};

use super::spec::{BlockCommit, BlockPull};
use crate::xml::Element;
use crate::xml::device::source_path;

/// The files of a disk from the uppermost down.
pub(super) fn chain(disk: &Element) -> Vec<String> {
    let mut files = Vec::new();
    let mut level = Some(disk);
    while let Some(element) = level {
        files.extend(source_path(element));
        level = element.child("backingStore");
    }
    files
}

/// The files that a commit does away with.
pub(super) fn merged(chain: &[String], spec: &BlockCommit) -> Result<Vec<String>> {
    let top = place(chain, "top", spec.top.as_deref())?.unwrap_or(0);
    let base = place(chain, "base", spec.base.as_deref())?.unwrap_or(chain.len().saturating_sub(1));
    match chain.get(top..base) {
        Some(gone) if !gone.is_empty() => Ok(gone.to_vec()),
        _ if chain.len() < 2 => {
            Err(Error::invalid_state("the disk has one file only: there is nothing to merge"))
        }
        _ => Err(Error::invalid("base", "must lie below `top`")),
    }
}

/// The files that a disk needs no more after a pull.
pub(super) fn pulled(chain: &[String], spec: &BlockPull) -> Result<Vec<String>> {
    let base = place(chain, "base", spec.base.as_deref())?.unwrap_or(chain.len());
    match chain.get(1..base) {
        Some(gone) if !gone.is_empty() => Ok(gone.to_vec()),
        _ if chain.len() < 2 => {
            Err(Error::invalid_state("the disk has one file only: there is nothing to take in"))
        }
        _ => Err(Error::invalid("base", "must not be one of the two uppermost files")),
    }
}

fn place(chain: &[String], field: &str, path: Option<&str>) -> Result<Option<usize>> {
    let Some(path) = path else { return Ok(None) };
    let found = chain.iter().position(|file| file == path);
    found.map(Some).ok_or_else(|| Error::invalid(field, format!("`{path}` is no file of the disk")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::ErrorKind;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_chain_is_read_from_the_top_down() {
        let disk = "<disk><source file='/c'/><backingStore type='file'><source file='/b'/><backingStore>\
                    <source file='/a'/><backingStore/></backingStore></backingStore></disk>";
        assert_eq!(chain(&Element::parse(disk).unwrap()), files(&["/c", "/b", "/a"]));
    }

    #[test]
    fn what_a_commit_does_away_with() {
        let chain = files(&["/c", "/b", "/a"]);
        assert_eq!(merged(&chain, &BlockCommit::all()).unwrap(), files(&["/c", "/b"]));
        assert_eq!(merged(&chain, &BlockCommit::all().base("/b")).unwrap(), files(&["/c"]));
        assert_eq!(merged(&chain, &BlockCommit::all().top("/b")).unwrap(), files(&["/b"]));
        for (spec, field) in [
            (BlockCommit::all().top("/a"), "base"),
            (BlockCommit::all().base("/z"), "base"),
            (BlockCommit::all().top("/z"), "top"),
        ] {
            assert!(merged(&chain, &spec).unwrap_err().fields().contains_key(field));
        }
        let alone = merged(&files(&["/a"]), &BlockCommit::all()).unwrap_err();
        assert_eq!(alone.kind(), ErrorKind::InvalidState);
    }

    #[test]
    fn what_a_pull_does_away_with() {
        let chain = files(&["/c", "/b", "/a"]);
        assert_eq!(pulled(&chain, &BlockPull::all()).unwrap(), files(&["/b", "/a"]));
        assert_eq!(pulled(&chain, &BlockPull::all().base("/a")).unwrap(), files(&["/b"]));
        assert!(pulled(&chain, &BlockPull::all().base("/b")).unwrap_err().fields().contains_key("base"));
        let alone = pulled(&files(&["/a"]), &BlockPull::all()).unwrap_err();
        assert_eq!(alone.kind(), ErrorKind::InvalidState);
    }
}
