//! The maps of all snapshots, from their roots: whether everything they name can be read.

use super::Check;
use super::objects::Finals;
use super::packs::{Damage, Reach};
use super::report::is_damage;
use crate::error::Named;
use crate::reader::Reader;
use crate::snapshots::maps;
use crate::{Error, Result};
use repo_format::layout::ObjectName;
use repo_format::map::{Page, Place};
use repo_format::snapshot::Snapshot;
use repo_format::{Id, SnapshotId};
use std::collections::HashSet;

/// Pages read at a time.
const BATCH_COUNT: usize = 64;

/// Walks the wanted snapshots. As long as nothing is damaged, a page that two snapshots share is
/// visited once; else each snapshot is walked by itself, since it is to be known whom damage hurts.
pub(super) async fn check(
    check: &mut Check<'_>,
    reader: &Reader,
    damage: &mut Damage,
    finals: &Finals,
    wanted: &[usize],
) -> Result<()> {
    let snapshots: Vec<&Snapshot> = wanted.iter().filter_map(|n| finals.snapshots.get(*n)).collect();
    let mut walker = Walker { check, reader, damage, visited: HashSet::new() };
    if walker.damage.is_empty() {
        for snapshot in &snapshots {
            walker.snapshot(snapshot).await?;
        }
        if walker.damage.is_empty() {
            return Ok(());
        }
    }
    for snapshot in snapshots {
        walker.visited.clear();
        walker.snapshot(snapshot).await?;
    }
    Ok(())
}

struct Walker<'c, 'r> {
    check: &'c mut Check<'r>,
    reader: &'c Reader,
    damage: &'c mut Damage,
    /// Pages, by short id.
    visited: HashSet<[u8; 16]>,
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
                            self.need(sid, &id, "chunk");
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
            if !id.is_zero() && self.visited.insert(id.short()) && self.need(sid, &id, "map page") {
                batch.push((id, place));
            }
        }
        batch
    }

    /// Notes that a snapshot needs a record; false if the index has no place for it.
    fn need(&mut self, sid: SnapshotId, id: &Id, what: &str) -> bool {
        match self.damage.reach(self.reader.index().memory(), id) {
            Reach::Good => true,
            Reach::Hurt(findings) => {
                findings.into_iter().for_each(|n| self.check.findings.hurt(n, sid));
                !self.reader.index().memory().find_all(&id.short()).is_empty()
            }
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
                false
            }
        }
    }

    /// A page could not be read, or is none of its place.
    fn page_failed(&mut self, sid: SnapshotId, id: &Id, error: Error) -> Result<()> {
        if !is_damage(&error) {
            return Err(error);
        }
        let index = self.reader.index().memory();
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
