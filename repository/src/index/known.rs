//! The index of a domain for who looks ids up: in memory as far as it is small, else in its runs.

use super::fenced::FencedRun;
use super::load::{Found, Listing, RunFile, RunStream};
use super::open::open_run;
use super::run_set::{Rules, RunSet, State};
use super::{Entry, Index, PackInfo};
use crate::cache::Kind;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use repo_format::PackId;
use repo_format::index::Run;
use repo_format::pack::PackClass;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Runs fetched at the same time.
const RUNS_IN_FLIGHT: usize = 4;
/// Sealed bytes of a run for each entry of it.
const SEALED_LEN_PER_ENTRY: u64 = 24;

/// Which packs hold an id. Cheap to clone.
#[derive(Clone)]
pub struct Known {
    memory: Arc<Index>,
    /// What is not in memory.
    runs: Option<Arc<RunSet>>,
}

impl From<Arc<Index>> for Known {
    fn from(memory: Arc<Index>) -> Self {
        Known { memory, runs: None }
    }
}

impl From<Index> for Known {
    fn from(memory: Index) -> Self {
        Arc::new(memory).into()
    }
}

impl Known {
    /// The part in memory. It is all there is for who has made it so.
    pub fn memory(&self) -> &Arc<Index> {
        &self.memory
    }

    /// True: everything is in memory, and looking up waits for nothing.
    pub fn is_in_memory(&self) -> bool {
        self.runs.is_none()
    }

    /// A pack by its number.
    pub fn pack(&self, number: u32) -> Option<PackInfo> {
        match &self.runs {
            Some(runs) => runs.pack(number),
            None => self.memory.packs().get(number as usize).cloned(),
        }
    }

    /// A pack by its name.
    pub fn pack_named(&self, pack_id: &PackId) -> Option<PackInfo> {
        match &self.runs {
            Some(runs) => runs.pack_named(pack_id),
            None => self.memory.packs().iter().find(|pack| pack.pack_id == *pack_id).cloned(),
        }
    }

    /// All packs, by number.
    pub fn packs(&self) -> Vec<PackInfo> {
        self.runs.as_ref().map_or_else(|| self.memory.packs().to_vec(), |runs| runs.packs())
    }

    /// Locations in all; outside of memory those in packs that do not count are counted, too.
    pub fn entry_count(&self) -> u64 {
        let in_memory = self.memory.entries().len() as u64;
        in_memory.saturating_add(self.runs.as_ref().map_or(0, |runs| runs.entry_count()))
    }

    /// The lowest `built` of the runs that were believed; `u64::MAX` for none.
    pub(crate) fn lowest_built(&self) -> u64 {
        let runs = self.runs.as_ref().map_or(u64::MAX, |runs| runs.lowest_built());
        runs.min(self.memory.lowest_built())
    }

    /// For each id, most likely of a chunk, the number of a pack that holds it.
    pub async fn find(&self, ids: &[[u8; 16]]) -> Result<Vec<Option<u32>>> {
        self.find_in(ids, PackClass::Data).await
    }

    /// As [`find`](Self::find), most likely in packs of `class`.
    pub(crate) async fn find_in(&self, ids: &[[u8; 16]], class: PackClass) -> Result<Vec<Option<u32>>> {
        let mut found: Vec<Option<u32>> = ids.iter().map(|id| self.memory.find(id)).collect();
        if let Some(runs) = &self.runs
            && found.iter().any(Option::is_none)
        {
            runs.find(ids, class, None, &mut found).await?;
        }
        Ok(found)
    }

    /// As [`find`](Self::find), as if there were no packs of `hidden`.
    pub async fn find_outside(&self, ids: &[[u8; 16]], hidden: &HashSet<PackId>) -> Result<Vec<Option<u32>>> {
        let visible =
            |entry: &Entry| self.pack(entry.pack).is_some_and(|pack| !hidden.contains(&pack.pack_id));
        let in_memory =
            |id| self.memory.find_all(id).iter().find(|entry| visible(entry)).map(|entry| entry.pack);
        let mut found: Vec<Option<u32>> = ids.iter().map(in_memory).collect();
        if let Some(runs) = &self.runs
            && found.iter().any(Option::is_none)
        {
            runs.find(ids, PackClass::Data, Some(hidden), &mut found).await?;
        }
        Ok(found)
    }

