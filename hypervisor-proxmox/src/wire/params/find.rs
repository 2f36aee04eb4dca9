//! From a method and a path to a call.

use std::collections::BTreeMap;

use super::{Endpoint, Release, Wrong, all};

/// A call, and what stands for the parameters in its path.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Found {
    /// The call.
    pub endpoint: &'static Endpoint,
    /// The parameters of its path.
    pub path: BTreeMap<String, String>,
}

impl Found {
    /// Checks parameters, those of the path included, as release 9.1 does.
    ///
    /// # Errors
    /// What is wrong with which parameter, in the server's words.
    pub fn check(&self, params: &[(String, String)]) -> Result<(), Wrong> {
        self.check_at(Release::V9_1, params)
    }

    /// Checks parameters, those of the path included, as a release does.
    ///
    /// # Errors
    /// What is wrong with which parameter, in the server's words.
    pub fn check_at(&self, release: Release, params: &[(String, String)]) -> Result<(), Wrong> {
        let conflicts: Wrong = params
            .iter()
            .filter(|(name, value)| self.path.get(name).is_some_and(|other| other != value))
            .map(|(name, _)| {
                (name.clone(), "duplicate parameter (already defined in URI) with conflicting values!".into())
            })
            .collect();
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let rest: Vec<_> = params.iter().filter(|(name, _)| !self.path.contains_key(name)).cloned().collect();
        let mut wrong = self.endpoint.check_at(release, &rest).err().unwrap_or_default();
        for param in self.endpoint.path_params() {
            if let Some(why) = self.path.get(param.name).and_then(|value| super::check::value(param, value)) {
                wrong.insert(param.name.to_owned(), why);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// The call of a method and a path below `/api2/json`, with or without that prefix.
///
/// Like the server it decodes the path before it splits it and leaves empty parts out. Only a volume's id may have slashes.
#[must_use]
pub fn find(method: &str, path: &str) -> Option<Found> {
    let path = path.split('?').next().unwrap_or_default();
    let path =
        ["/api2/json", "/api2/extjs"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
    let decoded = super::super::form::decoded_text(path);
    let parts: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
    let candidates = all().filter(|endpoint| endpoint.verb.as_str() == method);
    let found = candidates.filter_map(|endpoint| Some((endpoint, captures(endpoint.path, &parts)?)));
    // A word that stands in the path itself goes before one that may be anything.
    let (endpoint, path) = found.min_by_key(|(_, captured)| captured.len())?;
    Some(Found { endpoint, path })
}

fn captures(template: &str, parts: &[&str]) -> Option<BTreeMap<String, String>> {
    let mut captured = BTreeMap::new();
    let mut parts = parts.iter();
    for wanted in template.split('/').filter(|part| !part.is_empty()) {
        let name = wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let part = *parts.next()?;
        match name {
            None if part == wanted => {}
            None => return None,
            Some("volume") => {
                let whole: Vec<&str> = std::iter::once(part).chain(parts.by_ref().copied()).collect();
                captured.insert("volume".to_owned(), whole.join("/"));
            }
            Some(name) => {
                captured.insert(name.to_owned(), part.to_owned());
            }
        }
    }
    parts.next().is_none().then_some(captured)
}
