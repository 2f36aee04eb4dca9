//! stub
use anyhow::Result;
pub(crate) fn command() -> Result<()> {
    Ok(())
}