    /// Every location of an id, sorted.
    pub async fn find_all(&self, id: &[u8; 16]) -> Result<Vec<Entry>> {
        let mut entries = self.memory.find_all(id).to_vec();
        if let Some(runs) = &self.runs {
            entries.append(&mut runs.find_all(id).await?);
            entries.sort_unstable();
            entries.dedup();
        }
        Ok(entries)
    }

    /// What of the index could not be read since this was last asked: some ids may be unknown for that.
    pub(crate) fn take_problem(&self) -> Option<Error> {
        self.runs.as_ref()?.take_problem()
    }

    /// With more packs, and locations in them; these name packs by their number in `packs`.
    pub(crate) fn extended(self, packs: Vec<PackInfo>, entries: impl Iterator<Item = Entry>) -> Self {
        let mut all = self.packs();
        let numbers: Vec<u32> = packs
            .into_iter()
            .filter_map(|pack| match &self.runs {
                Some(runs) => runs.number(pack),
                None => {
                    all.push(pack);
                    u32::try_from(all.len() - 1).ok()
                }
            })
            .collect();
        if let Some(runs) = &self.runs {
            all = runs.packs();
        }
        let more = entries
            .filter_map(|entry| Some(Entry { pack: numbers.get(entry.pack as usize).copied()?, ..entry }));
        let entries = self.memory.entries().iter().copied().chain(more).collect();
        let memory = Index::new(all, entries).with_lowest_built(self.memory.lowest_built());
        Known { memory: Arc::new(memory), runs: self.runs }
    }
}

/// A run as it was read: small ones whole.
enum Loaded {
    Whole(Run),
    Fenced(Arc<FencedRun>),
}

/// Reads the runs of this domain with `built` >= `floor` into an index that leaves out `excluded` packs, and says
/// which runs could not be read.
///
/// What is larger than [`index_len`](crate::Exec::index_len) stays in its runs. Damage that shows up there later ends
/// a look-up if `is_strict`; else what can be read counts, and [`Known::take_problem`] tells.
pub(crate) async fn load(
    repository: &Repository,
    listing: &Listing,
    floor: u64,
    excluded: &HashSet<PackId>,
    is_strict: bool,
) -> Result<(Known, Vec<Error>)> {
    let index_len = repository.exec().index_len();
    let small = small_runs(listing, index_len);
    let all_small = small.len() == listing.runs.len();
    let rules = Rules { floor, excluded: Arc::new(excluded.clone()), is_strict };
    let mut state = State::new(Vec::new(), HashMap::new(), HashSet::new());
    let mut entries: Vec<Entry> = Vec::new();
    let (mut lowest_built, mut is_all_in_memory) = (u64::MAX, true);
    let reading = repository.clone();
    let start = Box::new(move |file: RunFile| {
        let repository = reading.clone();
        let is_small = all_small || small.contains(&file.pack_id);
        Box::pin(async move {
            Ok(if is_small {
                read_whole(&repository, &file).await?.map(Loaded::Whole)
            } else {
                let copy = repository.copies().of(Kind::Run, file.pack_id);
                FencedRun::read(&repository, &file, copy).await?.map(Loaded::Fenced)
            })
        }) as _
    });
    // of the others only the ends are read
    let in_flight_len = if all_small { index_len / 2 } else { u64::MAX };
    let mut runs =
        RunStream::reading(repository, listing.clone(), RUNS_IN_FLIGHT, in_flight_len, HashSet::new(), start);
    while let Some((file, run)) = runs.next().await? {
        match run {
            Loaded::Fenced(run) => {
                is_all_in_memory = false;
                state.add(run, &rules);
            }
            Loaded::Whole(run) => {
                state.set_done(file.pack_id);
                if run.head.built >= floor {
                    lowest_built = lowest_built.min(run.head.built);
                    add_whole(&mut state, &mut entries, &run, &rules);
                }
            }
        }
    }
    let problems = std::mem::take(&mut runs.problems);
    drop(runs);
    drop_old_copies(repository, listing, &state).await?;
    let memory = Arc::new(Index::new(state.packs().to_vec(), entries).with_lowest_built(lowest_built));
    // what entries do not take is for pieces of the runs
    let in_memory = size_of_val(memory.entries()) as u64;
    let memory_len = usize::try_from(index_len.saturating_sub(in_memory)).unwrap_or(usize::MAX);
    let runs = (!is_all_in_memory).then(|| Arc::new(RunSet::new(repository, rules, state, memory_len)));
    Ok((Known { memory, runs }, problems))
}

