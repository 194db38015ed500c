//! Runs from the store to memory.

use super::open::{OpenRun, open_run};
use super::{Entry, Index, PackInfo};
use crate::{Error, Repository, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::PackId;
use repo_format::index::Run;
use repo_format::layout::{INDEX_PREFIX, ObjectName};
use std::collections::{HashMap, HashSet, VecDeque};

/// Runs fetched at the same time.
const RUNS_IN_FLIGHT: usize = 4;
/// Listings tried while prune merges runs away.
const LISTINGS_MAX: usize = 8;

/// A run as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunFile {
    pub(crate) seq: u64,
    pub(crate) pack_id: PackId,
    pub(crate) len: u64,
}

impl RunFile {
    pub(crate) fn name(&self) -> ObjectName {
        ObjectName::Run { seq: self.seq, pack: self.pack_id }
    }
}

/// All runs of the store, those of other domains included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) runs: Vec<RunFile>,
}

impl Listing {
    pub(crate) fn highest_seq(&self) -> Option<u64> {
        self.runs.iter().map(|run| run.seq).max()
    }
}

pub(crate) async fn list_runs(repository: &Repository) -> Result<Listing> {
    let listed = repository.store().list(INDEX_PREFIX).await?;
    let runs = listed.into_iter().filter_map(|(name, meta)| match name {
        ObjectName::Run { seq, pack } => Some(RunFile { seq, pack_id: pack, len: meta.len }),
        _ => None,
    });
    Ok(Listing { runs: runs.collect() })
}

/// Reads the runs of this domain with `built` >= `floor` into an index that leaves out `condemned`
/// packs, and says which runs could not be read.
pub(crate) async fn load(
    repository: &Repository,
    listing: &Listing,
    floor: u64,
    condemned: &HashSet<PackId>,
) -> Result<(Index, Vec<Error>)> {
    let mut merge = Merge::default();
    let mut lowest_built = u64::MAX;
    let mut runs = RunStream::whole(repository, listing.clone(), RUNS_IN_FLIGHT);
    while let Some((_, run)) = runs.next().await? {
        if run.head.built >= floor {
            lowest_built = lowest_built.min(run.head.built);
            merge.add(&run, condemned);
        }
    }
    let index = Index::new(merge.packs, merge.entries).with_lowest_built(lowest_built);
    Ok((index, runs.problems))
}

/// Makes what is wanted of an object that was read: nothing of one of another domain.
type Opener<T> = fn(&Repository, &RunFile, &Bytes) -> Result<Option<T>>;
/// A run on its way.
type RunRead<T> = BoxFuture<'static, (RunFile, Result<Found<T>>)>;

/// Every run of this domain, one after the other.
///
/// A listed run that is gone was merged into one that the listing may lack: the runs are listed again.
pub(crate) struct RunStream<T> {
    repository: Repository,
    opener: Opener<T>,
    in_flight: usize,
    /// Bytes of runs on their way at most, but for a single one.
    len_max: u64,
    len: u64,
    waiting: VecDeque<RunFile>,
    reads: FuturesOrdered<RunRead<T>>,
    done: HashSet<PackId>,
    some_gone: bool,
    listings: usize,
    /// Runs that could not be read.
    pub(crate) problems: Vec<Error>,
}

impl RunStream<Run> {
    /// Whole runs of `listing`, `in_flight` of them in memory at a time.
    pub(crate) fn whole(repository: &Repository, listing: Listing, in_flight: usize) -> Self {
        Self::new(repository, listing, in_flight, open_run)
    }
}

impl RunStream<OpenRun> {
    /// Runs of `listing` whose entries are still sealed; no more than `in_flight` of them, nor than `len_max` bytes,
    /// are on their way at a time, but for a single one.
    pub(crate) fn sealed(repository: &Repository, listing: Listing, in_flight: usize, len_max: u64) -> Self {
        RunStream { len_max, ..Self::new(repository, listing, in_flight, OpenRun::open) }
    }
}

