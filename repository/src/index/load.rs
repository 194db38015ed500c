//! Runs from the store to memory.

use super::open::OpenRun;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::PackId;
use repo_format::layout::{INDEX_PREFIX, ObjectName};
use std::collections::{HashSet, VecDeque};

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

/// Makes what is wanted of an object that was read: nothing of one of another domain.
type Opener<T> = fn(&Repository, &RunFile, &Bytes) -> Result<Option<T>>;
/// A run on its way.
pub(super) type RunRead<T> = BoxFuture<'static, Result<Found<T>>>;
/// Starts to read a run.
pub(super) type ReadRun<T> = Box<dyn Fn(RunFile) -> RunRead<T> + Send + Sync>;

/// Every run of this domain, one after the other.
///
/// A listed run that is gone was merged into one that the listing may lack: the runs are listed again.
pub(crate) struct RunStream<T> {
    repository: Repository,
    start: ReadRun<T>,
    in_flight: usize,
    /// Bytes of runs on their way at most, but for a single one.
    len_max: u64,
    len: u64,
    waiting: VecDeque<RunFile>,
    reads: FuturesOrdered<BoxFuture<'static, (RunFile, Result<Found<T>>)>>,
    done: HashSet<PackId>,
    some_gone: bool,
    listings: usize,
    /// Runs that could not be read.
    pub(crate) problems: Vec<Error>,
}

impl RunStream<OpenRun> {
    /// Runs of `listing` whose entries are still sealed; no more than `in_flight` of them, nor than `len_max` bytes,
    /// are on their way at a time, but for a single one.
    pub(crate) fn sealed(repository: &Repository, listing: Listing, in_flight: usize, len_max: u64) -> Self {
        RunStream { len_max, ..Self::opened(repository, listing, in_flight, OpenRun::open) }
    }
}

impl<T: Send + 'static> RunStream<T> {
    fn opened(repository: &Repository, listing: Listing, in_flight: usize, opener: Opener<T>) -> Self {
        let reading = repository.clone();
        let start: ReadRun<T> = Box::new(move |file| {
            let repository = reading.clone();
            Box::pin(async move { read(&repository, &file, opener).await })
        });
        Self::reading(repository, listing, in_flight, u64::MAX, HashSet::new(), start)
    }

    /// Runs of `listing` but for those in `done`, each as `start` reads it.
    pub(super) fn reading(
        repository: &Repository,
        listing: Listing,
        in_flight: usize,
        len_max: u64,
        done: HashSet<PackId>,
        start: ReadRun<T>,
    ) -> Self {
        RunStream {
            repository: repository.clone(),
            start,
            in_flight: in_flight.max(1),
            len_max,
            len: 0,
            waiting: listing.runs.into(),
            reads: FuturesOrdered::new(),
            done,
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
                    let read = (self.start)(file.clone());
                    self.reads.push_back(Box::pin(async move { (file, read.await) }));
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

impl<T> Found<T> {
    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Gone => Found::Gone,
            Found::Foreign => Found::Foreign,
            Found::Run(run) => Found::Run(of(run)),
        }
    }
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
