use crate::conformance::case::Case;

pub(super) fn cases() -> Vec<Case> {
    Vec::new()
}
