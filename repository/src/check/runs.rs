//! Index runs: read whole, every bit of them, one at a time.

use super::Check;
use crate::error::Named;
use crate::gc::GcView;
use crate::index::{Entry, OpenRun, PackInfo, RunFile, list_runs};
use crate::spill::{Spill, SpillFolder};
use crate::{Repository, Result};
use bytes::Bytes;
use repo_format::PackId;
use repo_format::pack::{PackClass, scrub};
use std::collections::{HashMap, HashSet};

/// Listings tried while prune merges runs away.
const TRY_COUNT: usize = 5;

/// What the runs say. Entries are on disk once they are many.
pub(super) struct Runs {
    pub(super) packs: Vec<PackInfo>,
    /// Place of each pack in `packs`.
    pub(super) numbers: HashMap<PackId, u32>,
    /// Findings about runs whose entries are not known.
    pub(super) damaged: Vec<usize>,
    /// Every location, by id.
    pub(super) by_id: Spill<24>,
    /// And by pack.
    pub(super) by_pack: Spill<24>,
    /// Locations in map packs: what walking needs.
    pub(super) pages: Vec<Entry>,
}

/// An entry of [`Runs::by_id`]: id, pack, sealed length.
pub(super) type IdItem = [u8; 24];

fn id_item(entry: &Entry) -> IdItem {
    let mut item = [0; 24];
    let (id, rest) = item.split_at_mut(16);
    let (pack, clen) = rest.split_at_mut(4);
    id.copy_from_slice(&entry.id);
    pack.copy_from_slice(&entry.pack.to_be_bytes());
    clen.copy_from_slice(&entry.clen.to_be_bytes());
    item
}

/// Id and pack of an item.
pub(super) fn entry_of(item: &IdItem) -> Entry {
    let number = |at: usize| {
        let bytes = item.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    };
    Entry { id: *item.first_chunk().unwrap_or(&[0; 16]), pack: number(16), clen: number(20) }
}

/// An entry of [`Runs::by_pack`]: the pack's number, its low byte first, then id and sealed length.
fn pack_item(entry: &Entry) -> [u8; 24] {
    let mut item = [0; 24];
    let (pack, rest) = item.split_at_mut(4);
    let (id, clen) = rest.split_at_mut(16);
    pack.copy_from_slice(&entry.pack.to_le_bytes());
    id.copy_from_slice(&entry.id);
    clen.copy_from_slice(&entry.clen.to_be_bytes());
    item
}

/// The bucket of [`Runs::by_pack`] that has a pack.
pub(super) fn bucket_of(pack: u32) -> usize {
    usize::from(pack.to_le_bytes()[0])
}

/// The locations in each pack of a bucket, sorted by id.
pub(super) fn of_packs(bucket: Vec<[u8; 24]>) -> HashMap<u32, Vec<([u8; 16], u32)>> {
    let mut packs: HashMap<u32, Vec<([u8; 16], u32)>> = HashMap::new();
    for item in bucket {
        let (pack, rest) = item.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let (id, clen) = rest.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let clen = u32::from_be_bytes(clen.try_into().unwrap_or_default());
        packs.entry(u32::from_le_bytes(*pack)).or_default().push((*id, clen));
    }
    for entries in packs.values_mut() {
        entries.sort_unstable();
        entries.dedup();
    }
    packs
}

/// Entries added before the budget is looked at.
const SETTLE_ENTRIES: usize = 1 << 14;

impl Runs {
    /// Each of the two orders holds up to a thirty-second of the memory.
    fn new(repository: &Repository) -> Result<Self> {
        let folder = SpillFolder::new(repository, None)?;
        let budget = usize::try_from(repository.exec().memory_len() / 32).unwrap_or(usize::MAX);
        Ok(Runs {
            packs: Vec::new(),
            numbers: HashMap::new(),
            damaged: Vec::new(),
            by_id: Spill::new(&folder, budget),
            by_pack: Spill::new(&folder, budget),
            pages: Vec::new(),
        })
    }

    /// Adds a location.
    pub(super) fn push(&mut self, entry: Entry) {
        self.by_id.push(id_item(&entry));
        self.by_pack.push(pack_item(&entry));
        if self.packs.get(entry.pack as usize).is_some_and(|pack| pack.class == PackClass::Map) {
            self.pages.push(entry);
        }
    }

