//! Nothing goes on the index's word alone: the trailer of each pack that is to go says what is in it,
//! and each record of it that is needed must stand in the trailer of the pack that keeps it.

use super::choose::{Need, Ranks, bucket_of_all, locate};
use super::duties::{Duties, Duty, ids_of};
use super::inventory::Inventory;
use crate::index::PackInfo;
use crate::reader::{open_tail, read_trailer};
use crate::spill::{BUCKET_COUNT, Spill, SpillFolder};
use crate::{Error, ErrorKind, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::layout::ObjectName;
use repo_format::pack::{FOOTER_LEN, Trailer};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

/// Trailers fetched at the same time.
const TRAILERS_IN_FLIGHT: usize = 4;
/// Bytes read of a pack whose trailer's length is not known.
const TAIL_GUESS_LEN: u64 = 64 << 10;

/// A pack that is to go.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    pub(super) pack: PackInfo,
    /// Number in the index, if a run names it.
    pub(super) number: Option<u32>,
    /// Records for which it was chosen are copied first.
    pub(super) is_copied: bool,
}

/// What the trailers said.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// By place in the list of leaving packs: rows to copy, one bit each.
    pub(super) rows: Vec<Vec<u64>>,
    /// Places of packs that have to stay, and why.
    pub(super) staying: BTreeMap<usize, &'static str>,
    /// Those among them that another prune has deleted since they were listed.
    pub(super) vanished: BTreeSet<usize>,
}

impl Confirmed {
    fn stays(&mut self, place: usize, why: &'static str) {
        self.staying.insert(place, why);
    }

