//! Reading a target back.

use super::Way;
use super::target::Target;
use crate::progress::Progress;
use crate::reader::Reader;
use crate::vfs::Extent;
use crate::{Exec, Repository, Result};
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::Id;
use repo_format::snapshot::Volume;
use std::sync::Arc;

/// Read and compared in one go.
const UNIT_LEN: u64 = 8 << 20;

/// Compares every byte of a target with the volume's map: ids of chunks, zeros in holes and where
/// `lost` says that content is lost.
pub(super) async fn verify(
    reader: &Reader,
    way: Way<'_>,
    volume: &Volume,
    target: &Target,
    progress: &Arc<Progress>,
    lost: &[(u64, u64)],
) -> Result<()> {
    let repository = reader.repository();
    let exec = repository.exec();
    target.forget_cached();
    let mut walker = way.walker(reader, volume)?;
    let mut running = FuturesUnordered::new();
    let mut extents = Vec::new();
    let width = exec.width().saturating_add(1).min(8);
    while walker.next_batch(&mut extents).await? {
        for extent in &mut extents {
            let after = lost.partition_point(|(start, _)| *start <= extent.offset);
            let range = after.checked_sub(1).and_then(|n| lost.get(n));
            if range.is_some_and(|(start, len)| start.saturating_add(*len) > extent.offset) {
                extent.id = None;
            }
        }
        for unit in Units(extents.drain(..).peekable()) {
            if running.len() >= width
                && let Some(done) = running.next().await
            {
                progress.add_done(done?);
            }
            running.push(exec.spawn(check_unit(repository.clone(), target.clone(), unit)));
        }
    }
    while let Some(done) = running.next().await {
        progress.add_done(done?);
    }
    Ok(())
}

/// Extents side by side, up to 8 MiB; longer holes are cut.
pub(super) struct Units<I: Iterator<Item = Extent>>(pub(super) std::iter::Peekable<I>);

impl<I: Iterator<Item = Extent>> Iterator for Units<I> {
    type Item = Vec<Extent>;

    fn next(&mut self) -> Option<Vec<Extent>> {
        let mut unit = Vec::new();
        let mut len = 0u64;
        let mut end = None;
        while let Some(extent) = self.0.peek_mut() {
            if end.is_some_and(|end| end != extent.offset) {
                break;
            }
            let room = UNIT_LEN.saturating_sub(len);
            if extent.len <= room {
                len = len.saturating_add(extent.len);
                end = Some(extent.offset.saturating_add(extent.len));
                unit.extend(self.0.next());
                continue;
            }
            if extent.id.is_none() && room > 0 {
                unit.push(Extent { len: room, ..*extent });
                extent.offset = extent.offset.saturating_add(room);
                extent.len -= room;
            }
            break;
        }
        (!unit.is_empty()).then_some(unit)
    }
}

/// Compares one unit and says how long it is.
async fn check_unit(repository: Repository, target: Target, unit: Vec<Extent>) -> Result<u64> {
    let exec = repository.exec().clone();
    let bytes = read_unit(&exec, &target, &unit).await?;
    let len = bytes.0.len() as u64;
    exec.cpu(move || check_bytes(&repository, &target, &unit, &bytes)).await??;
    Ok(len)
}

/// What a target holds where a unit lies.
pub(super) struct UnitBytes(Vec<u8>);

impl UnitBytes {
    /// Each extent of the unit that was read, with its bytes.
    pub(super) fn parts<'a>(&'a self, unit: &'a [Extent]) -> impl Iterator<Item = (&'a Extent, &'a [u8])> {
        let mut rest = self.0.as_slice();
        unit.iter().map(move |extent| {
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
            let (part, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            rest = after;
            (extent, part)
        })
    }
}

/// Reads the part of a target where a unit lies.
pub(super) async fn read_unit(exec: &Exec, target: &Target, unit: &[Extent]) -> Result<UnitBytes> {
    let Some(first) = unit.first().map(|first| first.offset) else { return Ok(UnitBytes(Vec::new())) };
    let len = unit.iter().map(|extent| extent.len).sum::<u64>();
    let source = target.clone();
    let read = exec.blocking(move || {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        source.read(first, &mut bytes).map(|()| UnitBytes(bytes))
    });
    read.await?
}

fn check_bytes(repository: &Repository, target: &Target, unit: &[Extent], bytes: &UnitBytes) -> Result<()> {
    let keys = &repository.identity("verifying")?.block_keys;
    for (extent, part) in bytes.parts(unit) {
        let equal = match extent.id {
            Some(id) => Id(chunker::chunk_id(keys, part)) == id,
            None => part.iter().all(|byte| *byte == 0),
        };
        if !equal {
            return Err(target.differs(extent.offset, extent.len));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_cover_all_and_cut_only_holes() {
        let chunk = Some(Id([1; 32]));
        let mut extents = Vec::new();
        let mut offset = 0;
        for (len, id) in [(UNIT_LEN - 4096, chunk), (8192, chunk), (3 * UNIT_LEN, None), (4096, chunk)] {
            extents.push(Extent { offset, len, id });
            offset += len;
        }
        let units: Vec<Vec<Extent>> = Units(extents.drain(..).peekable()).collect();
        let mut at = 0;
        for extent in units.iter().flatten() {
            assert_eq!(extent.offset, at);
            at += extent.len;
        }
        assert_eq!(at, offset);
        assert!(units.iter().all(|unit| unit.iter().map(|e| e.len).sum::<u64>() <= UNIT_LEN));
        assert_eq!(units.iter().flatten().filter(|extent| extent.id.is_some()).count(), 3);
    }
}
