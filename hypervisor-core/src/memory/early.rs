use super::Memory;
use crate::traits::*;
impl Snapshots for Memory {}
impl Backups for Memory {}
impl Metrics for Memory {}
impl Guest for Memory {}
impl Batch for Memory {}
