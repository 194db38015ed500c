//! Joining index runs (step p9 of prune): few large runs are read faster than many small ones, an id is looked for in few
//! of them if they are split by id, and old runs have to be written anew now and then, so that the floor of deletion can
//! rise.

use super::load::{Found, RunFile, RunStream, list_runs, read_run};
use super::open::OpenRun;
use super::write::RunWriter;
use crate::env::Mutant;
use crate::error::Named;
use crate::gc;
use crate::spill::{BUCKET_COUNT, Spill, SpillFolder};
use crate::{Repository, Result};
use repo_format::index::{Entry, PackRow, RunBuilder, RunHead};
use repo_format::layout::ObjectName;
use repo_format::{Id, PackId, SnapshotId, limits};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A run that was read.
#[derive(Debug, Clone)]
pub(crate) struct RunInfo {
    pub(crate) file: RunFile,
    /// Sweeps that its writer had read.
    pub(crate) built: u64,
    pub(crate) entries: u64,
    /// First and last id.
    pub(crate) range: ([u8; 16], [u8; 16]),
}

impl RunInfo {
    pub(crate) fn new(file: RunFile, head: &RunHead) -> Self {
        RunInfo { file, built: head.built, entries: head.entry_count, range: (head.lowest, head.highest) }
    }

    /// Whether it covers more of all ids than a run of a whole group.
    fn is_wide(&self) -> bool {
        let high = |id: &[u8; 16]| id.first_chunk().map_or(0, |high| u64::from_be_bytes(*high));
        high(&self.range.1).saturating_sub(high(&self.range.0)) > u64::MAX / WIDE_SHARE
    }
}

/// A run that covers more than this part of all ids is wide: look-ups hardly ever pass it by.
const WIDE_SHARE: u64 = 6;

/// When runs are joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MergeLimits {
    /// Runs with fewer entries are small.
    pub(crate) small_entries: u64,
    /// More small runs than this are joined.
    pub(crate) small_runs: usize,
    /// Entries of runs joined for these reasons at once.
    pub(crate) entries_max: u64,
    /// More large runs than this that cover all ids are joined and split by id, so that an id can be in few runs...
    pub(crate) wide_runs: usize,
    /// ...this many entries at a time: each of the new runs names most packs of all of them.
    pub(crate) group_entries: u64,
    /// Runs with a `built` this far behind are written anew even alone.
    pub(crate) generations: u64,
}

/// What became of the runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MergeReport {
    pub(crate) merged: u64,
    pub(crate) written: u64,
    pub(crate) deleted: u64,
}

/// Which runs are joined, and which nobody reads any more.
#[derive(Debug, Default)]
pub(crate) struct MergePlan {
    pub(crate) inputs: Vec<RunInfo>,
    pub(crate) below_floor: Vec<RunFile>,
    /// Others may follow: look-ups have to ask too many runs.
    is_group: bool,
}

impl MergePlan {
    /// What is to be done, one plan after the other.
    pub(crate) fn all(runs: Vec<RunInfo>, sweeps: u64, floor: u64, limits: MergeLimits) -> Vec<Self> {
        let mut plans = Vec::new();
        let mut rest = runs;
        loop {
            let (plan, others) = MergePlan::next(rest, sweeps, floor, limits);
            let is_last = plan.inputs.len() < 2 || !plan.is_group;
            plans.push(plan);
            if is_last {
                return plans;
            }
            rest = others;
        }
    }

    /// A plan, and the runs that it leaves alone. Lowest `built` first.
    fn next(mut runs: Vec<RunInfo>, sweeps: u64, floor: u64, limits: MergeLimits) -> (Self, Vec<RunInfo>) {
        runs.sort_by_key(|run| (run.built, run.file.seq, run.file.pack_id));
        let is_small = |run: &RunInfo| run.entries < limits.small_entries;
        let is_wide = |run: &RunInfo| !is_small(run) && run.is_wide();
        let count =
            |is: &dyn Fn(&RunInfo) -> bool| runs.iter().filter(|run| run.built >= floor && is(run)).count();
        let many = count(&is_small) > limits.small_runs;
        let is_group = count(&is_wide) > limits.wide_runs;
        let entries_max = if is_group { limits.group_entries } else { limits.entries_max };
        let mut plan = MergePlan { is_group, ..MergePlan::default() };
        let (mut entries, mut others) = (0u64, Vec::new());
        for run in runs {
            let next = entries.saturating_add(run.entries);
            let is_old = run.built < sweeps.saturating_sub(limits.generations);
            if run.built < floor {
                plan.below_floor.push(run.file);
            } else if (is_old || many && is_small(&run) || is_group && is_wide(&run))
                && (next <= entries_max || plan.inputs.is_empty())
            {
                entries = next;
                plan.inputs.push(run);
            } else {
                others.push(run);
            }
        }
        (plan, others)
    }
}

