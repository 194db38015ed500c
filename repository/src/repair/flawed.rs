//! Packs that were read whole and are not as they were written: their good records move to a new pack, the
//! pack itself is left out of the index. Only so does a bad record become unknown to the next backup.

use super::Repair;
use super::index::Adopted;
use crate::backup::packer::OpenPack;
use crate::check::{Remains, remains};
use crate::index::{PackInfo, RunWriter};
use crate::vfs::is_damage;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use repo_format::SnapshotId;
use repo_format::layout::ObjectName;
use repo_format::pack::{FOOTER_LEN, PackClass, Row};
use std::collections::BTreeSet;

/// A pack with flaws.
pub(super) struct Flawed {
    pub(super) info: PackInfo,
    pub(super) why: String,
    /// A run names it.
    pub(super) is_named: bool,
    /// Short id and sealed length of each record that is good.
    pub(super) good: Vec<([u8; 16], u32)>,
    /// Records that are not.
    pub(super) bad: u64,
    /// Good records that no other pack holds.
    pub(super) copied: BTreeSet<[u8; 16]>,
}

impl Flawed {
    /// Sealed bytes to copy.
    pub(super) fn copied_len(&self) -> u64 {
        let wanted = self.good.iter().filter(|(id, _)| self.copied.contains(id));
        wanted.map(|(_, clen)| u64::from(*clen)).sum()
    }

    fn of(name: &ObjectName, class: PackClass, is_named: bool, len: u64, found: &Remains) -> Option<Self> {
        let (_, pack_id) = name.as_pack()?;
        // without its trailer it is lost, which is found without reading it whole
        let trailer = found.trailer.as_ref()?;
        let frame = trailer.records_end() + FOOTER_LEN as u64;
        let trailer_len = u32::try_from(len.saturating_sub(frame)).unwrap_or(0);
        let info = PackInfo { pack_id, class, len, trailer_len, sid: trailer.sid() };
        let is_good = |row: &&Row| !found.bad.contains(&row.id.short());
        let good = trailer.rows().iter().filter(is_good).map(|row| (row.id.short(), row.clen)).collect();
        let bad = trailer.rows().iter().filter(|row| !is_good(row)).count() as u64;
        Some(Flawed { info, why: found.why.clone(), is_named, good, bad, copied: BTreeSet::new() })
    }
}

/// Reads a pack whole; nothing if it is as it was written, or gone.
pub(super) async fn look_whole(
    repository: &Repository,
    name: ObjectName,
    class: PackClass,
    is_named: bool,
) -> Result<Option<Flawed>> {
    let Some((bytes, found)) = read(repository, name, class).await? else { return Ok(None) };
    Ok(Flawed::of(&name, class, is_named, bytes.len() as u64, &found))
}

async fn read(
    repository: &Repository,
    name: ObjectName,
    class: PackClass,
) -> Result<Option<(Bytes, Remains)>> {
    let Some((_, pack_id)) = name.as_pack() else { return Ok(None) };
    let bytes = match repository.store().get(&name).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        // the medium gives a part back at best: which records, a restore finds out
        Err(error) if is_damage(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (worker, whole) = (repository.clone(), bytes.clone());
    let found = repository.exec().cpu(move || remains(&worker, class, pack_id, &whole)).await?;
    Ok(found.map(|found| (bytes, found)))
}

impl Repair<'_> {
    /// Copies the good records that no other pack holds, as sealed bytes with their key rows, and gives
    /// the new pack. What has gone bad since the plan was made is not copied.
    pub(super) async fn copy_good(&mut self, writer: &RunWriter, flawed: &Flawed) -> Result<Option<Adopted>> {
        if flawed.copied.is_empty() {
            return Ok(None);
        }
        let class = flawed.info.class;
        let name = ObjectName::pack(class, flawed.info.pack_id);
        let Some((bytes, found)) = read(self.repository, name, class).await? else {
            return Err(Error::damage(name, "changed while it was repaired; run the repair again"));
        };
        let Some(trailer) = found.trailer else { return Ok(None) };
        let (mut parts, mut rows) = (Vec::new(), Vec::new());
        for (n, row) in trailer.rows().iter().enumerate() {
            if !flawed.copied.contains(&row.id.short()) || found.bad.contains(&row.id.short()) {
                continue;
            }
            let range = trailer.range(n);
            let range =
                range.and_then(|r| Some(usize::try_from(r.start).ok()?..usize::try_from(r.end).ok()?));
            let sealed = range.filter(|range| range.end <= bytes.len()).map(|range| bytes.slice(range));
            parts.extend(sealed);
            rows.push(*row);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let pack = OpenPack::of_copies(class, trailer.keys().to_vec(), parts, rows);
        let stored = writer.pack_sealer.clone().store(pack).await?;
        let (pack_id, len, trailer_len) = (stored.pack_id, stored.len, stored.trailer_len);
        // written by no session, as what prune copies
        let info = PackInfo { pack_id, class, len, trailer_len, sid: SnapshotId([0; 16]) };
        self.report.packs_written += 1;
        let records = stored.rows.iter().map(|row| (row.id.short(), row.clen)).collect();
        Ok(Some(Adopted { info, records }))
    }
}
