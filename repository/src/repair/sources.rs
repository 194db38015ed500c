//! Where a record is copied from that no pack here holds which may be relied on: packs that a prune is
//! about to condemn or has condemned, and the packs of a copy of this repository elsewhere.

use super::flawed::Good;
use super::packs::TAIL_GUESS_LEN;
use super::report::Origin;
use crate::index::{Entry, Index, PackInfo};
use crate::reader::{Reader, open_tail};
use crate::{Error, ErrorKind, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::PackId;
use repo_format::layout::{ObjectName, PACK_PREFIX};
use repo_format::pack::FOOTER_LEN;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Trailers fetched at the same time.
const TRAILERS_IN_FLIGHT: usize = 8;

/// Records to copy out of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) origin: Origin,
    pub(super) pack: ObjectName,
    /// By short id.
    pub(super) ids: BTreeSet<[u8; 16]>,
    /// Their sealed bytes.
    pub(super) len: u64,
}

/// Packs beyond those that count, by their trailers.
pub(super) struct Beyond {
    pub(super) dead: Reader,
    pub(super) other: Option<Reader>,
}

impl Beyond {
    /// Reads the trailers of `dead` packs, and of all packs of the `other` repository.
    pub(super) async fn read(
        repository: &Repository,
        dead: &[(ObjectName, u64)],
        other: Option<&Repository>,
    ) -> Result<Self> {
        let dead = by_trailers(repository, dead).await?;
        let other = match other {
            None => None,
            Some(other) => {
                let listed = other.store().list(PACK_PREFIX).await?;
                let listed: Vec<_> = listed.into_iter().map(|(name, meta)| (name, meta.len)).collect();
                Some(by_trailers(other, &listed).await?)
            }
        };
        Ok(Beyond { dead, other })
    }

    /// The readers, nearest first.
    pub(super) fn readers(&self) -> impl Iterator<Item = (Origin, &Reader)> {
        [(Origin::Dead, &self.dead)]
            .into_iter()
            .chain(self.other.iter().map(|reader| (Origin::Other, reader)))
    }
}

/// A reader over packs that no run need name. What cannot be read is missed when it is needed.
async fn by_trailers(repository: &Repository, listed: &[(ObjectName, u64)]) -> Result<Reader> {
    let (mut packs, mut entries) = (Vec::new(), Vec::new());
    let guess = TAIL_GUESS_LEN.max(FOOTER_LEN as u64);
    let named = listed.iter().filter_map(|(name, len)| name.as_pack().map(|pack| (*name, pack, *len)));
    let mut trailers = iter(named)
        .map(|(name, (class, pack_id), len)| async move {
            let trailer = open_tail(repository, &name, pack_id, class, len, guess).await;
            (class, pack_id, len, trailer)
        })
        .buffered(TRAILERS_IN_FLIGHT);
    while let Some((class, pack_id, len, trailer)) = trailers.next().await {
        repository.exec().check_cancelled()?;
        let trailer = match trailer {
            Ok(trailer) => trailer,
            // deleted meanwhile, damaged, or another domain's
            Err(error) if error.is_bad_copy() || error.kind() == ErrorKind::WrongKey => continue,
            Err(error) => return Err(error),
        };
        let number = u32::try_from(packs.len()).map_err(|_| Error::internal("more packs than fit"))?;
        let frame = trailer.records_end() + FOOTER_LEN as u64;
        let trailer_len = u32::try_from(len.saturating_sub(frame)).unwrap_or(0);
        packs.push(PackInfo { pack_id, class, len, trailer_len, sid: trailer.sid() });
        let rows = trailer.rows().iter();
        entries.extend(rows.map(|row| Entry { id: row.id.short(), pack: number, clen: row.clen }));
    }
    drop(trailers);
    Ok(Reader::new(repository.clone(), Arc::new(Index::new(packs, entries))))
}

/// Finds a good copy of each wanted record, nearest first: in candidates, in dead packs, elsewhere.
/// Each pack is read whole before anything of it is promised.
pub(super) async fn choose(
    mut wanted: BTreeSet<[u8; 16]>,
    here: &Reader,
    candidates: &HashSet<PackId>,
    beyond: &Beyond,
) -> Result<Vec<Copy>> {
    let mut copies = Vec::new();
    let near = [(Origin::Candidate, here)].into_iter();
    for (origin, reader) in near.chain(beyond.readers()) {
        for (pack, ids) in holders(reader.index().memory(), &wanted) {
            let may = origin != Origin::Candidate || candidates.contains(&pack.pack_id);
            let open: BTreeSet<[u8; 16]> = ids.intersection(&wanted).copied().collect();
            if !may || open.is_empty() {
                continue;
            }
            reader.repository().exec().check_cancelled()?;
            let name = ObjectName::pack(pack.class, pack.pack_id);
            let Some(good) = Good::read(reader.repository(), name).await? else { continue };
            let mut copy = Copy { origin, pack: name, ids: BTreeSet::new(), len: 0 };
            for (row, ..) in good.records().filter(|(row, ..)| open.contains(&row.id.short())) {
                if copy.ids.insert(row.id.short()) {
                    copy.len = copy.len.saturating_add(u64::from(row.clen));
                }
            }
            wanted.retain(|id| !copy.ids.contains(id));
            copies.extend((!copy.ids.is_empty()).then_some(copy));
        }
    }
    Ok(copies)
}

/// Packs that hold some of `wanted`, by name, so that the order never depends on anything else.
fn holders<'a>(
    index: &'a Index,
    wanted: &BTreeSet<[u8; 16]>,
) -> impl Iterator<Item = (&'a PackInfo, BTreeSet<[u8; 16]>)> + use<'a> {
    let mut packs: BTreeMap<PackId, (&'a PackInfo, BTreeSet<[u8; 16]>)> = BTreeMap::new();
    for id in wanted {
        for entry in index.find_all(id) {
            let Some(pack) = index.packs().get(entry.pack as usize) else { continue };
            packs.entry(pack.pack_id).or_insert_with(|| (pack, BTreeSet::new())).1.insert(*id);
        }
    }
    packs.into_values()
}
