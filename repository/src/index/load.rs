//! Whole runs from the store to memory.

use super::{Entry, Index, PackInfo};
use crate::error::Named;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use futures::stream::{StreamExt, iter};
use repo_format::compress::Decompressor;
use repo_format::index::{Run, parse_run};
use repo_format::layout::{INDEX_PREFIX, ObjectName};
use repo_format::pack::{OpenTrailer, PackClass, PackContext, open_trailer, scrub};
use repo_format::{ErrorKind as FormatKind, PackId};
use std::collections::{HashMap, HashSet};

/// Runs fetched at the same time.
const RUNS_IN_FLIGHT: usize = 4;

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
    let mut problems = Vec::new();
    let mut lowest_built = u64::MAX;
    let files = listing.runs.clone();
    let read = |file: RunFile| async move { read_run(repository, &file).await };
    let mut runs = iter(files).map(read).buffered(RUNS_IN_FLIGHT);
    while let Some(read) = runs.next().await {
        match read {
            Ok(Some(run)) if run.head.built >= floor => {
                lowest_built = lowest_built.min(run.head.built);
                merge.add(&run, condemned);
            }
            Ok(_) => {}
            Err(error @ (Error::Format { .. } | Error::Damage { .. })) => problems.push(error),
            Err(error) => return Err(error),
        }
        repository.exec().check_cancelled()?;
    }
    Ok((Index::new(merge.packs, merge.entries).with_lowest_built(lowest_built), problems))
}

/// A run; nothing if it is of another domain, or was merged away since it was listed.
pub(crate) async fn read_run(repository: &Repository, file: &RunFile) -> Result<Option<Run>> {
    let name = file.name();
    let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
    let (repository, file) = (repository.clone(), file.clone());
    repository.exec().clone().cpu(move || open_run(&repository, &file, &object)).await?
}

/// Opens a whole run that was read.
pub(crate) fn open_run(repository: &Repository, file: &RunFile, object: &Bytes) -> Result<Option<Run>> {
    let name = file.name();
    let repo_id = repository.repo_id();
    let context = PackContext {
        s_d: repository.structure_key(),
        epoch: 0,
        repo_id: &repo_id,
        class: PackClass::Index,
        pack_id: &file.pack_id,
    };
    let trailer = match open_trailer(&context, object, object.len() as u64) {
        Ok(OpenTrailer::Done(trailer, _)) => trailer,
        Ok(OpenTrailer::NeedTail(_)) => return Err(Error::damage(name, "ends before its trailer")),
        Err(error) if error.kind() == FormatKind::WrongKey => return foreign_or_damaged(&name, file, object),
        Err(error) => return Err(error).named(name),
    };
    let mut keys = Vec::new();
    for key in trailer.keys() {
        keys.push(key.open_structure(&repo_id, repository.structure_key()).named(name)?);
    }
    let mut tools = Decompressor::new();
    let mut records = Vec::with_capacity(trailer.rows().len());
    for (n, row) in trailer.rows().iter().enumerate() {
        let range =
            trailer.range(n).and_then(|r| Some(usize::try_from(r.start).ok()?..usize::try_from(r.end).ok()?));
        let sealed = range.and_then(|range| object.get(range));
        let (Some(sealed), Some(key)) = (sealed, keys.get(usize::from(row.key))) else {
            return Err(Error::damage(name, "a record lies outside the object"));
        };
        let mut plain = Vec::new();
        key.open(row, sealed, &mut tools, &mut plain).named(name)?;
        records.push((row.record_type, row.id, plain));
    }
    parse_run(&records).named(name).map(Some)
}

/// A trailer under another key is another domain's, if the object is whole; damage otherwise.
fn foreign_or_damaged(name: &ObjectName, file: &RunFile, object: &Bytes) -> Result<Option<Run>> {
    scrub(object, file.pack_id).named(name).map(|_| None)
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
