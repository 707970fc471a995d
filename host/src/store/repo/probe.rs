//! Whether the store takes writes at all: only a write can tell.

use super::commit::Draft;
use super::encoding::{Mark, store_error};
use super::{Repo, keys};
use crate::model::Result;

impl Repo {
    /// Write something that means nothing.
    pub async fn probe(&self) -> Result<()> {
        let mut draft = Draft::default();
        draft.put(keys::PROBE.to_owned(), &Mark)?;
        self.commit(draft).await.map_err(store_error)?;
        Ok(())
    }
}
