//! A session without a source: the content of a forgotten snapshot, under a new name. What lies in
//! condemned packs is copied out of them as sealed bytes.

use super::STARTS_MAX;
use super::commit::{self, Commit};
use super::mend::mend_from;
use super::request::BackupRequest;
use super::session::Session;
use crate::gc::GcView;
use crate::index::{self, Entry, Known, PackInfo};
use crate::progress::Progress;
use crate::reader::{Reader, open_tail};
use crate::{Error, ErrorKind, Repository, Result};
use repo_format::layout::PACK_PREFIX;
use repo_format::pack::FOOTER_LEN;
use repo_format::snapshot::Snapshot;
use repo_format::{PackId, SnapshotId};
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes read of a dead pack, whose trailer's length no run says any more.
const TAIL_GUESS_LEN: u64 = 64 << 10;

/// Commits the content of `forgotten` anew and gives the new name.
pub(crate) async fn commit_again(
    repository: &Repository,
    forgotten: &Snapshot,
    progress: &Arc<Progress>,
) -> Result<SnapshotId> {
    for _ in 0..STARTS_MAX {
        let (mut session, _) =
            Session::start(repository, &BackupRequest::default(), progress, Vec::new()).await?;
        let mut snapshot = forgotten.clone();
        (snapshot.sid, snapshot.parent) = (session.sid, None);
        progress.phase("bringing records back");
        let view = session.gc.clone();
        let index = everything(repository, &view).await?;
        let oldest = index.lowest_built();
        let reader = Reader::new(repository.clone(), index);
        repository
            .exec()
            .unless_cancelled(mend_from(&mut session, &snapshot, &reader, &view.condemned))
            .await?;
        progress.phase("finishing");
        if let Commit::Done(sid) = commit::commit(&mut session, &mut snapshot, oldest).await? {
            return Ok(sid);
        }
    }
    Err(Error::Conflict {
        what: format!("prunes have overtaken this undelete {STARTS_MAX} times; run it again"),
    })
}

/// The index with all packs that are still there, dead ones by their trailers: merged runs do not
/// name them any more.
async fn everything(repository: &Repository, view: &GcView) -> Result<Known> {
    let listing = index::list_runs(repository).await?;
    // what only an older run knows is about to be unknown
    let (known, problems) =
        index::load(repository, &listing, view.newest_floor, &HashSet::new(), true).await?;
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let (mut packs, mut entries) = (Vec::new(), Vec::new());
    let named: HashSet<PackId> = known.packs().into_iter().map(|pack| pack.pack_id).collect();
    for (name, meta) in repository.store().list(PACK_PREFIX).await? {
        let Some((class, pack_id)) = name.as_pack() else { continue };
        if !view.dead.contains(&pack_id) || named.contains(&pack_id) {
            continue;
        }
        repository.exec().check_cancelled()?;
        let guess = TAIL_GUESS_LEN.max(FOOTER_LEN as u64);
        let trailer = match open_tail(repository, &name, pack_id, class, meta.len, guess).await {
            Ok(trailer) => trailer,
            // deleted meanwhile, or damaged: what it held is missed when it is needed
            Err(error) if error.kind() == ErrorKind::Damage => continue,
            Err(error) => return Err(error),
        };
        let number = u32::try_from(packs.len()).map_err(|_| Error::internal("more packs than fit"))?;
        let frame = trailer.records_end() + FOOTER_LEN as u64;
        let trailer_len = u32::try_from(meta.len.saturating_sub(frame)).unwrap_or(0);
        packs.push(PackInfo { pack_id, class, len: meta.len, trailer_len, sid: trailer.sid() });
        entries.extend(trailer.rows().iter().map(|row| Entry {
            id: row.id.short(),
            pack: number,
            clen: row.clen,
        }));
    }
    Ok(known.extended(packs, entries.into_iter()))
}