    /// Whether a row is to be copied.
    pub(super) fn is_set(bits: &[u64], row: usize) -> bool {
        bits.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

/// A row of a leaving pack: id, place in the list, number of the row, big-endian.
type RowItem = [u8; 24];

/// Compares leaving packs with what is needed.
pub(super) async fn confirm(
    repository: &Repository,
    inventory: &Inventory,
    ranks: &Ranks,
    gone: &BTreeSet<u32>,
    leaving: &[Leaving],
    needs: &[(&Spill<16>, Need)],
    (folder, budget_len): (&SpillFolder, usize),
) -> Result<Confirmed> {
    let mut confirmed = Confirmed { rows: vec![Vec::new(); leaving.len()], ..Confirmed::default() };
    let mut items: Spill<24> = Spill::new(folder, budget_len);
    read_rows(repository, leaving, &mut items, &mut confirmed).await?;
    let mut duties = Duties::new(folder, budget_len / 2);
    for n in 0..BUCKET_COUNT {
        repository.exec().check_cancelled()?;
        let rows = items.bucket(n).await?;
        if rows.is_empty() {
            continue;
        }
        let lists = bucket_of_all(needs, n).await?;
        let mut ids: Vec<[u8; 16]> = lists.into_iter().flat_map(|(ids, _)| ids).collect();
        ids.sort_unstable();
        let entries = inventory.entries.bucket(n).await?;
        for (id, rows) in locate(&ids, &rows).filter(|(_, rows)| !rows.is_empty()) {
            let (_, locations) = locate(std::slice::from_ref(id), &entries).next().unwrap_or((id, &[]));
            let best = ranks.best(locations, |pack| !gone.contains(&pack));
            for item in rows {
                let (place, row) = place_of(item);
                let Some(pack) = leaving.get(place) else { continue };
                match best {
                    Some((keeper, _)) if Some(keeper) == pack.number && pack.is_copied => {
                        set(confirmed.rows.get_mut(place), row);
                    }
                    Some((keeper, _)) if Some(keeper) != pack.number => {
                        let leaving = u32::try_from(place).unwrap_or(u32::MAX);
                        duties.push(Duty { keeper, id: *id, leaving });
                    }
                    Some(_) => confirmed.stays(place, "it holds a record that is needed"),
                    None => confirmed.stays(place, "no run names a record in it that is needed"),
                }
            }
        }
        duties.settle().await?;
    }
    drop(items);
    check_duties(repository, inventory, &duties, &mut confirmed).await?;
    Ok(confirmed)
}

fn place_of(item: &RowItem) -> (usize, usize) {
    let (_, place, row) = super::inventory::entry_of(item);
    (place as usize, row as usize)
}

fn set(bits: Option<&mut Vec<u64>>, row: usize) {
    let Some(bits) = bits else { return };
    if bits.len() <= row / 64 {
        bits.resize(row / 64 + 1, 0);
    }
    if let Some(word) = bits.get_mut(row / 64) {
        *word |= 1 << (row % 64);
    }
}

/// The rows of all leaving packs. A pack without a readable trailer is a location of nothing: nobody
/// can read a record of it. It may go if nothing was to be copied out of it.
async fn read_rows(
    repository: &Repository,
    leaving: &[Leaving],
    items: &mut Spill<24>,
    confirmed: &mut Confirmed,
) -> Result<()> {
    let mut reads = iter(leaving.iter().enumerate())
        .map(|(place, one)| async move { (place, one, trailer(repository, &one.pack).await) })
        .buffered(TRAILERS_IN_FLIGHT);
    while let Some((place, one, read)) = reads.next().await {
        repository.exec().check_cancelled()?;
        let trailer = match read {
            Ok(trailer) => trailer,
            Err(error) if error.kind() == ErrorKind::Damage && is_gone(repository, &one.pack).await? => {
                confirmed.stays(place, "it has gone meanwhile");
                confirmed.vanished.insert(place);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Damage && !one.is_copied => continue,
            Err(error) if error.kind() == ErrorKind::Damage => {
                confirmed.staying.insert(place, "its trailer is damaged; `orlop repair` may help");
                continue;
            }
            Err(error) => return Err(error),
        };
        for (row, record) in trailer.rows().iter().enumerate() {
            let mut item: RowItem = [0; 24];
            let numbers = (place as u64) << 32 | row as u64;
            let (id, rest) = item.split_at_mut(16);
            id.copy_from_slice(&record.id.short());
            rest.copy_from_slice(&numbers.to_be_bytes());
            items.push(item);
        }
        items.settle().await?;
    }
    items.close().await
}

/// Damage of a pack that may be of another domain is no damage here.
pub(super) async fn trailer(repository: &Repository, pack: &PackInfo) -> Result<Trailer> {
    let read = if pack.trailer_len > 0 {
        read_trailer(repository, pack).await
    } else {
        let name = ObjectName::pack(pack.class, pack.pack_id);
        let guess = TAIL_GUESS_LEN.max(FOOTER_LEN as u64);
        open_tail(repository, &name, pack.pack_id, pack.class, pack.len, guess).await
    };
    read.map_err(|error| match error.kind() {
        ErrorKind::WrongKey => Error::damage(
            ObjectName::pack(pack.class, pack.pack_id),
            "its trailer is not sealed under this repository's keys",
        ),
        _ => error,
    })
}

/// Keeps each leaving pack with a record that the chosen pack's trailer does not have.
async fn check_duties(
    repository: &Repository,
    inventory: &Inventory,
    duties: &Duties,
    confirmed: &mut Confirmed,
) -> Result<()> {
    let mut reads = pin!(duties.read(repository, inventory, TRAILERS_IN_FLIGHT));
    while let Some(read) = reads.next().await {
        repository.exec().check_cancelled()?;
        let (group, read) = read?;
        let ids = match read {
            Ok(trailer) => ids_of(&trailer),
            Err(error) if error.kind() == ErrorKind::Damage => {
                let pack = group.first().and_then(|duty| inventory.packs.get(duty.keeper as usize));
                if let Some(pack) = pack
                    && is_gone(repository, pack).await?
                {
                    confirmed.vanished.extend(group.iter().map(|duty| duty.leaving as usize));
                }
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        for duty in group.iter().filter(|duty| ids.binary_search(&duty.id).is_err()) {
            confirmed.stays(
                duty.leaving as usize,
                "the pack that is said to keep a record of it does not have it",
            );
        }
    }
    Ok(())
}

/// Of packs that a run names and a listing has not: which are truly gone. `wait` first where a
/// pack may be newer than the listing.
pub(super) async fn missing_packs(
    repository: &Repository,
    inventory: &Inventory,
    listed: &super::inventory::PackList,
) -> Result<BTreeSet<u32>> {
    let unknown: Vec<(u32, ObjectName)> = inventory
        .packs
        .iter()
        .zip(0u32..)
        .filter(|(pack, _)| !listed.contains_key(&pack.pack_id))
        .map(|(pack, n)| (n, ObjectName::pack(pack.class, pack.pack_id)))
        .collect();
    if unknown.is_empty() {
        return Ok(BTreeSet::new());
    }
    // what a run names was put before the run, but may be seen later
    crate::gc::wait_delta(repository).await?;
    let mut gone = BTreeSet::new();
    let mut heads = iter(unknown)
        .map(|(n, name)| async move { (n, repository.store().head(&name).await) })
        .buffered(TRAILERS_IN_FLIGHT);
    while let Some((n, head)) = heads.next().await {
        if head?.is_none() {
            gone.insert(n);
        }
    }
    Ok(gone)
}

/// Whether a pack that was listed is not there any more.
pub(super) async fn is_gone(repository: &Repository, pack: &PackInfo) -> Result<bool> {
    let name = ObjectName::pack(pack.class, pack.pack_id);
    Ok(repository.store().head(&name).await?.is_none())
}

/// Names a pack for a warning.
pub(super) fn pack_name(pack: &PackInfo) -> String {
    ObjectName::pack(pack.class, pack.pack_id).to_string()
}