/// Carries a plan out: merged runs first, then, if the floor has not overtaken them, the inputs go.
///
/// `sweeps` is what was read before the inputs were listed. Entries that are too many for memory go to `folder`.
pub(crate) async fn merge(
    repository: &Repository,
    plan: &MergePlan,
    view: &gc::GcView,
    folder: &SpillFolder,
) -> Result<MergeReport> {
    let mut report = MergeReport::default();
    let store = repository.store();
    for file in &plan.below_floor {
        store.delete(&file.name()).await?;
        report.deleted += 1;
    }
    if plan.inputs.is_empty() {
        return Ok(report);
    }
    let Some(merge) = read_inputs(repository, plan, &view.dead, folder).await? else { return Ok(report) };
    let seq = plan.inputs.iter().map(|run| run.file.seq).max().unwrap_or(0).saturating_add(1);
    let built = if repository.env().breaks(Mutant::MergeWithoutBuilt) { u64::MAX >> 1 } else { view.sweeps };
    let writer = RunWriter::new(repository, SnapshotId([0; 16]))?;
    let written = merge.write(repository, &writer, built, seq).await?;
    report.merged = plan.inputs.len() as u64;
    report.written = written.len() as u64;
    gc::wait_delta(repository).await?;
    let overtaken = gc::view(repository).await?.newest_floor > built;
    if overtaken && !repository.env().breaks(Mutant::MergeWithoutFloorCheck) {
        for name in &written {
            store.delete(name).await?;
        }
        return Ok(MergeReport { merged: 0, written: 0, ..report });
    }
    for run in &plan.inputs {
        store.delete(&run.file.name()).await?;
        report.deleted += 1;
    }
    Ok(report)
}

/// Nothing if an input is gone: somebody else merges.
async fn read_inputs(
    repository: &Repository,
    plan: &MergePlan,
    dead: &HashSet<PackId>,
    folder: &SpillFolder,
) -> Result<Option<Merge>> {
    let memory_len = repository.exec().memory_len() / MEMORY_SHARE;
    let mut merge = Merge::new(folder, usize::try_from(memory_len).unwrap_or(usize::MAX));
    for run in &plan.inputs {
        match read_run(repository, &run.file).await? {
            Found::Run(run) => merge.add(repository, run, dead).await?,
            Found::Gone | Found::Foreign => return Ok(None),
        }
        repository.exec().check_cancelled()?;
    }
    merge.entries.close().await?;
    Ok(Some(merge))
}

/// All runs of this domain, each read once for what its head says.
pub(crate) async fn run_infos(repository: &Repository) -> Result<Vec<RunInfo>> {
    let mut infos = Vec::new();
    let mut runs = RunStream::sealed(repository, list_runs(repository).await?, 1, u64::MAX);
    while let Some((file, run)) = runs.next().await? {
        infos.push(RunInfo::new(file, run.head()));
        repository.exec().cpu(move || run.check()).await??;
    }
    match runs.problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(infos),
    }
}

/// Entries of a run that are opened together.
const PART_ENTRIES: usize = 1 << 14;
/// Entries take this part of the memory, before they go to a disk.
const MEMORY_SHARE: u64 = 6;

/// Id, number of the pack and sealed length, big-endian: in the order in which they are sorted.
type Item = [u8; 24];

fn item(id: &[u8; 16], pack: u32, clen: u32) -> Item {
    let mut item = [0; 24];
    let (head, tail) = item.split_at_mut(16);
    head.copy_from_slice(id);
    let (number, len) = tail.split_at_mut(4);
    number.copy_from_slice(&pack.to_be_bytes());
    len.copy_from_slice(&clen.to_be_bytes());
    item
}

