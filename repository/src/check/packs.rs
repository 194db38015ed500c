//! All packs: what the index names against what the store lists, and what is in them.

use super::confidence::{Confidence, sample};
use super::content::{Flaw, Indexed, Scope, Whole, compare};
use super::objects::Finals;
use super::report::{describe, is_damage};
use super::runs::Runs;
use super::{Check, ReadData};
use crate::gc::GcView;
use crate::index::{Entry, Index, PackInfo};
use crate::reader::{open_tail, read_trailer};
use crate::{Error, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::layout::{ObjectName, PACK_PREFIX};
use repo_format::pack::PackClass;
use repo_format::{ErrorKind as FormatKind, Id, PackId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Trailers fetched at the same time.
const TRAILERS_IN_FLIGHT: usize = 8;
/// Last bytes of a pack read when its trailer's length is not known.
const TAIL_GUESS_LEN: u64 = 64 << 10;

/// A pack to look into.
#[derive(Clone)]
struct Job {
    name: ObjectName,
    class: PackClass,
    pack_id: PackId,
    len: u64,
    indexed: Option<Indexed>,
}

/// Packs as index and store tell them.
pub(super) struct Inventory {
    /// The index, and what trailers say of packs that are wrongly in no run.
    pub(super) index: Arc<Index>,
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
        self.packs.is_empty() && self.records.is_empty() && self.ids.is_empty()
    }

    /// Whether a record can be read.
    pub(super) fn reach(&self, index: &Index, id: &Id) -> Reach {
        let short = id.short();
        if let Some(findings) = self.ids.get(&short) {
            return Reach::Hurt(findings.clone());
        }
        let mut findings = Vec::new();
        let entries = index.find_all(&short);
        for entry in entries {
            let before = findings.len();
            findings.extend(self.packs.get(&entry.pack).into_iter().flatten());
            findings.extend(self.records.get(&(entry.pack, short)));
            if findings.len() == before {
                return Reach::Good;
            }
        }
        if entries.is_empty() { Reach::Nowhere } else { Reach::Hurt(findings) }
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
        let job = Job { name, class, pack_id, len: meta.len, indexed: None };
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
                if adopt(check, &job, &mut runs, finals, &mut damage).await? {
                    seen.insert(pack_id);
                }
            }
        }
        jobs.push(job);
    }
    add_missing(check, &runs, &seen, &mut jobs, &mut damage).await?;
    Ok(finish(runs, jobs, unlisted, damage))
}

/// Numbers the jobs by the sorted index.
fn finish(runs: Runs, mut jobs: Vec<Job>, unlisted: BTreeSet<String>, damage: Damage) -> Inventory {
    let index = Index::new(runs.packs, runs.entries);
    let mut counts = vec![0u32; index.packs().len()];
    for entry in index.entries() {
        if let Some(count) = counts.get_mut(entry.pack as usize) {
            *count += 1;
        }
    }
    for job in &mut jobs {
        job.indexed = runs.numbers.get(&job.pack_id).and_then(|number| {
            let info = index.packs().get(*number as usize)?.clone();
            let entry_count = counts.get(*number as usize).copied().unwrap_or_default();
            (info.class == job.class).then_some(Indexed { number: *number, info, entry_count })
        });
    }
    Inventory { index: Arc::new(index), jobs, unlisted, damage }
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
            jobs.push(Job { name, class, pack_id, len: meta.len, indexed: None });
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
    let pack = runs.number(info);
    let records = trailer.rows().iter().map(|row| Entry { id: row.id.short(), pack, clen: row.clen });
    runs.entries.extend(records);
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
    let foreign = check.has_foreign_domains();
    let index = &inventory.index;
    let start = |job: Job, whole: bool| {
        let (repository, index) = (check.repository.clone(), index.clone());
        exec.spawn(async move {
            let flaws = look(&repository, index, &job, whole, foreign).await?;
            Ok((job, flaws, whole))
        })
    };
    let jobs = iter(whole).map(|job| start(job, true)).buffered(width);
    let mut jobs = jobs.chain(iter(trailers).map(|job| start(job, false)).buffered(TRAILERS_IN_FLIGHT));
    let mut flawed = Vec::new();
    while let Some(done) = jobs.next().await {
        let (job, flaws, whole) = done?;
        if whole {
            check.progress.add_done(job.len);
        }
        if !flaws.is_empty() {
            flawed.push((job, flaws));
        }
        exec.check_cancelled()?;
    }
    drop(jobs);
    flawed.into_iter().for_each(|(job, flaws)| report(check, &mut damage, &job, flaws));
    Ok(((read_data != ReadData::None).then_some(confidence), damage))
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
async fn look(
    repository: &Repository,
    index: Arc<Index>,
    job: &Job,
    whole: bool,
    foreign_domains: bool,
) -> Result<Vec<Flaw>> {
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
            Ok(trailer) => Ok(compare(&index, indexed, &trailer)),
            Err(error) => Ok(vec![Flaw::of_pack("damaged", describe(error)?)]),
        };
    }
    let bytes = match repository.store().get(&job.name).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let expected = format!("a pack of {} bytes", job.len);
            return Ok(vec![Flaw::of_pack("missing", ("no object".to_owned(), expected))]);
        }
        Err(error) if is_damage(&error) => return Ok(vec![Flaw::of_pack("damaged", describe(error)?)]),
        Err(error) => return Err(error),
    };
    let (repository, job) = (repository.clone(), job.clone());
    let work = repository.exec().clone().cpu(move || {
        let pack = Whole {
            repository: &repository,
            index: &index,
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
