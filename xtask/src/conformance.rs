//! stub
use anyhow::Result;
pub(crate) fn command(_: Option<&str>) -> Result<()> {
    Ok(())
}