/// Takes an item apart: the id as long as builders want it.
fn parts(item: &Item) -> (Id, u32, u32) {
    let mut id = Id::ZERO;
    if let (Some(to), Some(from)) = (id.0.first_chunk_mut::<16>(), item.first_chunk::<16>()) {
        *to = *from;
    }
    let number = |at: usize| {
        let bytes = item.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    };
    (id, number(16), number(20))
}

/// Entries of several runs, each pack once.
struct Merge {
    /// In the order of the inputs: neighbours were written one after the other.
    packs: Vec<PackRow>,
    numbers: BTreeMap<PackId, u32>,
    entries: Spill<24>,
    count: u64,
}

impl Merge {
    fn new(folder: &SpillFolder, memory_len: usize) -> Self {
        let entries = Spill::new(folder, memory_len);
        Merge { packs: Vec::new(), numbers: BTreeMap::new(), entries, count: 0 }
    }

    async fn add(&mut self, repository: &Repository, mut run: OpenRun, dead: &HashSet<PackId>) -> Result<()> {
        let numbers: Vec<Option<u32>> = run
            .packs()
            .iter()
            .map(|row| {
                let next = u32::try_from(self.packs.len()).ok()?;
                if dead.contains(&row.pack_id) {
                    return None;
                }
                let number = *self.numbers.entry(row.pack_id).or_insert(next);
                if number == next {
                    self.packs.push(*row);
                }
                Some(number)
            })
            .collect();
        let mut more = true;
        while more {
            let read = repository.exec().cpu(move || {
                let mut entries: Vec<Entry> = Vec::with_capacity(PART_ENTRIES);
                let more = run.next(PART_ENTRIES, &mut entries)?;
                Result::<_>::Ok((run, entries, more))
            });
            let entries;
            (run, entries, more) = read.await??;
            for entry in entries {
                if let Some(Some(pack)) = numbers.get(entry.pack as usize) {
                    self.entries.push(item(&entry.id, *pack, entry.clen));
                    self.count += 1;
                }
            }
            self.entries.settle().await?;
        }
        Ok(())
    }

    /// Publishes runs by rising id, of about the same length.
    async fn write(
        &self,
        repository: &Repository,
        writer: &RunWriter,
        built: u64,
        seq: u64,
    ) -> Result<Vec<ObjectName>> {
        // the pack table counts, too: half of a run's length is left to it
        let run_count = self.count.div_ceil(limits::RUN_ENTRY_COUNT_MAX).max(1);
        let run_len = usize::try_from(self.count.div_ceil(run_count)).unwrap_or(usize::MAX);
        let (mut written, mut held) = (Vec::new(), Vec::<Item>::new());
        for n in 0..BUCKET_COUNT {
            repository.exec().check_cancelled()?;
            let bucket = self.entries.bucket(n).await?;
            let is_same = |a: &Item, b: &Item| a.get(..20) == b.get(..20);
            held.extend(bucket);
            held.dedup_by(|a, b| is_same(a, b));
            while held.len() >= run_len.max(1) {
                let rest = held.split_off(run_len);
                let builder = self.run(std::mem::replace(&mut held, rest))?;
                written.push(writer.put(builder, built, seq).await?);
            }
        }
        if !held.is_empty() {
            written.push(writer.put(self.run(held)?, built, seq).await?);
        }
        Ok(written)
    }

