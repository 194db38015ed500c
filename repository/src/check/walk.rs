//! The maps of all snapshots, from their roots: whether everything they name can be read.

use super::Check;
use super::objects::Finals;
use super::packs::{Damage, Inventory, Reach};
use crate::error::Named;
use crate::index::Index;
use crate::reader::Reader;
use crate::snapshots::maps;
use crate::spill::{Spill, SpillFolder};
use crate::walked::Walked;
use crate::{Error, Result};
use repo_format::layout::ObjectName;
use repo_format::map::{Page, Place};
use repo_format::snapshot::Snapshot;
use repo_format::{Id, SnapshotId};

/// Pages read at a time.
const BATCH_COUNT: usize = 64;

/// Walks the wanted snapshots: together first, so that a page that two of them share is visited once. If something that
/// they need is damaged, each is walked by itself, since it is to be known whom that hurts.
pub(super) async fn check(
    check: &mut Check<'_>,
    reader: &Reader,
    damage: &mut Damage,
    inventory: &Inventory,
    finals: &Finals,
    wanted: &[usize],
) -> Result<()> {
    let snapshots: Vec<&Snapshot> = wanted.iter().filter_map(|n| finals.snapshots.get(*n)).collect();
    let folder = SpillFolder::new(check.repository, None)?;
    let budget = usize::try_from(check.repository.exec().memory_len() / 32).unwrap_or(usize::MAX);
    let needed = Some(Spill::new(&folder, budget));
    let visited = Walked::new(&inventory.pages);
    let mut walker = Walker { check, reader, damage, pages: &inventory.pages, visited, needed };
    // what all need first, each page once; locations of that many ids are not held in memory
    for snapshot in &snapshots {
        walker.snapshot(snapshot).await?;
    }
    if let Some(mut needed) = walker.needed.take() {
        needed.close().await?;
        inventory.judge(&needed, walker.damage).await?;
    }
    if walker.damage.is_empty() {
        return Ok(());
    }
    for snapshot in snapshots {
        walker.visited = Walked::new(&inventory.pages);
        walker.snapshot(snapshot).await?;
    }
    Ok(())
}

struct Walker<'c, 'r> {
    check: &'c mut Check<'r>,
    reader: &'c Reader,
    damage: &'c mut Damage,
    /// Where pages lie.
    pages: &'c Index,
    visited: Walked,
    /// Collects the chunks that are needed, on the first walk.
    needed: Option<Spill<16>>,
}

impl Walker<'_, '_> {
    async fn snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let sid = snapshot.sid;
        let mut open = match maps(snapshot) {
            Ok(roots) => roots,
            Err(error) => {
                if !self.check.findings.is_hurt(sid) {
                    let name = ObjectName::Snapshot(sid);
                    let finding = self.check.findings.add_error(name, "damaged", error)?;
                    self.check.findings.hurt(finding, sid);
                }
                return Ok(());
            }
        };
        while !open.is_empty() {
            self.check.repository.exec().check_cancelled()?;
            let batch = self.next_batch(sid, &mut open);
            if let Some(needed) = &mut self.needed {
                needed.settle().await?;
            }
            let ids: Vec<Id> = batch.iter().map(|(id, _)| *id).collect();
            let (pages, failures) = self.reader.read(&ids).await?;
            for (n, error) in failures {
                if let Some((id, _)) = batch.get(n) {
                    self.page_failed(sid, id, error)?;
                }
            }
            for ((id, place), page) in batch.iter().zip(pages) {
                let Some(page) = page else { continue };
                match place.parse(&page).named(format!("map page {id}")) {
                    Ok(Page::Inner(children)) => {
                        open.extend(children.into_iter().map(|child| (child.id, child.place)));
                    }
                    Ok(Page::Leaf(entries)) => {
                        for id in entries.iter().filter_map(|entry| entry.id) {
                            match &mut self.needed {
                                Some(needed) => needed.push(id.short()),
                                None => self.need_chunk(sid, &id),
                            }
                        }
                    }
                    Err(error) => self.page_failed(sid, id, error)?,
                }
            }
        }
        Ok(())
    }

    /// The next pages that are worth reading.
    fn next_batch(&mut self, sid: SnapshotId, open: &mut Vec<(Id, Place)>) -> Vec<(Id, Place)> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_COUNT
            && let Some((id, place)) = open.pop()
        {
            if !id.is_zero() && self.visited.insert(id.short()) && self.need_page(sid, &id) {
                batch.push((id, place));
            }
        }
        batch
    }

    /// Notes that a snapshot needs a page; false if the index has no place for it.
    fn need_page(&mut self, sid: SnapshotId, id: &Id) -> bool {
        let reach = self.damage.reach(self.pages, id);
        self.need(sid, id, "map page", reach);
        !self.pages.find_all(&id.short()).is_empty()
    }

    /// Notes that a snapshot needs a chunk.
    fn need_chunk(&mut self, sid: SnapshotId, id: &Id) {
        let reach = self.damage.reach_chunk(id);
        self.need(sid, id, "chunk", reach);
    }

    fn need(&mut self, sid: SnapshotId, id: &Id, what: &str, reach: Reach) {
        match reach {
            Reach::Good => {}
            Reach::Hurt(findings) => findings.into_iter().for_each(|n| self.check.findings.hurt(n, sid)),
            Reach::Nowhere => {
                let findings = if self.damage.runs.is_empty() {
                    let found = "in no index run".to_owned();
                    let expected = "a pack that holds it, since a snapshot needs it".to_owned();
                    vec![self.check.findings.add(format!("{what} {id}"), "index", found, expected)]
                } else {
                    self.damage.runs.clone()
                };
                findings.iter().for_each(|n| self.check.findings.hurt(*n, sid));
                self.damage.ids.insert(id.short(), findings);
            }
        }
    }

    /// A page could not be read, or is none of its place.
    fn page_failed(&mut self, sid: SnapshotId, id: &Id, error: Error) -> Result<()> {
        if !error.is_bad_copy() {
            return Err(error);
        }
        let index = self.pages;
        if !matches!(self.damage.reach(index, id), Reach::Good) {
            // the finding is there, and `need` has said that it hurts
            return Ok(());
        }
        let pack =
            index.find_all(&id.short()).first().and_then(|entry| index.packs().get(entry.pack as usize));
        let object = pack.map_or_else(
            || format!("map page {id}"),
            |pack| ObjectName::pack(pack.class, pack.pack_id).to_string(),
        );
        let (found, expected) = super::report::describe(error)?;
        let finding = self.check.findings.add(object, "damaged", format!("map page {id}: {found}"), expected);
        self.check.findings.hurt(finding, sid);
        self.damage.ids.insert(id.short(), vec![finding]);
        Ok(())
    }
}