impl<T: Send + 'static> RunStream<T> {
    fn new(repository: &Repository, listing: Listing, in_flight: usize, opener: Opener<T>) -> Self {
        RunStream {
            repository: repository.clone(),
            opener,
            in_flight: in_flight.max(1),
            len_max: u64::MAX,
            len: 0,
            waiting: listing.runs.into(),
            reads: FuturesOrdered::new(),
            done: HashSet::new(),
            some_gone: false,
            listings: 1,
            problems: Vec::new(),
        }
    }

    /// The next run; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<(RunFile, T)>> {
        loop {
            self.repository.exec().check_cancelled()?;
            while self.reads.len() < self.in_flight
                && let Some(file) = self.waiting.pop_front_if(|file| {
                    self.reads.is_empty() || self.len.saturating_add(file.len) <= self.len_max
                })
            {
                if !self.done.contains(&file.pack_id) {
                    self.len = self.len.saturating_add(file.len);
                    let (repository, opener) = (self.repository.clone(), self.opener);
                    self.reads.push_back(Box::pin(async move {
                        let found = read(&repository, &file, opener).await;
                        (file, found)
                    }));
                }
            }
            let read = self.reads.next().await;
            if let Some((file, _)) = &read {
                self.len = self.len.saturating_sub(file.len);
            }
            match read {
                Some((_, Ok(Found::Gone))) => self.some_gone = true,
                Some((file, Ok(Found::Foreign))) => drop(self.done.insert(file.pack_id)),
                Some((file, Ok(Found::Run(run)))) => {
                    self.done.insert(file.pack_id);
                    return Ok(Some((file, run)));
                }
                Some((file, Err(error @ (Error::Format { .. } | Error::Damage { .. })))) => {
                    self.done.insert(file.pack_id);
                    self.problems.push(error);
                }
                Some((_, Err(error))) => return Err(error),
                None if !self.some_gone => return Ok(None),
                None if self.listings >= LISTINGS_MAX => {
                    let found = "runs are listed again and again that cannot be found";
                    self.problems.push(Error::damage(INDEX_PREFIX, found));
                    return Ok(None);
                }
                None => {
                    crate::gc::wait_delta(&self.repository).await?;
                    self.waiting = list_runs(&self.repository).await?.runs.into();
                    (self.some_gone, self.listings) = (false, self.listings + 1);
                }
            }
        }
    }
}

/// What became of a run that was listed.
pub(crate) enum Found<T> {
    /// Not there any more, or not to be seen yet.
    Gone,
    /// Of another domain.
    Foreign,
    /// A run.
    Run(T),
}

async fn read<T: Send + 'static>(
    repository: &Repository,
    file: &RunFile,
    opener: Opener<T>,
) -> Result<Found<T>> {
    let name = file.name();
    let Some(object) = repository.store().get(&name).await? else { return Ok(Found::Gone) };
    let (repository, file) = (repository.clone(), file.clone());
    let opened = repository.exec().clone().cpu(move || opener(&repository, &file, &object)).await??;
    Ok(opened.map_or(Found::Foreign, Found::Run))
}

/// Reads a run that was listed; its entries are still sealed.
pub(crate) async fn read_run(repository: &Repository, file: &RunFile) -> Result<Found<OpenRun>> {
    read(repository, file, OpenRun::open).await
}

/// Runs joined into one index, each pack once.
#[derive(Default)]
struct Merge {
    packs: Vec<PackInfo>,
    numbers: HashMap<PackId, u32>,
    entries: Vec<Entry>,
}

impl Merge {
    fn add(&mut self, run: &Run, condemned: &HashSet<PackId>) {
        let numbers: Vec<Option<u32>> = run
            .packs
            .iter()
            .map(|row| {
                if condemned.contains(&row.pack_id) {
                    return None;
                }
                let next = u32::try_from(self.packs.len()).ok()?;
                let number = *self.numbers.entry(row.pack_id).or_insert(next);
                if number == next {
                    self.packs.push(PackInfo {
                        pack_id: row.pack_id,
                        class: row.class,
                        len: u64::from(row.size),
                        trailer_len: row.trailer_len,
                        sid: row.sid,
                    });
                }
                Some(number)
            })
            .collect();
        for entry in &run.entries {
            if let Some(Some(pack)) = numbers.get(entry.pack as usize) {
                self.entries.push(Entry { id: entry.id, pack: *pack, clen: entry.clen });
            }
        }
    }
}
