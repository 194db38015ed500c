//! What there is: packs by the store's listing, records by the index, runs by their heads.

use crate::env::Mutant;
use crate::gc::GcView;
use crate::index::{Entry, Index, OpenRun, PackInfo, RunInfo, RunStream, list_runs};
use crate::spill::{Spill, SpillFolder};
use crate::{Exec, Repository, Result};
use repo_format::PackId;
use repo_format::index::ENTRIES_PER_BLOCK;
use repo_format::layout::PACK_PREFIX;
use repo_format::pack::PackClass;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Runs fetched at the same time...
const RUNS_IN_FLIGHT: usize = 4;
/// ...unless they are longer than this part of the memory.
const RUNS_SHARE: u64 = 16;
/// Entries added before the budget is looked at.
const SETTLE_ENTRIES: usize = 1 << 14;

pub(super) use crate::copier::NO_SESSION as PRUNE_SID;

/// A pack of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListedPack {
    pub(super) class: PackClass,
    pub(super) len: u64,
    pub(super) stored_ms: u64,
}

/// Packs of a listing, by name.
pub(super) type PackList = BTreeMap<PackId, ListedPack>;

/// All packs that the store lists, dead ones included.
pub(super) async fn list_packs(repository: &Repository) -> Result<PackList> {
    let listed = repository.store().list(PACK_PREFIX).await?;
    let packs = listed.into_iter().filter_map(|(name, meta)| {
        let (class, pack_id) = name.as_pack()?;
        Some((pack_id, ListedPack { class, len: meta.len, stored_ms: meta.modified_ms }))
    });
    Ok(packs.collect())
}

/// An entry of the index in a [`Spill`]: id, pack number and sealed length, big-endian.
pub(super) type EntryItem = [u8; 24];

/// Takes an item apart.
pub(super) fn entry_of(item: &EntryItem) -> ([u8; 16], u32, u32) {
    let mut id = [0; 16];
    let (head, tail) = item.split_at(16);
    id.copy_from_slice(head);
    let number = |at: usize| {
        let bytes = tail.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    };
    (id, number(0), number(4))
}

/// Some entries, and the run if it may have more.
fn next_part(mut run: OpenRun) -> Result<(Option<OpenRun>, Vec<repo_format::index::Entry>)> {
    let mut part = Vec::with_capacity(SETTLE_ENTRIES + ENTRIES_PER_BLOCK);
    let more = run.next(SETTLE_ENTRIES, &mut part)?;
    Ok((more.then_some(run), part))
}

/// The index, as far as it is no longer than memory allows.
pub(super) struct Inventory {
    /// Packs that runs name and that are not dead; entries name them by number.
    pub(super) packs: Vec<PackInfo>,
    pub(super) numbers: HashMap<PackId, u32>,
    /// Every location.
    pub(super) entries: Spill<24>,
    /// Locations in map packs: what walking needs.
    pub(super) pages: Arc<Index>,
    pub(super) runs: Vec<RunInfo>,
}

impl Inventory {
    /// Reads all runs with `built` >= the newest sweep's floor; `keeps_dead` is a mutant.
    ///
    /// # Errors
    /// Damage of a run: what it listed would be taken for not needed.
    pub(super) async fn load(
        repository: &Repository,
        view: &GcView,
        folder: &SpillFolder,
        budget_len: usize,
        keeps_dead: bool,
    ) -> Result<Self> {
        let floor = if repository.env().breaks(Mutant::NoFloor) { 0 } else { view.floor };
        let mut inventory = Inventory {
            packs: Vec::new(),
            numbers: HashMap::new(),
            entries: Spill::new(folder, budget_len),
            pages: Arc::default(),
            runs: Vec::new(),
        };
        let mut page_entries = Vec::new();
        let len_max = repository.exec().memory_len() / RUNS_SHARE;
        let listing = list_runs(repository).await?;
        let mut stream = RunStream::sealed(repository, listing, RUNS_IN_FLIGHT, len_max);
        while let Some((file, run)) = stream.next().await? {
            let built = run.head().built;
            inventory.runs.push(RunInfo::new(file, run.head()));
            if built >= floor {
                let dead = (!keeps_dead).then_some(&view.dead);
                inventory.add(repository.exec(), run, dead, &mut page_entries).await?;
            } else {
                repository.exec().cpu(move || run.check()).await??;
            }
        }
        if let Some(problem) = stream.problems.into_iter().next() {
            return Err(problem);
        }
        inventory.entries.close().await?;
        inventory.pages = Arc::new(Index::new(inventory.packs.clone(), page_entries));
        Ok(inventory)
    }

    async fn add(
        &mut self,
        exec: &Exec,
        run: OpenRun,
        dead: Option<&HashSet<PackId>>,
        page_entries: &mut Vec<Entry>,
    ) -> Result<()> {
        let mut numbers = Vec::with_capacity(run.packs().len());
        for row in run.packs() {
            let is_dead = dead.is_some_and(|dead| dead.contains(&row.pack_id));
            numbers.push((!is_dead).then(|| self.number(row)));
        }
        let read = |run| exec.cpu(move || next_part(run));
        let mut coming = Some(read(run));
        while let Some(part) = coming.take() {
            let (run, part) = part.await??;
            // opened while the part before it is put in its place
            coming = run.map(read);
            for entry in part {
                let Some(Some(number)) = numbers.get(entry.pack as usize) else { continue };
                let mut item: EntryItem = [0; 24];
                let (id, rest) = item.split_at_mut(16);
                id.copy_from_slice(&entry.id);
                let (pack, clen) = rest.split_at_mut(4);
                pack.copy_from_slice(&number.to_be_bytes());
                clen.copy_from_slice(&entry.clen.to_be_bytes());
                self.entries.push(item);
                if self.packs.get(*number as usize).is_some_and(|pack| pack.class == PackClass::Map) {
                    page_entries.push(Entry { id: entry.id, pack: *number, clen: entry.clen });
                }
            }
            self.entries.settle().await?;
        }
        Ok(())
    }

    /// Frees what takes memory: packs and runs stay known.
    pub(super) fn forget_entries(&mut self, folder: &SpillFolder) {
        self.entries = Spill::new(folder, 0);
        self.pages = Arc::default();
    }

    fn number(&mut self, row: &repo_format::index::PackRow) -> u32 {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(row.pack_id).or_insert(next);
        if number == next {
            self.packs.push(row.into());
        }
        number
    }
}
