//! What a forger of index runs can do: keep packs alive, at most.

use super::*;
use crate::backup::{BackupRequest, VolumeInput, backup};
use crate::forget::forget;
use crate::index::{RunStream, RunWriter, list_runs};
use crate::init::{InitOptions, init};
use crate::source::VolumeSource;
use crate::store::MemoryDriver;
use crate::{Credential, Env, Exec};
use repo_format::config::Chunking;
use repo_format::index::RunBuilder;
use repo_format::kdf::Secret;
use repo_format::{Id, SnapshotId};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

fn open() -> Repository {
    let (env, exec, key) = (Env::system(), Exec::inline(), Credential::KeyFile(Secret::new([7; 32])));
    let store = Arc::new(MemoryDriver::new(env.clock.clone()));
    let options =
        InitOptions { credential: Some(key.clone()), label: "owner".into(), chunking: Chunking::blocks() };
    block_on(init(store.clone(), &exec, &env, options)).unwrap();
    block_on(Repository::open(store, &exec, &env, &key)).unwrap()
}

fn backup_of(repository: &Repository, byte: u8) -> SnapshotId {
    let bytes: Vec<u8> = (0..90_000u32).map(|n| byte ^ (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let source = VolumeSource::Stream(Box::new(std::io::Cursor::new(bytes)));
    let volumes = vec![VolumeInput { name: "a/b".into(), source }];
    let request = BackupRequest { volumes, ..Default::default() };
    block_on(backup(repository, request, &Arc::default())).unwrap().snapshot_id.unwrap()
}

fn run_of(repository: &Repository, sid: SnapshotId) -> repo_format::index::Run {
    let listing = block_on(list_runs(repository)).unwrap();
    let mut runs = RunStream::sealed(repository, listing, 1, u64::MAX);
    while let Some((_, run)) = block_on(runs.next()).unwrap() {
        let run = run.into_run().unwrap();
        if run.packs.iter().all(|pack| pack.sid == sid) {
            return run;
        }
    }
    panic!("no run of {sid}");
}

/// A run says that the records of the newer snapshot lie in packs of the older one, which are the
/// older locations. By the index alone the true packs would be duplicates.
#[test]
fn forged_runs_delete_nothing() {
    let repository = open();
    let first = backup_of(&repository, 1);
    let second = backup_of(&repository, 2);
    let (old, new) = (run_of(&repository, first), run_of(&repository, second));
    let mut builder = RunBuilder::new();
    let liar = old.packs.iter().find(|pack| pack.class == repo_format::pack::PackClass::Data).unwrap();
    let number = builder.add_pack(*liar).unwrap();
    for entry in &new.entries {
        let mut id = Id::ZERO;
        id.0[..16].copy_from_slice(&entry.id);
        builder.add_entry(&id, number, entry.clen).unwrap();
    }
    let writer = RunWriter::new(&repository, SnapshotId([9; 16])).unwrap();
    block_on(writer.put(builder, 0, 9)).unwrap();
    block_on(forget(&repository, &[first], false)).unwrap();
    let options = PruneOptions { undelete_window: Duration::ZERO, ..PruneOptions::default() };
    let report = block_on(prune(&repository, options, &Arc::default())).unwrap();
    assert!(report.warnings.iter().any(|warning| warning.contains("stays")), "{report:?}");
    let store = repository.store();
    for pack in &new.packs {
        let name = repo_format::layout::ObjectName::pack(pack.class, pack.pack_id);
        assert!(block_on(store.head(&name)).unwrap().is_some(), "{name} was deleted: {report:?}");
    }
}