    /// Moves what is held to disk if it is too much.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.by_id.settle().await?;
        self.by_pack.settle().await
    }

    /// Adds a pack once and says its number.
    pub(super) fn number(&mut self, info: PackInfo) -> u32 {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(info.pack_id).or_insert(next);
        if number == next {
            self.packs.push(info);
        }
        number
    }

    async fn add(&mut self, repository: &Repository, mut run: OpenRun, dead: &HashSet<PackId>) -> Result<()> {
        let mut numbers = Vec::with_capacity(run.packs().len());
        for row in run.packs() {
            numbers.push((!dead.contains(&row.pack_id)).then(|| self.number(row.into())));
        }
        loop {
            let part = repository.exec().cpu(move || {
                let mut part = Vec::new();
                let more = run.next(SETTLE_ENTRIES, &mut part)?;
                crate::Result::<_>::Ok((run, part, more))
            });
            let (rest, part, more): (OpenRun, Vec<repo_format::index::Entry>, bool) = part.await??;
            for entry in part {
                if let Some(Some(pack)) = numbers.get(entry.pack as usize) {
                    self.push(Entry { id: entry.id, pack: *pack, clen: entry.clen });
                }
            }
            self.settle().await?;
            run = rest;
            if !more {
                return Ok(());
            }
        }
    }
}

/// Reads all runs of this domain that count.
pub(super) async fn read(check: &mut Check<'_>, view: &GcView) -> Result<Runs> {
    let mut done: HashSet<PackId> = HashSet::new();
    let mut runs = Runs::new(check.repository)?;
    for _ in 0..TRY_COUNT {
        let mut vanished = false;
        for file in list_runs(check.repository).await?.runs {
            if done.contains(&file.pack_id) {
                continue;
            }
            match read_one(check, &file).await? {
                Read::Gone => vanished = true,
                Read::Run(run) => {
                    done.insert(file.pack_id);
                    if let Some(run) = run.filter(|run| run.head().built >= view.floor) {
                        runs.add(check.repository, *run, &view.dead).await?;
                    }
                }
                Read::Damaged(finding) => {
                    done.insert(file.pack_id);
                    runs.damaged.push(finding);
                }
            }
            check.repository.exec().check_cancelled()?;
        }
        if !vanished {
            break;
        }
    }
    Ok(runs)
}

enum Read {
    /// Merged away since it was listed.
    Gone,
    /// Nothing for a run of another domain.
    Run(Option<Box<OpenRun>>),
    /// The finding.
    Damaged(usize),
}

async fn read_one(check: &mut Check<'_>, file: &RunFile) -> Result<Read> {
    let name = file.name();
    check.objects += 1;
    let object = match check.repository.store().get(&name).await {
        Ok(None) => return Ok(Read::Gone),
        Ok(Some(object)) => object,
        Err(error) => return Ok(Read::Damaged(check.findings.add_error(name, "damaged", error)?)),
    };
    let repository = check.repository.clone();
    let opened = repository.exec().clone().cpu({
        let file = file.clone();
        move || open(&repository, &file, &object)
    });
    match opened.await? {
        Ok(None) if !check.has_foreign_domains() => {
            let found = "a trailer under a key that is not this repository's".to_owned();
            let expected = super::report::AS_WRITTEN.to_owned();
            Ok(Read::Damaged(check.findings.add(name, "damaged", found, expected)))
        }
        Ok(run) => Ok(Read::Run(run.map(Box::new))),
        Err(error) if error.is_bad_copy() => {
            Ok(Read::Damaged(check.findings.add_error(name, "damaged", error)?))
        }
        Err(error) => Err(error),
    }
}

/// Every bit is looked at, so that what is read of it afterwards is right: entries, and the filter over them.
fn open(repository: &Repository, file: &RunFile, object: &Bytes) -> Result<Option<OpenRun>> {
    scrub(object, file.pack_id).named(file.name())?;
    let Some(run) = OpenRun::open(repository, file, object)? else { return Ok(None) };
    run.check()?;
    OpenRun::open(repository, file, object)
}
