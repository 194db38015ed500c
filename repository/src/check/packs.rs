//! All packs: what the index names against what the store lists, and what is in them.

use super::confidence::{Confidence, sample};
use super::content::{Flaw, Indexed, Scope, Whole, compare};
use super::objects::Finals;
use super::report::describe;
use super::runs::{IdItem, Runs, bucket_of, entry_of, of_packs};
use super::{Check, ReadData};
use crate::gc::GcView;
use crate::index::{Entry, Index, PackInfo};
use crate::reader::{open_tail, read_trailer};
use crate::spill::{BUCKET_COUNT, Spill};
use crate::{Error, Repository, Result};
use futures::future::ready;
use futures::stream::{StreamExt, TryStreamExt, iter};
use repo_format::layout::{ObjectName, PACK_PREFIX};
use repo_format::pack::PackClass;
use repo_format::{ErrorKind as FormatKind, Id, PackId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

/// Trailers fetched at the same time...
const TRAILERS_IN_FLIGHT: usize = 8;
/// ...as long as this part of the memory holds them: sealed, plain, as rows and sorted.
const TRAILERS_SHARE: u64 = 8;
const TRAILER_COPIES: u64 = 5;
/// Last bytes of a pack read when its trailer's length is not known.
const TAIL_GUESS_LEN: u64 = 64 << 10;

/// A pack to look into.
#[derive(Clone)]
struct Job {
    name: ObjectName,
    class: PackClass,
    pack_id: PackId,
    len: u64,
    /// Its number in the index, if that names it.
    number: Option<u32>,
    indexed: Option<Indexed>,
}

/// Packs as index and store tell them.
pub(super) struct Inventory {
    /// The index of map pages, and what trailers say of map packs that are wrongly in no run. It has all packs.
    pub(super) pages: Arc<Index>,
    /// Every location, by id; and by pack.
    by_id: Spill<24>,
    by_pack: Spill<24>,
    /// Packs that were taken up, and what is in them.
    pub(super) adopted: (Vec<PackInfo>, Vec<Entry>),
    jobs: Vec<Job>,
    /// Names of the packs that no run names.
    pub(super) unlisted: BTreeSet<String>,
    damage: Damage,
}

/// What cannot be read, and which findings say so.
#[derive(Default)]
pub(super) struct Damage {
    /// By number of the pack in the index.
    packs: HashMap<u32, Vec<usize>>,
    records: HashMap<(u32, [u8; 16]), usize>,
    /// Records that have no good location, or are no page of their place.
    pub(super) ids: HashMap<[u8; 16], Vec<usize>>,
    /// Chunks that are needed and that the index has no place for.
    pub(super) nowhere: HashSet<[u8; 16]>,
    /// Findings about runs whose entries are not known.
    pub(super) runs: Vec<usize>,
}

/// Where a record can be read.
pub(super) enum Reach {
    /// At one good place at least.
    Good,
    /// At none, for the reasons that these findings give.
    Hurt(Vec<usize>),
    /// The index has no place for it.
    Nowhere,
}

impl Damage {
    /// True if nothing can hurt a snapshot.
    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.records.is_empty() && self.ids.is_empty() && self.nowhere.is_empty()
    }

    /// Whether a record that lies at `entries` can be read.
    fn reach_at(&self, short: &[u8; 16], entries: impl Iterator<Item = Entry>) -> Reach {
        let (mut findings, mut is_there) = (Vec::new(), false);
        for entry in entries {
            is_there = true;
            let before = findings.len();
            findings.extend(self.packs.get(&entry.pack).into_iter().flatten());
            findings.extend(self.records.get(&(entry.pack, *short)));
            if findings.len() == before {
                return Reach::Good;
            }
        }
        if is_there { Reach::Hurt(findings) } else { Reach::Nowhere }
    }

    /// Whether a map page can be read.
    pub(super) fn reach(&self, pages: &Index, id: &Id) -> Reach {
        let short = id.short();
        match self.ids.get(&short) {
            Some(findings) => Reach::Hurt(findings.clone()),
            None => self.reach_at(&short, pages.find_all(&short).iter().copied()),
        }
    }

    /// Whether a chunk that [`Inventory::judge`] was asked about can be read.
    pub(super) fn reach_chunk(&self, id: &Id) -> Reach {
        let short = id.short();
        match self.ids.get(&short) {
            Some(findings) => Reach::Hurt(findings.clone()),
            None if self.nowhere.contains(&short) => Reach::Nowhere,
            None => Reach::Good,
        }
    }
}

