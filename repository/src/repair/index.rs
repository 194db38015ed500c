//! What the runs say, against what the packs say of themselves.

use super::flawed::Flawed;
use super::packs::{Depth, Found, Job, Known, has_foreign_domains, look};
use crate::error::Named;
use crate::gc::{GcView, wait_delta};
use crate::index::{Entry, Index, PackInfo, RunFile, list_runs, open_run};
use crate::{Error, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::PackId;
use repo_format::index::Run;
use repo_format::layout::{ObjectName, PACK_PREFIX};
use repo_format::pack::{FOOTER_LEN, PackClass, scrub};
use std::collections::{BTreeMap, BTreeSet};

/// Listings tried until nothing that is listed is missing.
const LISTINGS_MAX: usize = 8;
/// Trailers fetched at the same time.
const TRAILERS_IN_FLIGHT: usize = 8;
/// Packs read whole at the same time, 64 MiB each at most.
const PACKS_IN_FLIGHT: usize = 2;

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
    /// Condemned packs that are still there, with their lengths.
    pub(super) dead: Vec<(ObjectName, u64)>,
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
            numbers.push((!is_dead).then(|| self.number(row.into())));
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
    async fn jobs(&mut self, repository: &Repository, view: &GcView) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, meta) in repository.store().list(PACK_PREFIX).await? {
            let Some((class, pack_id)) = name.as_pack() else { continue };
            if view.dead.contains(&pack_id) {
                self.dead.push((name, meta.len));
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

    /// The index as it is once all is written, without what is copied: it is given away.
    pub(super) fn take_index(&mut self) -> Index {
        let dropped: BTreeSet<u32> =
            self.dropped.iter().filter_map(|pack_id| self.numbers.get(pack_id).copied()).collect();
        let (mut packs, mut entries) = (std::mem::take(&mut self.packs), std::mem::take(&mut self.entries));
        entries.retain(|entry| !dropped.contains(&entry.pack));
        // what is good in a flawed pack can be read there, too
        let flawed = self.flawed.iter().map(|one| (&one.info, &one.good));
        let adopted = self.adopted.iter().map(|one| (&one.info, &one.records));
        for (info, records) in adopted.chain(flawed) {
            let Ok(pack) = u32::try_from(packs.len()) else { break };
            packs.push(info.clone());
            entries.extend(records.iter().map(|(id, clen)| Entry { id: *id, pack, clen: *clen }));
        }
        Index::new(packs, entries)
    }
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
        Err(error) if error.is_damage() => return Ok(Read::Damaged),
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
        Err(error) if error.is_damage() => Ok(Read::Damaged),
        Err(error) => Err(error),
    }
}
