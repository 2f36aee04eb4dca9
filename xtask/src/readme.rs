//! stub
use anyhow::Result;
pub(crate) fn command(_: bool) -> Result<()> {
    Ok(())
}
