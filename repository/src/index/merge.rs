//! Joining index runs (step p9 of prune): few large runs are read faster than many small ones, and
//! old runs have to be written anew now and then, so that the floor of deletion can rise.

use super::load::{Found, RunFile, RunStream, list_runs, read_run};
use super::open::OpenRun;
use super::write::RunWriter;
use crate::env::Mutant;
use crate::error::Named;
use crate::gc;
use crate::{Repository, Result};
use repo_format::index::{PackRow, RunBuilder};
use repo_format::{Id, PackId, SnapshotId, limits};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A run that was read.
#[derive(Debug, Clone)]
pub(crate) struct RunInfo {
    pub(crate) file: RunFile,
    /// Sweeps that its writer had read.
    pub(crate) built: u64,
    pub(crate) entries: u64,
}

/// When runs are joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MergeLimits {
    /// Runs with fewer entries are small.
    pub(crate) small_entries: u64,
    /// More small runs than this are joined.
    pub(crate) small_runs: usize,
    /// Entries joined at once: what is held in memory.
    pub(crate) entries_max: u64,
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
}

impl MergePlan {
    /// Lowest `built` first.
    pub(crate) fn new(mut runs: Vec<RunInfo>, sweeps: u64, floor: u64, limits: MergeLimits) -> Self {
        runs.sort_by_key(|run| (run.built, run.file.seq, run.file.pack_id));
        let mut plan = MergePlan::default();
        let is_small = |run: &RunInfo| run.entries < limits.small_entries;
        let live = runs.iter().filter(|run| run.built >= floor);
        let many = live.filter(|run| is_small(run)).count() > limits.small_runs;
        let mut entries = 0u64;
        for run in runs {
            let next = entries.saturating_add(run.entries);
            if run.built < floor {
                plan.below_floor.push(run.file);
            } else if (run.built < sweeps.saturating_sub(limits.generations) || many && is_small(&run))
                && (next <= limits.entries_max || plan.inputs.is_empty())
            {
                entries = next;
                plan.inputs.push(run);
            }
        }
        plan
    }
}

/// Carries a plan out: merged runs first, then, if the floor has not overtaken them, the inputs go.
///
/// `sweeps` is what was read before the inputs were listed.
pub(crate) async fn merge(
    repository: &Repository,
    plan: &MergePlan,
    view: &gc::GcView,
) -> Result<MergeReport> {
    let mut report = MergeReport::default();
    let store = repository.store();
    for file in &plan.below_floor {
        store.delete(&file.name()).await?;
        report.deleted += 1;
    }
    let Some(mut merge) = read_inputs(repository, plan, &view.dead).await? else { return Ok(report) };
    if plan.inputs.is_empty() {
        return Ok(report);
    }
    let seq = plan.inputs.iter().map(|run| run.file.seq).max().unwrap_or(0).saturating_add(1);
    let built = if repository.env().breaks(Mutant::MergeWithoutBuilt) { u64::MAX >> 1 } else { view.sweeps };
    let writer = RunWriter::new(repository, SnapshotId([0; 16]))?;
    let mut written = Vec::new();
    while let Some(builder) = merge.next_run()? {
        written.push(writer.put(builder, built, seq).await?);
    }
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
) -> Result<Option<Merge>> {
    let (mut merge, dead) = (Merge::default(), Arc::new(dead.clone()));
    for run in &plan.inputs {
        match read_run(repository, &run.file).await? {
            Found::Run(run) => {
                let dead = dead.clone();
                merge = repository.exec().cpu(move || merge.add(run, &dead)).await??;
            }
            Found::Gone | Found::Foreign => return Ok(None),
        }
        repository.exec().check_cancelled()?;
    }
    merge.sort();
    Ok(Some(merge))
}

/// All runs of this domain, each read once for what its head says.
pub(crate) async fn run_infos(repository: &Repository) -> Result<Vec<RunInfo>> {
    let mut infos = Vec::new();
    let mut runs = RunStream::sealed(repository, list_runs(repository).await?, 1, u64::MAX);
    while let Some((file, run)) = runs.next().await? {
        infos.push(RunInfo { file, built: run.head().built, entries: run.head().entry_count });
        repository.exec().cpu(move || run.check()).await??;
    }
    match runs.problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(infos),
    }
}

/// Entries of a run that are opened together.
const PART_ENTRIES: usize = 1 << 14;

/// Entries of several runs, each pack once.
#[derive(Default)]
struct Merge {
    packs: Vec<PackRow>,
    numbers: BTreeMap<PackId, u32>,
    /// Id, number of the pack, sealed length.
    entries: Vec<([u8; 16], u32, u32)>,
}

impl Merge {
    fn add(mut self, mut run: OpenRun, dead: &HashSet<PackId>) -> Result<Self> {
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
        let mut entries = Vec::new();
        let mut more = true;
        while more {
            more = run.next(PART_ENTRIES, &mut entries)?;
            self.entries.extend(entries.drain(..).filter_map(|entry| {
                Some((entry.id, numbers.get(entry.pack as usize).copied().flatten()?, entry.clen))
            }));
        }
        Ok(self)
    }

    /// Last ones first: they are taken from the end.
    fn sort(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup_by_key(|(id, pack, _)| (*id, *pack));
        self.entries.reverse();
    }

    /// Runs by rising id, each within its limits.
    fn next_run(&mut self) -> Result<Option<RunBuilder>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        // the pack table counts, too: half of the length is left to it
        let rest = self.entries.len().saturating_sub(limits::RUN_ENTRY_COUNT_MAX as usize);
        let mut builder = RunBuilder::new();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for (id, pack, clen) in self.entries.drain(rest..).rev() {
            let number = match numbers.get(&pack) {
                Some(number) => *number,
                None => {
                    let row = self.packs.get(pack as usize).copied();
                    let row = row.ok_or_else(|| crate::Error::internal("an entry of no pack"))?;
                    let number = builder.add_pack(row).named("merged run")?;
                    numbers.insert(pack, number);
                    number
                }
            };
            let mut long = Id::ZERO;
            if let Some(head) = long.0.first_chunk_mut::<16>() {
                *head = id;
            }
            builder.add_entry(&long, number, clen).named("merged run")?;
        }
        self.entries.shrink_to_fit();
        Ok(Some(builder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u8, built: u64, entries: u64) -> RunInfo {
        RunInfo { file: RunFile { seq: n.into(), pack_id: PackId([n; 16]), len: 1 }, built, entries }
    }

    const LIMITS: MergeLimits =
        MergeLimits { small_entries: 10, small_runs: 2, entries_max: 100, generations: 30 };

    fn inputs(runs: Vec<RunInfo>, sweeps: u64, floor: u64) -> (Vec<u64>, Vec<u64>) {
        let plan = MergePlan::new(runs, sweeps, floor, LIMITS);
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
}
