//! Index runs of a repair: what packs say, and runs without what is lost.

use super::Repair;
use super::index::{Adopted, Gathered, Read, read_whole};
use super::report::{LostPack, NamedPack};
use crate::error::Named;
use crate::gc::GcView;
use crate::index::{RunFile, RunWriter, pack_row};
use crate::{Error, Result};
use repo_format::index::{Run, RunBuilder};
use repo_format::layout::ObjectName;
use repo_format::{Id, PackId, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};

const RUN: &str = "repaired index run";

impl Repair<'_> {
    /// Notes what is wrong with the index.
    pub(super) fn plan_index(&mut self, gathered: &Gathered) {
        let plan = &mut self.report.plan;
        for one in &gathered.adopted {
            let name = ObjectName::pack(one.info.class, one.info.pack_id).to_string();
            let named = NamedPack { len: one.info.len, records: one.records.len() as u64 };
            plan.name.insert(name, named);
        }
        for (name, (why, is_named)) in &gathered.lost {
            let lost = plan.lost.entry(name.to_string());
            lost.or_insert(LostPack { why: why.clone(), is_named: *is_named });
        }
        plan.runs_damaged.extend(gathered.damaged.iter().map(|file| file.name().to_string()));
        plan.runs_to_rewrite.extend(to_rewrite(gathered).map(|file| file.name().to_string()));
    }

    /// Writes runs, and gives those that are of no use once the new ones can be seen.
    pub(super) async fn publish(&mut self, gathered: &Gathered, view: &GcView) -> Result<Vec<RunFile>> {
        let mut obsolete = gathered.damaged.clone();
        let seq = gathered.highest_seq.map_or(0, |seq| seq.saturating_add(1));
        let writer = RunWriter::new(self.repository, SnapshotId([0; 16]))?;
        for builder in builders(&gathered.adopted)? {
            writer.put(builder, view.sweeps, seq).await?;
            self.report.runs_written += 1;
            self.repository.exec().check_cancelled()?;
        }
        for file in to_rewrite(gathered) {
            // merged away meanwhile: the merged run is looked at by the next repair
            let Read::Run(run) = read_whole(self.repository, file).await? else { continue };
            if let Some(builder) = without(&run, &gathered.dropped, view)? {
                writer.put(builder, view.sweeps, seq).await?;
                self.report.runs_written += 1;
            }
            obsolete.push(file.clone());
            self.repository.exec().check_cancelled()?;
        }
        Ok(obsolete)
    }

    /// Removes runs that were found damaged, or written anew.
    pub(super) async fn remove_runs(&mut self, obsolete: &[RunFile]) -> Result<()> {
        for file in obsolete {
            self.repository.store().delete(&file.name()).await?;
            self.report.runs_deleted += 1;
            self.repository.exec().check_cancelled()?;
        }
        Ok(())
    }
}

/// Runs that name packs that are lost or other than they say.
fn to_rewrite(gathered: &Gathered) -> impl Iterator<Item = &RunFile> {
    let names_dropped = |packs: &[PackId]| packs.iter().any(|pack| gathered.dropped.contains(pack));
    gathered.runs.iter().filter(move |(_, packs)| names_dropped(packs)).map(|(file, _)| file)
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
fn without(run: &Run, dropped: &BTreeSet<PackId>, view: &GcView) -> Result<Option<RunBuilder>> {
    let mut builder = RunBuilder::new();
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in &run.entries {
        let row = run.packs.get(entry.pack as usize);
        let row = row.ok_or_else(|| Error::internal("an entry of no pack"))?;
        if dropped.contains(&row.pack_id) || view.dead.contains(&row.pack_id) {
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
