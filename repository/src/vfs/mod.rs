//! The read-only view: what a snapshot holds, read piece by piece.

mod catalogue;
mod walk;

pub use catalogue::{Catalogue, TocEntry, manifest, manifests};
pub use walk::{Extent, MapWalker};

use crate::gc::GcView;
use crate::reader::Reader;
use crate::snapshots::{self, SnapshotEntry};
use crate::{Error, Repository, Result, gc, index};
use futures::future::{BoxFuture, try_join};
use repo_format::Id;
use std::ops::Range;

/// Plain bytes of chunks that are read in one go.
const READ_LEN: u64 = 8 << 20;

/// Reads the whole index and gives a reader over it, and what of the index could not be read.
///
/// Without readable deletion records every run and pack counts: a reader verifies what it finds, so it
/// relies on nothing that they say.
pub async fn reader(repository: &Repository) -> Result<(Reader, Vec<Error>)> {
    let (view, mut problems) = match gc::view(repository).await {
        Ok(view) => (view, Vec::new()),
        Err(error) if error.is_bad_copy() => (GcView::default(), vec![error]),
        Err(error) => return Err(error),
    };
    let (reader, damaged) = reader_as_of(repository, &view).await?;
    problems.extend(damaged);
    Ok((reader, problems))
}

async fn reader_as_of(repository: &Repository, view: &GcView) -> Result<(Reader, Vec<Error>)> {
    let listing = index::list_runs(repository).await?;
    let (index, damaged) = index::load(repository, &listing, view.floor, &view.dead, false).await?;
    Ok((Reader::new(repository.clone(), index), damaged))
}

/// What there is, and a reader over it.
pub struct Contents {
    /// All snapshots, oldest first.
    pub entries: Vec<SnapshotEntry>,
    /// Of the snapshots and of what says which are given up, that could not be read.
    pub unread: Vec<Error>,
    /// Over the whole index.
    pub reader: Reader,
    /// Of the index, that could not be read.
    pub lost: Vec<Error>,
}

/// [`snapshots::list`] and [`reader`] at once: half of the round trips.
pub async fn contents(repository: &Repository) -> Result<Contents> {
    // the state of deletion before the index, as always
    let (view, read) = match gc::view(repository).await {
        Ok(view) => (view.clone(), Ok(view)),
        Err(error) if error.is_bad_copy() => (GcView::default(), Err(error)),
        Err(error) => return Err(error),
    };
    let list = snapshots::list_as_of(repository, async { read });
    let ((entries, unread), (reader, lost)) = try_join(list, reader_as_of(repository, &view)).await?;
    Ok(Contents { entries, unread, reader, lost })
}

/// Plain contents of records in the order asked for, from whichever location is good.
///
/// Before damage is reported the index is read once more: records may have moved to other packs.
pub(crate) async fn read_all(reader: &Reader, ids: &[Id]) -> Result<Vec<Vec<u8>>> {
    let (mut found, failures) = reader.read(ids).await?;
    let Some((_, first)) = failures.first() else {
        return Ok(found.into_iter().map(Option::unwrap_or_default).collect());
    };
    if !first.is_bad_copy() {
        return Err(failures.into_iter().next().map_or_else(lost, |(_, error)| error));
    }
    let (fresh, mut problems) = fresh_reader(reader.repository().clone()).await?;
    let wanted: Vec<Id> = failures.iter().filter_map(|(n, _)| ids.get(*n).copied()).collect();
    let (again, still) = fresh.read(&wanted).await?;
    if let Some((_, error)) = still.into_iter().next() {
        // what the index lost explains more than that it does not know an id
        let short = wanted.first().unwrap_or(&Id::ZERO).short();
        let unknown = reader.index().find_all(&short).await?.is_empty();
        return Err(if unknown { problems.pop().unwrap_or(error) } else { error });
    }
    for ((n, _), plain) in failures.iter().zip(again) {
        if let Some(slot) = found.get_mut(*n) {
            *slot = plain;
        }
    }
    Ok(found.into_iter().map(Option::unwrap_or_default).collect())
}

