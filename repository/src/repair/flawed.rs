//! Packs that were read whole and are not as they were written: their good records move to a new pack, the
//! pack itself is left out of the index. Only so does a bad record become unknown to the next backup.

use crate::check::{Remains, remains};
use crate::index::PackInfo;
use crate::{Repository, Result};
use bytes::Bytes;
use repo_format::layout::ObjectName;
use repo_format::pack::{FOOTER_LEN, OpenTrailer, PackClass, Row, Trailer, open_trailer};
use repo_format::record::KeyRow;
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
    let Some((bytes, Some(found))) = read(repository, name, class).await? else { return Ok(None) };
    Ok(Flawed::of(&name, class, is_named, bytes.len() as u64, &found))
}

async fn read(
    repository: &Repository,
    name: ObjectName,
    class: PackClass,
) -> Result<Option<(Bytes, Option<Remains>)>> {
    let Some((_, pack_id)) = name.as_pack() else { return Ok(None) };
    let bytes = match repository.store().get(&name).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        // the medium gives a part back at best: which records, a restore finds out
        Err(error) if error.is_damage() => return Ok(None),
        Err(error) => return Err(error),
    };
    let (worker, whole) = (repository.clone(), bytes.clone());
    let found = repository.exec().cpu(move || remains(&worker, class, pack_id, &whole)).await?;
    Ok(Some((bytes, found)))
}

/// Whether this key can tell good records from bad ones in a pack whose hash is wrong.
pub(super) fn can_tell(repository: &Repository, class: PackClass) -> bool {
    class == PackClass::Map || repository.bundle().content_secret().is_some()
}

/// A pack that was read whole, with what of it may be copied: a copy must never hide a bad record.
pub(super) struct Good {
    bytes: Bytes,
    trailer: Trailer,
    bad: BTreeSet<[u8; 16]>,
}

impl Good {
    /// Nothing if the pack is gone, or of which records are bad nobody can tell.
    pub(super) async fn read(repository: &Repository, name: ObjectName) -> Result<Option<Self>> {
        let Some((class, pack_id)) = name.as_pack() else { return Ok(None) };
        let Some((bytes, found)) = read(repository, name, class).await? else { return Ok(None) };
        if let Some(found) = found {
            let trailer = found.trailer.filter(|_| can_tell(repository, class));
            return Ok(trailer.map(|trailer| Good { bytes, trailer, bad: found.bad }));
        }
        let context = repository.pack_context(class, &pack_id);
        Ok(match open_trailer(&context, &bytes, bytes.len() as u64) {
            Ok(OpenTrailer::Done(trailer, _)) => Some(Good { bytes, trailer, bad: BTreeSet::new() }),
            _ => None,
        })
    }

    /// Rows that are good, with the key and the sealed bytes of each.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Row, &KeyRow, &[u8])> {
        let rows = self.trailer.rows().iter().enumerate();
        rows.filter(|(_, row)| !self.bad.contains(&row.id.short())).filter_map(|(n, row)| {
            Some((row, self.trailer.key_of(row)?, self.trailer.sealed(n, &self.bytes)?))
        })
    }
}