impl Inventory {
    /// Which of the `needed` chunks have no good location, by all locations of them: one bucket after the other.
    pub(super) async fn judge(&self, needed: &Spill<16>, damage: &mut Damage) -> Result<()> {
        for n in 0..BUCKET_COUNT {
            let (mut ids, entries) = (needed.bucket(n).await?, self.by_id.bucket(n).await?);
            ids.dedup();
            let mut rest: &[IdItem] = &entries;
            for id in ids {
                rest = rest
                    .get(rest.partition_point(|item| item.first_chunk() < Some(&id))..)
                    .unwrap_or_default();
                let same = rest.iter().take_while(|item| item.first_chunk() == Some(&id)).map(entry_of);
                match damage.reach_at(&id, same) {
                    Reach::Good => {}
                    Reach::Hurt(findings) => drop(damage.ids.entry(id).or_insert(findings)),
                    Reach::Nowhere => drop(damage.nowhere.insert(id)),
                }
            }
        }
        Ok(())
    }
}

/// Lists packs after the index was read: what the index names must be there.
pub(super) async fn list(
    check: &mut Check<'_>,
    mut runs: Runs,
    view: &GcView,
    finals: &Finals,
) -> Result<Inventory> {
    let listed = check.repository.store().list(PACK_PREFIX).await?;
    let mut damage = Damage { runs: runs.damaged.clone(), ..Damage::default() };
    let mut unlisted = BTreeSet::new();
    let mut jobs = Vec::new();
    let mut seen = HashSet::new();
    let mut adopted = (Vec::new(), Vec::new());
    for (name, meta) in listed {
        let (class, pack_id) = match name {
            ObjectName::DataPack(id) => (PackClass::Data, id),
            ObjectName::MapPack(id) => (PackClass::Map, id),
            _ => continue,
        };
        if view.dead.contains(&pack_id) {
            continue;
        }
        check.objects += 1;
        let job = Job { name, class, pack_id, len: meta.len, number: None, indexed: None };
        let number = runs.numbers.get(&pack_id).copied();
        let known = number.and_then(|n| runs.packs.get(n as usize)).map(|info| info.class == class);
        match known {
            // a pack in the folder of the other class is not the one that the index names
            Some(same_class) => {
                if same_class {
                    seen.insert(pack_id);
                }
            }
            None => {
                unlisted.insert(name.to_string());
                if adopt(check, &job, &mut runs, finals, &mut damage, &mut adopted).await? {
                    seen.insert(pack_id);
                }
            }
        }
        jobs.push(job);
    }
    add_missing(check, &runs, &seen, &mut jobs, &mut damage).await?;
    for job in &mut jobs {
        let number = runs.numbers.get(&job.pack_id).copied();
        job.number =
            number.filter(|n| runs.packs.get(*n as usize).is_some_and(|info| info.class == job.class));
    }
    runs.by_id.close().await?;
    runs.by_pack.close().await?;
    let pages = Arc::new(Index::new(runs.packs, runs.pages));
    Ok(Inventory { pages, by_id: runs.by_id, by_pack: runs.by_pack, adopted, jobs, unlisted, damage })
}

/// Packs that the index names and the listing does not show.
async fn add_missing(
    check: &mut Check<'_>,
    runs: &Runs,
    seen: &HashSet<PackId>,
    jobs: &mut Vec<Job>,
    damage: &mut Damage,
) -> Result<()> {
    for (number, info) in (0u32..).zip(&runs.packs) {
        if seen.contains(&info.pack_id) {
            continue;
        }
        let name = ObjectName::pack(info.class, info.pack_id);
        check.objects += 1;
        if let Some(meta) = check.repository.store().head(&name).await? {
            let (class, pack_id) = (info.class, info.pack_id);
            jobs.push(Job { name, class, pack_id, len: meta.len, number: None, indexed: None });
            continue;
        }
        let expected = format!("a pack of {} bytes, named by the index", info.len);
        let finding = check.findings.add(name, "missing", "no object".to_owned(), expected);
        damage.packs.entry(number).or_default().push(finding);
    }
    Ok(())
}