/// As [`read_all`], with nothing for what has no good copy. `fresh` keeps the index that was read once
/// more, so that much damage does not read it again and again.
pub(crate) async fn read_there(
    reader: &Reader,
    fresh: &mut Option<Reader>,
    ids: &[Id],
) -> Result<Vec<Option<Vec<u8>>>> {
    let (mut found, failures) = reader.read(ids).await?;
    if failures.is_empty() {
        return Ok(found);
    }
    let (numbers, errors): (Vec<usize>, Vec<Error>) = failures.into_iter().unzip();
    only_damage(errors)?;
    let fresh = match fresh {
        Some(fresh) => fresh.clone(),
        None => fresh.insert(fresh_reader(reader.repository().clone()).await?.0).clone(),
    };
    let wanted: Vec<Id> = numbers.iter().filter_map(|n| ids.get(*n).copied()).collect();
    let (again, still) = fresh.read(&wanted).await?;
    only_damage(still.into_iter().map(|(_, error)| error).collect())?;
    for (n, plain) in numbers.into_iter().zip(again) {
        if let Some(slot) = found.get_mut(n) {
            *slot = plain;
        }
    }
    Ok(found)
}

fn only_damage(errors: Vec<Error>) -> Result<()> {
    errors.into_iter().find(|error| !error.is_bad_copy()).map_or(Ok(()), Err)
}

/// [`reader`], as a future that can be sent whatever it borrows inside.
fn fresh_reader(repository: Repository) -> BoxFuture<'static, Result<(Reader, Vec<Error>)>> {
    Box::pin(async move { reader(&repository).await })
}

fn lost() -> Error {
    Error::internal("a failure without an error")
}

/// Bytes that are not what was written. A pack that the domain's own index names and that its key
/// Says whose record it was that is damaged.
pub(crate) fn within(whose: &str, error: Error) -> Error {
    if !error.is_bad_copy() {
        return error;
    }
    match error {
        Error::Damage { object, detail } => Error::Damage { object: format!("{whose}: {object}"), detail },
        Error::Format { object, source } => Error::damage(format!("{whose}: {object}"), source.to_string()),
        other => other,
    }
}

/// Bytes `range` of the stream that a walker walks, which the caller has bounded; only the chunks that it
/// touches are read.
async fn read_range(mut walker: MapWalker, range: Range<u64>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut extents = Vec::new();
    while walker.next_batch(&mut extents).await? {
        let read = read_extents(walker.reader(), &extents, &range).await;
        out.append(&mut read.map_err(|error| within(walker.whose(), error))?);
        extents.clear();
    }
    Ok(out)
}

/// The bytes of `extents` that lie in `range`, which the caller has bounded; holes are zeros.
pub(crate) async fn read_extents(reader: &Reader, extents: &[Extent], range: &Range<u64>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for group in groups(extents) {
        let ids: Vec<Id> = group.iter().filter_map(|extent| extent.id).collect();
        let mut plains = read_all(reader, &ids).await?.into_iter();
        for extent in group {
            let part = overlap(extent, range);
            let part = usize::try_from(part.start).ok().zip(usize::try_from(part.end).ok());
            let (start, end) = part.ok_or_else(|| Error::internal("a range beyond the address space"))?;
            let Some(id) = extent.id else {
                out.resize(out.len() + (end - start), 0);
                continue;
            };
            let plain = check_len(plains.next().unwrap_or_default(), extent, &id)?;
            let part = plain.get(start..end);
            out.extend_from_slice(part.ok_or_else(|| Error::internal("a chunk beside its extent"))?);
        }
    }
    Ok(out)
}

/// The part of an extent that lies in `range`, counted from the extent's start.
fn overlap(extent: &Extent, range: &Range<u64>) -> Range<u64> {
    let start = range.start.saturating_sub(extent.offset).min(extent.len);
    let end = range.end.saturating_sub(extent.offset).min(extent.len);
    start..end.max(start)
}

/// Extents in groups of at most 8 MiB, or one.
fn groups(extents: &[Extent]) -> Vec<&[Extent]> {
    let mut groups = Vec::new();
    let (mut start, mut len) = (0, 0u64);
    for (n, extent) in extents.iter().enumerate() {
        if n > start && len.saturating_add(extent.len) > READ_LEN {
            groups.extend(extents.get(start..n));
            (start, len) = (n, 0);
        }
        len = len.saturating_add(extent.len);
    }
    groups.extend(extents.get(start..).filter(|rest| !rest.is_empty()));
    groups
}

/// A chunk must be as long as the map says.
pub(crate) fn check_len(plain: Vec<u8>, extent: &Extent, id: &Id) -> Result<Vec<u8>> {
    if plain.len() as u64 == extent.len {
        return Ok(plain);
    }
    let detail = format!("is {} bytes long, its map says {}", plain.len(), extent.len);
    Err(Error::damage(format!("chunk {id}"), detail))
}
