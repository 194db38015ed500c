//! Restoring over what is there: only what differs is fetched and written.

use super::target::Target;
use super::verify::{Units, read_unit};
use crate::progress::Progress;
use crate::vfs::Extent;
use crate::{Repository, Result};
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::Id;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Zeros are looked for, and written, in pieces of this length.
const ZERO_LEN: usize = 64 << 10;

/// Compares a target with a map before anything of it is fetched.
pub(super) struct InPlace {
    repository: Repository,
    target: Target,
    progress: Arc<Progress>,
    kept: AtomicU64,
}

impl InPlace {
    pub(super) fn new(repository: &Repository, target: &Target, progress: &Arc<Progress>) -> Self {
        let (repository, target, progress) = (repository.clone(), target.clone(), progress.clone());
        InPlace { repository, target, progress, kept: AtomicU64::new(0) }
    }

    /// Bytes that were right already, those of holes included.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// What of `extents` the target does not hold: whole chunks, and those parts of holes that are not zero.
    pub(super) async fn differing(&self, extents: Vec<Extent>) -> Result<Vec<Extent>> {
        let exec = self.repository.exec();
        let total: u64 = extents.iter().map(|extent| extent.len).sum();
        let mut doubtful = Vec::with_capacity(extents.len());
        for extent in extents {
            if extent.id.is_some() {
                doubtful.push(extent);
                continue;
            }
            // what a file does not hold is zero, and need not be read
            let target = self.target.clone();
            let parts = exec.blocking(move || target.data_in(extent.offset, extent.len)).await??;
            doubtful.extend(parts.into_iter().map(|(offset, len)| Extent { offset, len, id: None }));
        }
        let mut running = FuturesOrdered::new();
        let mut differing = Vec::new();
        for unit in Units(doubtful.into_iter().peekable()) {
            if running.len() > exec.width()
                && let Some(found) = running.next().await
            {
                differing.append(&mut found?);
            }
            running.push_back(exec.spawn(compare(self.repository.clone(), self.target.clone(), unit)));
        }
        while let Some(found) = running.next().await {
            differing.append(&mut found?);
        }
        let left: u64 = differing.iter().map(|extent| extent.len).sum();
        let kept = total.saturating_sub(left);
        self.kept.fetch_add(kept, Ordering::Relaxed);
        self.progress.add_done(kept);
        Ok(differing)
    }
}

async fn compare(repository: Repository, target: Target, unit: Vec<Extent>) -> Result<Vec<Extent>> {
    let exec = repository.exec().clone();
    let bytes = read_unit(&exec, &target, &unit).await?;
    exec.cpu(move || {
        let keys = &repository.identity("restoring")?.block_keys;
        let mut differing = Vec::new();
        for (extent, part) in bytes.parts(&unit) {
            match extent.id {
                Some(id) if Id(chunker::chunk_id(keys, part)) == id => {}
                Some(_) => differing.push(*extent),
                None => push_not_zero(extent, part, &mut differing),
            }
        }
        Ok(differing)
    })
    .await?
}

/// Appends the parts of a hole that are not zero.
fn push_not_zero(hole: &Extent, bytes: &[u8], out: &mut Vec<Extent>) {
    let mut offset = hole.offset;
    for piece in bytes.chunks(ZERO_LEN) {
        let len = piece.len() as u64;
        if piece.iter().any(|byte| *byte != 0) {
            match out.last_mut() {
                Some(last) if last.id.is_none() && last.offset.saturating_add(last.len) == offset => {
                    last.len += len
                }
                _ => out.push(Extent { offset, len, id: None }),
            }
        }
        offset = offset.saturating_add(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_zero_is_named() {
        let mut bytes = vec![0; 5 * ZERO_LEN + 7];
        let hole = Extent { offset: 1000, len: bytes.len() as u64, id: None };
        let mut out = Vec::new();
        push_not_zero(&hole, &bytes, &mut out);
        assert_eq!(out, []);
        for at in [ZERO_LEN, 2 * ZERO_LEN + 5, 5 * ZERO_LEN + 6] {
            bytes[at] = 1;
        }
        push_not_zero(&hole, &bytes, &mut out);
        let found: Vec<(u64, u64)> = out.iter().map(|extent| (extent.offset, extent.len)).collect();
        let piece = ZERO_LEN as u64;
        assert_eq!(found, [(1000 + piece, 2 * piece), (1000 + 5 * piece, 7)]);
    }
}