    /// A run, of those packs only that it has entries of.
    fn run(&self, items: Vec<Item>) -> Result<RunBuilder> {
        let packs: BTreeSet<u32> = items.iter().map(|item| parts(item).1).collect();
        let mut builder = RunBuilder::new();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for pack in packs {
            let row = self.packs.get(pack as usize).copied();
            let row = row.ok_or_else(|| crate::Error::internal("an entry of no pack"))?;
            numbers.insert(pack, builder.add_pack(row).named("merged run")?);
        }
        for item in &items {
            let (id, pack, clen) = parts(item);
            let number = numbers.get(&pack).copied().unwrap_or(u32::MAX);
            builder.add_entry(&id, number, clen).named("merged run")?;
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u8, built: u64, entries: u64) -> RunInfo {
        let file = RunFile { seq: n.into(), pack_id: PackId([n; 16]), len: 1 };
        RunInfo { file, built, entries, range: ([0; 16], [0xff; 16]) }
    }

    const LIMITS: MergeLimits = MergeLimits {
        small_entries: 10,
        small_runs: 2,
        entries_max: 100,
        generations: 30,
        wide_runs: 4,
        group_entries: 200,
    };

    fn inputs(runs: Vec<RunInfo>, sweeps: u64, floor: u64) -> (Vec<u64>, Vec<u64>) {
        let plan = MergePlan::all(runs, sweeps, floor, LIMITS).remove(0);
        let seqs = |runs: Vec<u64>| runs;
        (
            seqs(plan.inputs.iter().map(|run| run.file.seq).collect()),
            seqs(plan.below_floor.iter().map(|file| file.seq).collect()),
        )
    }

    #[test]
    fn few_small_runs_stay() {
        assert_eq!(inputs(vec![run(1, 0, 5), run(2, 0, 5), run(3, 0, 50)], 0, 0), (vec![], vec![]));
    }

    #[test]
    fn many_small_runs_are_joined_and_large_ones_stay() {
        let runs = vec![run(3, 0, 50), run(2, 1, 5), run(1, 0, 5), run(4, 0, 9)];
        assert_eq!(inputs(runs, 1, 0), (vec![1, 4, 2], vec![]));
    }

    #[test]
    fn old_runs_are_written_anew_even_alone() {
        assert_eq!(inputs(vec![run(1, 4, 99), run(2, 5, 99)], 35, 0), (vec![1], vec![]));
    }

    #[test]
    fn runs_below_the_floor_go() {
        assert_eq!(inputs(vec![run(1, 1, 99), run(2, 2, 99)], 4, 2), (vec![], vec![1]));
    }

    #[test]
    fn memory_is_bounded_but_one_run_always_fits() {
        assert_eq!(inputs(vec![run(1, 0, 60), run(2, 0, 60), run(3, 0, 40)], 40, 0).0, vec![1, 3]);
        assert_eq!(inputs(vec![run(1, 0, 600)], 40, 0).0, vec![1]);
    }

    #[test]
    fn large_runs_that_cover_everything_are_joined_in_groups_by_age() {
        let runs = |count: u8| (1..=count).map(|n| run(n, n.into(), 60)).collect::<Vec<_>>();
        assert_eq!(inputs(runs(4), 9, 0).0, NONE);
        let groups = |runs: Vec<RunInfo>| -> Vec<Vec<u64>> {
            let plans = MergePlan::all(runs, 9, 0, LIMITS);
            plans.iter().map(|plan| plan.inputs.iter().map(|run| run.file.seq).collect()).collect()
        };
        assert_eq!(groups(runs(9)), [vec![1, 2, 3], vec![4, 5, 6], vec![]], "until few enough are left");
        let mut split = runs(9);
        split.iter_mut().for_each(|run| run.range.1 = [0x20; 16]);
        assert_eq!(groups(split), [NONE], "an eighth of all ids");
    }

    #[test]
    fn joined_entries_come_once_and_in_runs_of_one_length() {
        let folder = tempfile::tempdir().unwrap();
        let folder = SpillFolder::of(folder.path(), crate::Exec::inline());
        let mut merge = Merge::new(&folder, 0);
        for n in 0..7u8 {
            merge.packs.push(PackRow {
                pack_id: PackId([n; 16]),
                size: 1000,
                trailer_len: 500,
                class: repo_format::pack::PackClass::Data,
                sid: SnapshotId([1; 16]),
            });
        }
        let items: Vec<Item> =
            [(3, 6), (3, 2), (1, 2), (3, 6)].map(|(id, pack)| item(&[id; 16], pack, 50)).into();
        let run = merge.run(items).unwrap();
        let records = run.encode(0).unwrap();
        let parsed: Vec<_> =
            records.iter().map(|one| (one.record_type, one.id, one.content.clone())).collect();
        let parsed = repo_format::index::parse_run(&parsed).unwrap();
        let packs: Vec<u8> = parsed.packs.iter().map(|row| row.pack_id.0[0]).collect();
        assert_eq!(packs, [2, 6], "in the order in which they were written");
        let entries: Vec<_> = parsed.entries.iter().map(|entry| (entry.id[0], entry.pack)).collect();
        assert_eq!(entries, [(1, 0), (3, 0), (3, 1)]);
    }

    const NONE: Vec<u64> = Vec::new();
}
