//! Single objects opened for people to look at. Nothing here gives out a key.

use crate::error::Named;
use crate::snapshots::open_snapshot;
use crate::{Error, Repository, Result, index};
use repo_format::index::Run;
use repo_format::layout::ObjectName;
use repo_format::sealed::Class;
use repo_format::snapshot::{Pending, Snapshot};
use repo_format::{PackId, SnapshotId};

/// An index run and what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunView {
    /// Order of publication.
    pub seq: u64,
    /// Bytes of the whole object.
    pub len: u64,
    /// Head, pack table and entries.
    pub run: Run,
}

/// Opens the index run whose name ends in `pack_id`.
///
/// # Errors
/// [`Error::Usage`] if this domain has no such run; damage.
pub async fn run(repository: &Repository, pack_id: PackId) -> Result<RunView> {
    let listing = index::list_runs(repository).await?;
    let missing = |why: &str| Error::Usage { what: format!("run {pack_id}: {why}") };
    let file = listing.runs.iter().find(|file| file.pack_id == pack_id);
    let file = file.ok_or_else(|| missing("no index run has this id"))?;
    match index::read_run(repository, file).await? {
        index::Found::Run(run) => {
            let run = repository.exec().cpu(move || run.into_run()).await??;
            Ok(RunView { seq: file.seq, len: file.len, run })
        }
        index::Found::Foreign => Err(missing("it is of another domain")),
        index::Found::Gone => Err(missing("it was merged away meanwhile")),
    }
}

/// What a session that has not ended, or was cut off, was about to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingView {
    /// The snapshot that it announces.
    pub snapshot: Snapshot,
    /// The parent whose pages may be inherited.
    pub parent: Option<SnapshotId>,
    /// Sweeps that the session had read when it began.
    pub g0: u64,
}

/// Opens the pending record of a session, and the snapshot in it.
///
/// # Errors
/// [`Error::Usage`] if there is none of this id; damage.
pub async fn pending(repository: &Repository, sid: SnapshotId) -> Result<PendingView> {
    let name = ObjectName::Pending(sid);
    let object = repository.store().get(&name).await?.ok_or_else(|| Error::Usage {
        what: format!("pending {sid}: no such record; a session removes its own when it has committed"),
    })?;
    let worker = repository.clone();
    repository.exec().cpu(move || open_pending(&worker, sid, &object)).await?
}

/// Opens a pending record that was read, and the snapshot in it.
pub(crate) fn open_pending(repository: &Repository, sid: SnapshotId, object: &[u8]) -> Result<PendingView> {
    let name = ObjectName::Pending(sid);
    let body = repository.open_object(Class::Pending, &name, object)?;
    let record = Pending::parse(&body).named(name)?;
    let snapshot = open_snapshot(repository, sid, &record.snapshot)?;
    let snapshot = snapshot.ok_or_else(|| Error::damage(name, "holds a tombstone, a snapshot expected"))?;
    Ok(PendingView { snapshot, parent: record.parent, g0: record.g0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{BackupRequest, VolumeInput, backup};
    use crate::env::Env;
    use crate::init::{InitOptions, init};
    use crate::source::VolumeSource;
    use crate::store::MemoryDriver;
    use crate::{Credential, ErrorKind, Exec};
    use repo_format::config::Chunking;
    use repo_format::kdf::Secret;
    use std::sync::Arc;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    /// A repository in memory with one snapshot of a stream.
    fn filled() -> (Repository, SnapshotId) {
        let (env, exec, key) = (Env::system(), Exec::inline(), Credential::KeyFile(Secret::new([7; 32])));
        let store = Arc::new(MemoryDriver::new(env.clock.clone()));
        let options =
            InitOptions { credential: Some(key.clone()), label: String::new(), chunking: Chunking::blocks() };
        block_on(init(store.clone(), &exec, &env, options)).unwrap();
        let repository = block_on(Repository::open(store, &exec, &env, &key)).unwrap();
        let source = VolumeSource::Stream(Box::new(std::io::Cursor::new(vec![7; 100_000])));
        let volumes = vec![VolumeInput { name: "a/b".into(), source }];
        let request = BackupRequest { volumes, ..Default::default() };
        let report = block_on(backup(&repository, request, &Arc::default())).unwrap();
        (repository, report.snapshot_id.unwrap())
    }

    #[test]
    fn a_run_is_found_by_its_id() {
        let (repository, sid) = filled();
        let listed = block_on(index::list_runs(&repository)).unwrap().runs;
        let view = block_on(run(&repository, listed[0].pack_id)).unwrap();
        assert_eq!((view.seq, view.len), (0, listed[0].len));
        assert!(view.run.packs.iter().all(|pack| pack.sid == sid));
        assert_eq!(view.run.entries.len() as u64, view.run.head.entry_count);
        let missing = block_on(run(&repository, PackId([0; 16]))).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Usage, "{missing}");
    }

    #[test]
    fn a_pending_record_shows_what_it_announces() {
        let (repository, sid) = filled();
        let missing = block_on(pending(&repository, sid)).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Usage, "{missing}");
        // as a session leaves it that is killed between announcement and commit
        let put = |sid: SnapshotId, snapshot: Vec<u8>| {
            let (name, parent) = (ObjectName::Pending(sid), Some(SnapshotId([9; 16])));
            let body = Pending { snapshot, parent, g0: 3 }.encode().unwrap();
            let object = repository.seal_object(Class::Pending, &name, &body).unwrap();
            block_on(repository.store().put(&name, object.into())).unwrap();
        };
        let snapshot = block_on(repository.store().get(&ObjectName::Snapshot(sid))).unwrap().unwrap();
        put(sid, snapshot.to_vec());
        let view = block_on(pending(&repository, sid)).unwrap();
        assert_eq!((view.snapshot.sid, view.parent, view.g0), (sid, Some(SnapshotId([9; 16])), 3));
        assert_eq!(view.snapshot.volumes[0].name, "a/b");
        // a snapshot of another name does not open
        let other = SnapshotId([1; 16]);
        put(other, snapshot.to_vec());
        assert!(block_on(pending(&repository, other)).is_err());
    }
}
