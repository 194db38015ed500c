//! Does what a plan says, in its order: packs and runs, the wait, marks, and removals last.

use super::flawed::Good;
use super::index::{Adopted, Read, read_whole};
use super::plan::Steps;
use super::report::Origin;
use super::reseal::Reseal;
use super::sources::Copy;
use super::{Repair, marks, records};
use crate::copier::{Copier, NO_SESSION};
use crate::error::Named;
use crate::index::{RunFile, RunWriter, pack_row};
use crate::{Error, Result};
use repo_format::index::{Run, RunBuilder};
use repo_format::{Id, PackId};
use std::collections::{BTreeMap, BTreeSet, HashSet};

const RUN: &str = "repaired index run";

impl Repair<'_> {
    /// Writes packs and runs, and gives the runs that are of no use once the new ones can be seen. Nothing
    /// if a pack that something was to be copied out of is gone: it has to be looked at anew.
    pub(super) async fn publish(&mut self, steps: &Steps) -> Result<Option<Vec<RunFile>>> {
        let mut obsolete = steps.remove.clone();
        if !self.copy(steps).await? {
            return Ok(None);
        }
        if steps.has_more {
            return Ok(Some(obsolete));
        }
        let writer = RunWriter::new(self.repository, NO_SESSION)?;
        for builder in builders(&steps.name)? {
            writer.put(builder, steps.built, steps.seq).await?;
            self.done.runs_written += 1;
            self.repository.exec().check_cancelled()?;
        }
        for file in &steps.rewrite {
            // merged away meanwhile: the merged run is looked at by the next repair
            let Read::Run(run) = read_whole(self.repository, file).await? else { continue };
            if let Some(builder) = without(&run, &steps.dropped, &steps.dead)? {
                writer.put(builder, steps.built, steps.seq).await?;
                self.done.runs_written += 1;
            }
            obsolete.push(file.clone());
            self.repository.exec().check_cancelled()?;
        }
        Ok(Some(obsolete))
    }

    /// Copies records as sealed bytes with their key rows. False if one of them is no longer there.
    async fn copy(&mut self, steps: &Steps) -> Result<bool> {
        if steps.copies.is_empty() && steps.recuts.is_empty() {
            return Ok(true);
        }
        let mut copier = Copier::new(self.repository, steps.built, steps.seq)?;
        let mut is_all = true;
        for copy in &steps.copies {
            self.repository.exec().check_cancelled()?;
            is_all &= self.copy_pack(&mut copier, copy).await?;
            if !is_all {
                break;
            }
        }
        if is_all {
            is_all = self.recut(&mut copier, steps).await?;
        }
        // also what was copied in vain is named, so that it is found again
        copier.finish().await?;
        self.done.packs_written += copier.packs;
        self.done.runs_written += copier.runs;
        Ok(is_all)
    }

    /// Seals what plain bytes give back. False if some of them have changed.
    async fn recut(&self, copier: &mut Copier<'_>, steps: &Steps) -> Result<bool> {
        let Some(foreign) = self.foreign.as_ref().filter(|_| !steps.recuts.is_empty()) else {
            return Ok(steps.recuts.is_empty());
        };
        let reseal = Reseal::new(self.repository, foreign)?;
        for recut in &steps.recuts {
            if !reseal.write(copier, recut).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn copy_pack(&self, copier: &mut Copier<'_>, copy: &Copy) -> Result<bool> {
        let from = if copy.origin == Origin::Other { self.replica } else { Some(self.repository) };
        let Some(from) = from else { return Ok(false) };
        let Some((class, _)) = copy.pack.as_pack() else { return Ok(false) };
        let Some(good) = Good::read(from, copy.pack).await? else { return Ok(false) };
        let mut open = copy.ids.clone();
        for (row, key, sealed) in good.records() {
            if open.remove(&row.id.short()) {
                copier.push(class, key, row, sealed).await?;
            }
        }
        Ok(open.is_empty())
    }

    /// Once all is written that others rely on: marks, then what is of no use any more.
    pub(super) async fn finish(&mut self, steps: &Steps, obsolete: &[RunFile]) -> Result<()> {
        for (sid, n, mark) in &steps.marks {
            marks::put(self.repository, *sid, *n, mark).await?;
            self.done.marks_written += 1;
        }
        for file in obsolete {
            self.repository.store().delete(&file.name()).await?;
            self.done.runs_deleted += 1;
            self.repository.exec().check_cancelled()?;
        }
        self.done.records_settled += records::settle(self.repository, &steps.records).await?;
        Ok(())
    }
}

/// As many runs as it takes.
fn builders(adopted: &[Adopted]) -> Result<Vec<RunBuilder>> {
    let mut builders = Vec::new();
    let mut builder = RunBuilder::new();
    for one in adopted.iter().filter(|one| !one.records.is_empty()) {
        if builder.entry_count() > 0 && !builder.fits(one.records.len()) {
            builders.push(std::mem::take(&mut builder));
        }
        let number = builder.add_pack(pack_row(&one.info)).named(RUN)?;
        for (short, clen) in &one.records {
            builder.add_entry(&long(short), number, *clen).named(RUN)?;
        }
    }
    builders.extend((builder.entry_count() > 0).then_some(builder));
    Ok(builders)
}

/// The run without packs that are lost or dead; none if nothing is left.
fn without(run: &Run, dropped: &BTreeSet<PackId>, dead: &HashSet<PackId>) -> Result<Option<RunBuilder>> {
    let mut builder = RunBuilder::new();
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in &run.entries {
        let row = run.packs.get(entry.pack as usize);
        let row = row.ok_or_else(|| Error::internal("an entry of no pack"))?;
        if dropped.contains(&row.pack_id) || dead.contains(&row.pack_id) {
            continue;
        }
        let number = match numbers.get(&entry.pack) {
            Some(number) => *number,
            None => {
                let number = builder.add_pack(*row).named(RUN)?;
                numbers.insert(entry.pack, number);
                number
            }
        };
        builder.add_entry(&long(&entry.id), number, entry.clen).named(RUN)?;
    }
    Ok((builder.entry_count() > 0).then_some(builder))
}

/// An id of which runs keep the first half only.
fn long(short: &[u8; 16]) -> Id {
    let mut id = Id::ZERO;
    if let Some(head) = id.0.first_chunk_mut::<16>() {
        *head = *short;
    }
    id
}