/// A pack that no run names: damage if its session has ended with a snapshot, whose records are
/// then taken from the trailer, so that the walk can go on. True if it was taken up.
async fn adopt(
    check: &mut Check<'_>,
    job: &Job,
    runs: &mut Runs,
    finals: &Finals,
    damage: &mut Damage,
    (adopted, records): &mut (Vec<PackInfo>, Vec<Entry>),
) -> Result<bool> {
    let guess = job.len.min(TAIL_GUESS_LEN);
    let opened = open_tail(check.repository, &job.name, job.pack_id, job.class, job.len, guess).await;
    let trailer = match opened {
        Ok(trailer) => trailer,
        Err(error) if is_foreign(check, &error) => return Ok(false),
        Err(error) => {
            check.findings.add_error(job.name, "damaged", error)?;
            return Ok(false);
        }
    };
    let sid = trailer.sid();
    if !finals.names.contains(&sid) || finals.forgotten.contains(&sid) {
        return Ok(false);
    }
    let overhead = repo_format::pack::FOOTER_LEN as u64 + trailer.records_end();
    let trailer_len = u32::try_from(job.len.saturating_sub(overhead)).unwrap_or(u32::MAX);
    let info = PackInfo { pack_id: job.pack_id, class: job.class, len: job.len, trailer_len, sid };
    let pack = runs.number(info.clone());
    let place = u32::try_from(adopted.len()).unwrap_or(u32::MAX);
    adopted.push(info);
    for row in trailer.rows() {
        let entry = Entry { id: row.id.short(), pack, clen: row.clen };
        runs.push(entry);
        records.push(Entry { pack: place, ..entry });
    }
    runs.settle().await?;
    let causes = if runs.damaged.is_empty() {
        let expected = format!("an index run that names it: its session {sid} has ended");
        vec![check.findings.add(job.name, "index", "a pack that is in no index run".to_owned(), expected)]
    } else {
        runs.damaged.clone()
    };
    damage.packs.entry(pack).or_default().extend(causes);
    Ok(true)
}

fn is_foreign(check: &Check<'_>, error: &Error) -> bool {
    let wrong_key = matches!(error, Error::Format { source, .. } if source.kind() == FormatKind::WrongKey);
    wrong_key && check.has_foreign_domains()
}

/// Looks into all packs: the chosen ones whole, the trailers of the others.
pub(super) async fn check(
    check: &mut Check<'_>,
    inventory: &Inventory,
    read_data: ReadData,
) -> Result<(Option<Confidence>, Damage)> {
    let lens: Vec<u64> = inventory.jobs.iter().map(|job| job.len).collect();
    let chosen = sample(check.repository.env(), &lens, read_data)?;
    let (mut whole, mut trailers) = (Vec::new(), Vec::new());
    for (job, chosen) in inventory.jobs.iter().zip(chosen) {
        if chosen { whole.push(job.clone()) } else { trailers.push(job.clone()) }
    }
    let reading: u64 = whole.iter().map(|job| job.len).sum();
    check.progress.add_total(reading);
    let confidence = Confidence::of_sample(whole.len() as u64, lens.len() as u64);
    let mut damage = Damage {
        packs: inventory.damage.packs.clone(),
        runs: inventory.damage.runs.clone(),
        ..Damage::default()
    };
    let exec = check.repository.exec().clone();
    let longest = whole.iter().map(|job| job.len).max().unwrap_or(1).max(1);
    let fitting = usize::try_from(exec.memory_len() / 2 / longest).unwrap_or(usize::MAX);
    let width = fitting.clamp(1, 2 * exec.width());
    let longest =
        inventory.pages.packs().iter().map(|pack| u64::from(pack.trailer_len)).max().unwrap_or(1).max(1);
    let fitting = exec.memory_len() / TRAILERS_SHARE / (longest * TRAILER_COPIES);
    let trailer_width = usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, TRAILERS_IN_FLIGHT);
    let foreign = check.has_foreign_domains();
    let start = |job: Job, whole: bool| {
        let repository = check.repository.clone();
        exec.spawn(async move {
            let flaws = look(&repository, &job, whole, foreign).await?;
            Ok((job, flaws))
        })
    };
    let mut flawed = Vec::new();
    for (jobs, whole, width) in [(whole, true, width), (trailers, false, trailer_width)] {
        // bucket by bucket, and without a pause between them: a bucket may have one pack
        let jobs = iter(buckets(jobs)).then(|(bucket, jobs)| indexed(inventory, bucket, jobs));
        let looks = jobs.map_ok(|jobs| iter(jobs).map(Ok)).try_flatten().map(|job| match job {
            Ok(job) => start(job, whole),
            Err(error) => Box::pin(ready(Err(error))),
        });
        let mut looks = pin!(looks.buffered(width));
        while let Some(done) = looks.next().await {
            let (mut job, flaws) = done?;
            if whole {
                check.progress.add_done(job.len);
            }
            if !flaws.is_empty() {
                if let Some(indexed) = &mut job.indexed {
                    indexed.entries = Vec::new();
                }
                flawed.push((job, flaws));
            }
            exec.check_cancelled()?;
        }
    }
    flawed.into_iter().for_each(|(job, flaws)| report(check, &mut damage, &job, flaws));
    Ok(((read_data != ReadData::None).then_some(confidence), damage))
}

