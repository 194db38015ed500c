//! Repacking: needed records of packs that are to go are copied.

use super::confirm::{Confirmed, Leaving, is_gone};
use crate::copier::Copier;
use crate::error::Named;
use crate::index::PackInfo;
use crate::progress::Progress;
use crate::{Error, ErrorKind, Repository, Result};
use bytes::Bytes;
use repo_format::layout::ObjectName;
use repo_format::pack::{OpenTrailer, Trailer, open_trailer, scrub};
use std::sync::Arc;
use std::time::Duration;

/// What a copy came to.
#[derive(Default)]
pub(super) struct CopyOutcome {
    /// By place: every record to copy is in a pack that a run names.
    pub(super) done: Vec<bool>,
    pub(super) copied_len: u64,
    /// Packs that stay because they are damaged.
    pub(super) damaged: Vec<String>,
}

/// Copies out of all of `leaving` that are to be copied, until `deadline` on the monotonic clock.
pub(super) async fn copy(
    repository: &Repository,
    leaving: &[Leaving],
    confirmed: &Confirmed,
    (built, seq): (u64, u64),
    deadline: Option<Duration>,
    progress: &Arc<Progress>,
) -> Result<CopyOutcome> {
    let mut outcome = CopyOutcome { done: vec![false; leaving.len()], ..CopyOutcome::default() };
    let mut copier = Copier::new(repository, built, seq)?;
    let clock = repository.env().clock.clone();
    let mut stopped = Ok(());
    for (place, one) in leaving.iter().enumerate() {
        if !one.is_copied || confirmed.staying.contains_key(&place) {
            continue;
        }
        stopped = repository.exec().check_cancelled();
        if stopped.is_err() || deadline.is_some_and(|end| clock.monotonic() >= end) {
            break;
        }
        let rows = confirmed.rows.get(place).map(Vec::as_slice).unwrap_or_default();
        match take(repository, &mut copier, &one.pack, rows).await {
            Ok(()) => outcome.done.iter_mut().skip(place).take(1).for_each(|done| *done = true),
            // by another prune, which needs no word about it
            Err(error) if error.kind() == ErrorKind::Damage && is_gone(repository, &one.pack).await? => {}
            Err(error) if error.kind() == ErrorKind::Damage => outcome.damaged.push(error.to_string()),
            Err(error) => return Err(error),
        }
        progress.add_done(one.pack.len);
    }
    // also after a cancel: what was copied is found by the next prune
    copier.finish().await?;
    stopped?;
    outcome.copied_len = copier.copied_len;
    Ok(outcome)
}

/// Copies the rows of one pack. The whole pack is read and compared with its hash: a new pack
/// must not hide what has happened to the old one.
async fn take(repository: &Repository, copier: &mut Copier<'_>, pack: &PackInfo, rows: &[u64]) -> Result<()> {
    let name = ObjectName::pack(pack.class, pack.pack_id);
    let object = repository.store().get(&name).await?;
    let object = object.ok_or_else(|| Error::damage(name, "object is missing"))?;
    let (worker, info, bytes) = (repository.clone(), pack.clone(), object.clone());
    let opened = repository.exec().cpu(move || open_whole(&worker, &info, &bytes));
    let trailer = opened.await??;
    for (n, row) in trailer.rows().iter().enumerate().filter(|(n, _)| Confirmed::is_set(rows, *n)) {
        let (Some(sealed), Some(key)) = (trailer.sealed(n, &object), trailer.key_of(row)) else {
            return Err(Error::damage(name, "a record lies outside the object"));
        };
        copier.push(pack.class, key, row, sealed).await?;
    }
    Ok(())
}

/// The trailer of a pack whose every byte is as it was written.
fn open_whole(repository: &Repository, pack: &PackInfo, object: &Bytes) -> Result<Trailer> {
    let name = ObjectName::pack(pack.class, pack.pack_id);
    scrub(object, pack.pack_id).named(name)?;
    let context = repository.pack_context(pack.class, &pack.pack_id);
    match open_trailer(&context, object, object.len() as u64).named(name)? {
        OpenTrailer::Done(trailer, _) => Ok(trailer),
        OpenTrailer::NeedTail(_) => Err(Error::damage(name, "ends before its trailer")),
    }
}
