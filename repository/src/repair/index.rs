//! What the runs say, against what the packs say of themselves.

use super::flawed::{Flawed, look_whole};
use crate::error::Named;
use crate::gc::{GcView, wait_delta};
use crate::index::{Entry, Index, PackInfo, RunFile, list_runs, open_run};
use crate::reader::{open_tail, read_trailer};
use crate::vfs::is_damage;
use crate::{Error, ErrorKind, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::PackId;
use repo_format::index::Run;
use repo_format::layout::{ObjectName, PACK_PREFIX};
use repo_format::pack::{FOOTER_LEN, PackClass, Trailer, scrub};
use std::collections::{BTreeMap, BTreeSet};

/// Listings tried until nothing that is listed is missing.
const LISTINGS_MAX: usize = 8;
/// Trailers fetched at the same time.
const TRAILERS_IN_FLIGHT: usize = 8;
/// Packs read whole at the same time, 64 MiB each at most.
const PACKS_IN_FLIGHT: usize = 2;
/// Last bytes of a pack read when its trailer's length is not known.
const TAIL_GUESS_LEN: u64 = 64 << 10;

/// A pack whose trailer says more, or other things, than the runs do.
pub(super) struct Adopted {
    pub(super) info: PackInfo,
    /// Short id and sealed length of each record.
    pub(super) records: Vec<([u8; 16], u32)>,
}

/// The index as it is, and what is wrong with it.
#[derive(Default)]
pub(super) struct Gathered {
    packs: Vec<PackInfo>,
    numbers: BTreeMap<PackId, u32>,
    entries: Vec<Entry>,
    /// Runs that can be read and count, with the packs that they name.
    pub(super) runs: Vec<(RunFile, Vec<PackId>)>,
    /// Runs that cannot be read.
    pub(super) damaged: Vec<RunFile>,
    pub(super) highest_seq: Option<u64>,
    /// Packs to tell the index of.
    pub(super) adopted: Vec<Adopted>,
    /// Packs that runs name wrongly: lost, or not as they say. What is true of them is in `adopted`.
    pub(super) dropped: BTreeSet<PackId>,
    /// Packs that were read whole and have flaws.
    pub(super) flawed: Vec<Flawed>,
    /// Packs that are missing or cannot be read, and why.
    pub(super) lost: BTreeMap<ObjectName, (String, bool)>,
}

/// What a pack turned out to be.
enum Found {
    /// As the index says.
    Known,
    /// Its trailer says other things than the index.
    Trailer(Trailer),
    /// Its trailer opens, and something else in it is wrong.
    Flawed(Flawed),
    /// Another domain's, or deleted since it was listed.
    Nobodys,
    /// Neither.
    Lost(String),
}

/// Which packs are read whole, beside those of map pages.
#[derive(Clone, Copy)]
pub(super) struct Depth {
    /// All of them.
    pub(super) data: bool,
    /// Those that no run names: they may have been left out because of what is wrong with them.
    pub(super) unnamed: bool,
}

impl Depth {
    fn is_whole(self, job: &Job) -> bool {
        job.class == PackClass::Map || self.data || (self.unnamed && job.number.is_none())
    }
}

/// A pack to look into.
struct Job {
    name: ObjectName,
    pack_id: PackId,
    class: PackClass,
    /// By the listing; none if it is not listed.
    len: Option<u64>,
    number: Option<u32>,
}

impl Gathered {
    /// Reads all runs that count.
    pub(super) async fn read(repository: &Repository, view: &GcView) -> Result<Self> {
        let mut gathered = Gathered::default();
        let mut done: BTreeSet<PackId> = BTreeSet::new();
        for _ in 0..LISTINGS_MAX {
            let mut is_gone = false;
            let listing = list_runs(repository).await?;
            gathered.highest_seq = gathered.highest_seq.max(listing.highest_seq());
            for file in listing.runs {
                repository.exec().check_cancelled()?;
                if done.contains(&file.pack_id) {
                    continue;
                }
                match read_whole(repository, &file).await? {
                    Read::Gone => {
                        is_gone = true;
                        continue;
                    }
                    Read::Foreign => {}
                    Read::Damaged => gathered.damaged.push(file.clone()),
                    Read::Run(run) if run.head.built >= view.floor => gathered.add(&file, &run, view),
                    Read::Run(_) => {}
                }
                done.insert(file.pack_id);
            }
            if !is_gone {
                return Ok(gathered);
            }
            wait_delta(repository).await?;
        }
        Err(Error::damage("index", "runs are listed again and again that cannot be found"))
    }

    fn add(&mut self, file: &RunFile, run: &Run, view: &GcView) {
        let mut numbers = Vec::with_capacity(run.packs.len());
        for row in &run.packs {
            let is_dead = view.dead.contains(&row.pack_id);
            numbers.push((!is_dead).then(|| {
                self.number(PackInfo {
                    pack_id: row.pack_id,
                    class: row.class,
                    len: u64::from(row.size),
                    trailer_len: row.trailer_len,
                    sid: row.sid,
                })
            }));
        }
        for entry in &run.entries {
            if let Some(Some(pack)) = numbers.get(entry.pack as usize) {
                self.entries.push(Entry { id: entry.id, pack: *pack, clen: entry.clen });
            }
        }
        self.runs.push((file.clone(), run.packs.iter().map(|row| row.pack_id).collect()));
    }

    fn number(&mut self, info: PackInfo) -> u32 {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(info.pack_id).or_insert(next);
        if number == next {
            self.packs.push(info);
        }
        number
    }

    /// Reads the trailer of every pack that is not dead, or all of it, and corrects the index by them.
    pub(super) async fn compare_with_packs(
        &mut self,
        repository: &Repository,
        view: &GcView,
        depth: Depth,
    ) -> Result<()> {
        let index = Index::new(self.packs.clone(), std::mem::take(&mut self.entries));
        let mut counts = vec![0usize; index.packs().len()];
        for entry in index.entries() {
            if let Some(count) = counts.get_mut(entry.pack as usize) {
                *count += 1;
            }
        }
        let known = Known { index, counts };
        let mut jobs = self.jobs(repository, view).await?;
        // what seems lost may only not be seen yet
        for is_last in [false, true] {
            let mut again = Vec::new();
            let (data, rest): (Vec<Job>, Vec<Job>) =
                jobs.into_iter().partition(|job| job.class == PackClass::Data && depth.is_whole(job));
            for (jobs, width) in [(rest, TRAILERS_IN_FLIGHT), (data, PACKS_IN_FLIGHT)] {
                let looked = iter(jobs)
                    .map(|job| async { (look(repository, &known, &job, depth).await, job) })
                    .buffered(width);
                let mut looked = std::pin::pin!(looked);
                while let Some((found, job)) = looked.next().await {
                    repository.exec().check_cancelled()?;
                    match found? {
                        Found::Lost(_) if !is_last => again.push(job),
                        found => self.take(found, &job),
                    }
                }
            }
            if again.is_empty() {
                break;
            }
            wait_delta(repository).await?;
            jobs = again;
        }
        self.plan_copies(&known.index, view);
        self.entries = known.index.entries().to_vec();
        Ok(())
    }

    /// Good records of flawed packs that no other pack holds which may be relied on.
    fn plan_copies(&mut self, index: &Index, view: &GcView) {
        if self.flawed.is_empty() {
            return;
        }
        let is_settled = |pack_id: &PackId| !view.condemned.contains(pack_id);
        let adopted: BTreeSet<[u8; 16]> = self
            .adopted
            .iter()
            .filter(|one| is_settled(&one.info.pack_id))
            .flat_map(|one| one.records.iter().map(|(id, _)| *id))
            .collect();
        let is_elsewhere = |id: &[u8; 16]| {
            let packs = index.find_all(id).iter().filter_map(|entry| index.packs().get(entry.pack as usize));
            let mut kept = packs.filter(|pack| !self.dropped.contains(&pack.pack_id));
            adopted.contains(id) || kept.any(|pack| is_settled(&pack.pack_id))
        };
        for one in &mut self.flawed {
            one.copied = one.good.iter().map(|(id, _)| *id).filter(|id| !is_elsewhere(id)).collect();
        }
    }

    /// Listed packs that are not dead, and those that runs name and the listing does not show.
    async fn jobs(&self, repository: &Repository, view: &GcView) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, meta) in repository.store().list(PACK_PREFIX).await? {
            let Some((class, pack_id)) = name.as_pack() else { continue };
            if view.dead.contains(&pack_id) {
                continue;
            }
            let number = self.numbers.get(&pack_id).copied();
            // a pack in the folder of the other class is not the one that the index names
            let is_same = number.and_then(|n| self.packs.get(n as usize)).is_none_or(|p| p.class == class);
            if is_same {
                seen.insert(pack_id);
                jobs.push(Job { name, pack_id, class, len: Some(meta.len), number });
            }
        }
        for (number, info) in (0u32..).zip(&self.packs) {
            if !seen.contains(&info.pack_id) {
                let (pack_id, class) = (info.pack_id, info.class);
                let name = ObjectName::pack(class, pack_id);
                jobs.push(Job { name, pack_id, class, len: None, number: Some(number) });
            }
        }
        Ok(jobs)
    }

    fn take(&mut self, found: Found, job: &Job) {
        match found {
            Found::Known | Found::Nobodys => {}
            Found::Trailer(trailer) => {
                if job.number.is_some() {
                    self.dropped.insert(job.pack_id);
                }
                let len = job.len.unwrap_or_default();
                let frame = trailer.records_end() + FOOTER_LEN as u64;
                let trailer_len = u32::try_from(len.saturating_sub(frame)).unwrap_or(0);
                let sid = trailer.sid();
                let info = PackInfo { pack_id: job.pack_id, class: job.class, len, trailer_len, sid };
                let records = trailer.rows().iter().map(|row| (row.id.short(), row.clen)).collect();
                self.adopted.push(Adopted { info, records });
            }
            Found::Flawed(flawed) => {
                if job.number.is_some() {
                    self.dropped.insert(job.pack_id);
                }
                self.flawed.push(flawed);
            }
            Found::Lost(why) => {
                if job.number.is_some() {
                    self.dropped.insert(job.pack_id);
                }
                self.lost.insert(job.name, (why, job.number.is_some()));
            }
        }
    }

    /// The index as it is once all is written.
    pub(super) fn into_index(mut self) -> Index {
        let dropped: BTreeSet<u32> =
            self.dropped.iter().filter_map(|pack_id| self.numbers.get(pack_id).copied()).collect();
        self.entries.retain(|entry| !dropped.contains(&entry.pack));
        // what is good in a flawed pack can be read there, too
        let flawed = self.flawed.into_iter().map(|one| (one.info, one.good));
        let adopted = self.adopted.into_iter().map(|one| (one.info, one.records));
        for (info, records) in adopted.chain(flawed) {
            let Ok(pack) = u32::try_from(self.packs.len()) else { break };
            self.packs.push(info);
            self.entries.extend(records.into_iter().map(|(id, clen)| Entry { id, pack, clen }));
        }
        Index::new(self.packs, self.entries)
    }
}