/// Jobs by the bucket of their packs.
fn buckets(jobs: Vec<Job>) -> BTreeMap<Option<usize>, Vec<Job>> {
    let mut buckets: BTreeMap<Option<usize>, Vec<Job>> = BTreeMap::new();
    for job in jobs {
        buckets.entry(job.number.map(bucket_of)).or_default().push(job);
    }
    buckets
}

/// Jobs of one bucket, with what the index says of their packs; nothing of those that it does not name.
async fn indexed(inventory: &Inventory, bucket: Option<usize>, mut jobs: Vec<Job>) -> Result<Vec<Job>> {
    let mut entries = match bucket {
        Some(bucket) => of_packs(inventory.by_pack.bucket(bucket).await?),
        None => HashMap::new(),
    };
    for job in &mut jobs {
        job.indexed = job.number.and_then(|number| {
            let info = inventory.pages.packs().get(number as usize)?.clone();
            Some(Indexed { number, info, entries: entries.remove(&number).unwrap_or_default() })
        });
    }
    Ok(jobs)
}

fn report(check: &mut Check<'_>, damage: &mut Damage, job: &Job, flaws: Vec<Flaw>) {
    for flaw in flaws {
        let finding = check.findings.add(job.name, flaw.kind, flaw.found, flaw.expected);
        let Some(indexed) = &job.indexed else { continue };
        match flaw.scope {
            Scope::Pack => damage.packs.entry(indexed.number).or_default().push(finding),
            Scope::Record(id) => drop(damage.records.entry((indexed.number, id)).or_insert(finding)),
        }
    }
}

/// What is wrong with one pack.
async fn look(repository: &Repository, job: &Job, whole: bool, foreign_domains: bool) -> Result<Vec<Flaw>> {
    if let Some(indexed) = &job.indexed
        && indexed.info.len != job.len
    {
        let expected = format!("{} bytes by the index", indexed.info.len);
        return Ok(vec![Flaw::of_pack("damaged", (format!("{} bytes", job.len), expected))]);
    }
    if !whole {
        // the trailer of a pack that no run names was read when it was listed
        let Some(indexed) = &job.indexed else { return Ok(Vec::new()) };
        return match read_trailer(repository, &indexed.info).await {
            Ok(trailer) => Ok(compare(indexed, &trailer)),
            Err(error) => Ok(vec![Flaw::of_pack("damaged", describe(error)?)]),
        };
    }
    let bytes = match repository.store().get(&job.name).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let expected = format!("a pack of {} bytes", job.len);
            return Ok(vec![Flaw::of_pack("missing", ("no object".to_owned(), expected))]);
        }
        Err(error) if error.is_bad_copy() => return Ok(vec![Flaw::of_pack("damaged", describe(error)?)]),
        Err(error) => return Err(error),
    };
    let (repository, job) = (repository.clone(), job.clone());
    let work = repository.exec().clone().cpu(move || {
        let pack = Whole {
            repository: &repository,
            class: job.class,
            pack_id: job.pack_id,
            indexed: job.indexed.as_ref(),
            foreign_domains,
            bytes: &bytes,
        };
        pack.check()
    });
    work.await
}