/// Runs that are read whole: all, if they fit; else the smallest, up to a third of what the index may take.
fn small_runs(listing: &Listing, index_len: u64) -> HashSet<PackId> {
    let len_of = |run: &RunFile| run.len / SEALED_LEN_PER_ENTRY * size_of::<Entry>() as u64;
    let total = listing.runs.iter().map(len_of).fold(0, u64::saturating_add);
    let mut left = if total <= index_len { u64::MAX } else { index_len / 3 };
    let mut runs: Vec<&RunFile> = listing.runs.iter().collect();
    runs.sort_by_key(|run| (run.len, run.pack_id));
    let mut small = HashSet::new();
    for run in runs {
        let Some(rest) = left.checked_sub(len_of(run)) else { break };
        left = rest;
        small.insert(run.pack_id);
    }
    small
}

/// Reads a run and all of its entries, from its copy if that is good.
async fn read_whole(repository: &Repository, file: &RunFile) -> Result<Found<Run>> {
    let exec = repository.exec();
    let open = |object: Bytes| {
        let (repository, file) = (repository.clone(), file.clone());
        exec.cpu(move || open_run(&repository, &file, &object))
    };
    // a copy that ends with this process would not be read again
    let copy = repository.copies().is_kept().then(|| repository.copies().of(Kind::Run, file.pack_id));
    if let Some(copy) = copy.clone() {
        let len = file.len;
        let copied = exec.blocking(move || copy.read(0..len)).await?;
        if let Some(object) = copied
            && let Ok(Some(run)) = open(object.into()).await?
        {
            return Ok(Found::Run(run));
        }
    }
    let Some(object) = repository.store().get(&file.name()).await? else { return Ok(Found::Gone) };
    let Some(run) = open(object.clone()).await?? else { return Ok(Found::Foreign) };
    if let Some(copy) = copy {
        exec.blocking(move || copy.write(0, &object)).await?;
    }
    Ok(Found::Run(run))
}

fn add_whole(state: &mut State, entries: &mut Vec<Entry>, run: &Run, rules: &Rules) {
    let numbers: Vec<Option<u32>> = run
        .packs
        .iter()
        .map(|row| if rules.excluded.contains(&row.pack_id) { None } else { state.number(row.into()) })
        .collect();
    // doubling would take up to three times as much for a moment
    entries.reserve_exact(run.entries.len());
    for entry in &run.entries {
        if let Some(Some(pack)) = numbers.get(entry.pack as usize) {
            entries.push(Entry { id: entry.id, pack: *pack, clen: entry.clen });
        }
    }
}

async fn drop_old_copies(repository: &Repository, listing: &Listing, state: &State) -> Result<()> {
    if !repository.copies().is_kept() {
        return Ok(());
    }
    let runs = listing.runs.iter().map(|run| run.pack_id).collect();
    let packs = state.packs().iter().map(|pack| pack.pack_id).collect();
    let copies = repository.copies().clone();
    repository.exec().blocking(move || copies.retain(&runs, &packs)).await
}
