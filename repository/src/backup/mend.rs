//! Mending: records in condemned packs get a copy elsewhere before the snapshot is committed.

use super::packer::{Batch, Packer};
use super::session::Session;
use crate::env::Mutant;
use crate::gc::GcView;
use crate::index;
use crate::reader::{Location, Reader};
use crate::snapshots::maps;
use crate::{Error, Result};
use repo_format::limits;
use repo_format::map::{Page, Place};
use repo_format::pack::PackClass;
use repo_format::snapshot::Snapshot;
use repo_format::{Id, PackId};
use std::collections::{BTreeMap, HashSet};

/// Walks the whole snapshot; every record without an uncondemned location is copied. Gives the lowest
/// `built` of the runs that were believed.
pub(super) async fn mend(session: &mut Session, snapshot: &Snapshot, now: &GcView) -> Result<u64> {
    let repository = session.repository.clone();
    let listing = index::list_runs(&repository).await?;
    // what only an older run knows is about to be unknown
    let floor = if repository.env().breaks(Mutant::NoFloor) { 0 } else { now.newest_floor };
    let (all, problems) = index::load(&repository, &listing, floor, &HashSet::new(), true).await?;
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let lowest_built = all.lowest_built();
    let reader = Reader::new(repository, all);
    mend_from(session, snapshot, &reader, &now.condemned).await?;
    Ok(lowest_built)
}

/// As [`mend`], with records looked up by `reader`.
pub(super) async fn mend_from(
    session: &mut Session,
    snapshot: &Snapshot,
    reader: &Reader,
    condemned: &HashSet<PackId>,
) -> Result<()> {
    let mut copier =
        Copier { condemned, seen: HashSet::new(), kept: HashSet::new(), wanted: BTreeMap::new() };
    for (root, place) in maps(snapshot)? {
        copier.walk(reader, root, place).await?;
    }
    let before = session.written().clone();
    for (_, locations) in copier.wanted {
        copy_records(session, reader, locations).await?;
    }
    session.finish_mending(copier.kept, &before).await
}

struct Copier<'a> {
    condemned: &'a HashSet<PackId>,
    seen: HashSet<[u8; 16]>,
    /// Packs with the location that each of the other records keeps.
    kept: HashSet<PackId>,
    /// Records to copy, by the class of their new pack.
    wanted: BTreeMap<u8, Vec<Location>>,
}

impl Copier<'_> {
    async fn walk(&mut self, reader: &Reader, root: Id, place: Place) -> Result<()> {
        let mut open = vec![(root, place)];
        while let Some((id, place)) = open.pop() {
            if id.is_zero() || !self.seen.insert(id.short()) {
                continue;
            }
            self.need(reader, &[id]).await?;
            let pages = reader.pages(&[id]).await?;
            let page = pages.first().map(Vec::as_slice).unwrap_or_default();
            let object = || format!("map page {id}");
            match place.parse(page).map_err(|source| Error::Format { object: object(), source })? {
                Page::Inner(children) => {
                    open.extend(children.into_iter().map(|child| (child.id, child.place)))
                }
                Page::Leaf(entries) => {
                    let ids = entries.iter().filter_map(|entry| entry.id);
                    let new: Vec<Id> = ids.filter(|id| self.seen.insert(id.short())).collect();
                    self.need(reader, &new).await?;
                }
            }
        }
        Ok(())
    }

    async fn need(&mut self, reader: &Reader, ids: &[Id]) -> Result<()> {
        let index = reader.index();
        let shorts: Vec<[u8; 16]> = ids.iter().map(Id::short).collect();
        for (id, pack) in ids.iter().zip(index.find_outside(&shorts, self.condemned).await?) {
            if let Some(pack) = pack.and_then(|number| index.pack(number)) {
                self.kept.insert(pack.pack_id);
                continue;
            }
            let location = reader.locate(id).await?.into_iter().next();
            let location =
                location.ok_or_else(|| Error::damage(format!("record {id}"), "no pack holds it"))?;
            self.wanted.entry(location.class as u8).or_default().push(location);
        }
        Ok(())
    }
}

/// Copies records into packs of their own: sealed bytes and key rows move, nothing is decrypted.
async fn copy_records(session: &mut Session, reader: &Reader, mut locations: Vec<Location>) -> Result<()> {
    locations.sort_unstable_by_key(|location| (location.pack_id, location.range.start));
    let mut rest = locations.as_slice();
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|location| location.pack_id == first.pack_id).count();
        let (same, after) = rest.split_at(count);
        rest = after;
        copy_pack(session, reader, first, same).await?;
    }
    Ok(())
}

/// Copies records of one pack; its key rows come along whole, so row numbers stay as they are.
async fn copy_pack(
    session: &mut Session,
    reader: &Reader,
    first: &Location,
    records: &[Location],
) -> Result<()> {
    let pack = reader.index().pack_named(&first.pack_id);
    let pack = pack.ok_or_else(|| Error::internal("a location in no pack of the index"))?;
    let opened = reader.trailer(&pack).await?;
    let target_len = match first.class {
        PackClass::Map => limits::MAP_PACK_TARGET_LEN,
        _ => limits::DATA_PACK_TARGET_LEN,
    };
    let mut packer = Packer::new(first.class, target_len, opened.trailer.keys().to_vec(), None);
    for fetch in crate::reader::coalesce(records.iter().cloned().enumerate().collect()) {
        let bytes = reader.fetch(&fetch.name, fetch.range.clone()).await?;
        for (_, location) in &fetch.records {
            let sealed = crate::reader::slice(&bytes, &fetch.range, location)?;
            let full = packer.push(Batch { bytes: sealed.to_vec(), rows: vec![location.row] });
            session.upload_all(full).await?;
        }
    }
    session.upload_all(packer.close().into_iter().collect()).await
}