async fn look(repository: &Repository, known: &Known, job: &Job, depth: Depth) -> Result<Found> {
    let found = look_at_trailer(repository, known, job).await?;
    if job.len.is_none() || !depth.is_whole(job) || !matches!(found, Found::Known | Found::Trailer(_)) {
        return Ok(found);
    }
    let flawed = look_whole(repository, job.name, job.class, job.number.is_some()).await?;
    let can_tell = job.class == PackClass::Map || repository.bundle().content_secret().is_some();
    Ok(match flawed {
        None => found,
        Some(flawed) if can_tell => Found::Flawed(flawed),
        // its hash is wrong, and which record that is only content's key can tell
        Some(flawed) => Found::Lost(flawed.why),
    })
}

async fn look_at_trailer(repository: &Repository, known: &Known, job: &Job) -> Result<Found> {
    let info = job.number.and_then(|n| known.index.packs().get(n as usize).cloned());
    if let (Some(info), Some(number)) = (&info, job.number)
        && job.len.is_none_or(|len| len == info.len)
    {
        match read_trailer(repository, info).await {
            Ok(trailer) if known.agrees(number, &trailer) => return Ok(Found::Known),
            Ok(trailer) if job.len.is_some() => return Ok(Found::Trailer(trailer)),
            Ok(_) => return Ok(Found::Known),
            Err(error) if is_damage(&error) && job.len.is_none() => return Ok(Found::Lost(detail(&error))),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(len) = job.len else { return Ok(Found::Lost("no object".into())) };
    let guess = TAIL_GUESS_LEN.max(FOOTER_LEN as u64);
    match open_tail(repository, &job.name, job.pack_id, job.class, len, guess).await {
        Ok(trailer) => Ok(Found::Trailer(trailer)),
        Err(error) if error.kind() == ErrorKind::WrongKey && has_foreign_domains(repository) => {
            Ok(if info.is_none() { Found::Nobodys } else { Found::Lost(detail(&error)) })
        }
        Err(error) if is_damage(&error) => {
            let is_there = repository.store().head(&job.name).await?.is_some();
            // deleted since it was listed, and nobody misses it
            Ok(if is_there || info.is_some() { Found::Lost(detail(&error)) } else { Found::Nobodys })
        }
        Err(error) => Err(error),
    }
}

/// What the runs say.
struct Known {
    index: Index,
    /// Entries of each pack.
    counts: Vec<usize>,
}

impl Known {
    /// Whether the runs list exactly the records of the trailer. One of two runs that share a pack may
    /// be lost: its name alone proves nothing.
    fn agrees(&self, number: u32, trailer: &Trailer) -> bool {
        let ids: BTreeSet<[u8; 16]> = trailer.rows().iter().map(|row| row.id.short()).collect();
        let holds = |id: &[u8; 16]| self.index.find_all(id).iter().any(|entry| entry.pack == number);
        self.counts.get(number as usize) == Some(&ids.len()) && ids.iter().all(holds)
    }
}

fn detail(error: &Error) -> String {
    match error {
        Error::Damage { detail, .. } => detail.clone(),
        Error::Format { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

pub(super) fn has_foreign_domains(repository: &Repository) -> bool {
    repository.config().domains.len() > 1
}

/// What a listed run turned out to be.
pub(super) enum Read {
    Gone,
    Foreign,
    Damaged,
    Run(Run),
}

/// Reads a run, every bit of it.
pub(super) async fn read_whole(repository: &Repository, file: &RunFile) -> Result<Read> {
    let object = match repository.store().get(&file.name()).await {
        Ok(Some(object)) => object,
        Ok(None) => return Ok(Read::Gone),
        Err(error) if is_damage(&error) => return Ok(Read::Damaged),
        Err(error) => return Err(error),
    };
    let (worker, file) = (repository.clone(), file.clone());
    let opened = repository.exec().cpu(move || {
        scrub(&object, file.pack_id).named(file.name())?;
        open_run(&worker, &file, &object)
    });
    match opened.await? {
        Ok(Some(run)) => Ok(Read::Run(run)),
        Ok(None) if has_foreign_domains(repository) => Ok(Read::Foreign),
        Ok(None) => Ok(Read::Damaged),
        Err(error) if is_damage(&error) => Ok(Read::Damaged),
        Err(error) => Err(error),
    }
}
