//! What a second backup finds of the first.

use repository::backup::{BackupRequest, VolumeInput};
use repository::progress::Progress;
use repository::restore::{RestoreRequest, RestoreVolume, restore};
use repository::source::{BlockSource, ChangeToken, VolumeSource};
use std::io;
use std::sync::Arc;
use tests::engine::{Bench, MemoryVolume, run, volume};

#[test]
fn an_unchanged_volume_costs_a_snapshot_and_nothing_else() {
    let bench = Bench::new(1);
    let data = tests::data::bytes(7, 3_000_001);
    let first =
        bench.backup(BackupRequest { volumes: vec![volume("a/b", &data)], ..Default::default() }).unwrap();
    assert!(first.chunks_new > 20 && first.bytes_new >= 3_000_001, "{first:?}");
    let again =
        bench.backup(BackupRequest { volumes: vec![volume("a/b", &data)], ..Default::default() }).unwrap();
    assert_eq!((again.chunks_new, again.bytes_new), (0, 0));
    assert_eq!(again.bytes_read, 3_000_001);
    assert!(again.bytes_stored < 4096, "{again:?}");
    assert_eq!(again.parent_id, first.snapshot_id);
    let stored: Vec<u64> =
        bench.snapshots().iter().map(|entry| entry.snapshot.volumes[0].stats.bytes_stored).collect();
    // content that does not compress, and what sealing adds; less than all objects together
    assert!(stored[0] > 3_000_001 && stored[0] < first.bytes_stored, "{stored:?}, {first:?}");
    assert_eq!(stored[1], 0);
}

#[test]
fn two_volumes_never_go_to_one_file() {
    let bench = Bench::new(3);
    let volumes = vec![volume("v/one", &[1; 9000]), volume("v/two", &[2; 9000])];
    bench.backup(BackupRequest { volumes, ..Default::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    std::fs::write(&file, "kept").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let target = |name: &str, target| RestoreVolume { name: name.into(), target };
    let request = RestoreRequest {
        snapshot: bench.snapshots().remove(0).snapshot,
        volumes: vec![target("v/one", file.clone()), target("v/two", link)],
        force: true,
        verify: false,
        allow_damaged: false,
        in_place: false,
    };
    let error = run(restore(&bench.open(), request, &Arc::new(Progress::default()))).unwrap_err();
    assert_eq!(error.kind(), repository::ErrorKind::Usage, "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

/// A source that vouches for its state, and may refuse to be read.
struct Vouching {
    data: Vec<u8>,
    state: &'static str,
    readable: bool,
}

impl BlockSource for Vouching {
    fn byte_len(&self) -> u64 {
        self.data.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if !self.readable {
            return Err(io::Error::other("it was read"));
        }
        MemoryVolume(self.data.clone()).read_at(offset, buf)
    }

    fn finish(&self, _: u64) -> io::Result<Option<ChangeToken>> {
        Ok(self.change_token())
    }

    fn change_token(&self) -> Option<ChangeToken> {
        Some(ChangeToken { driver: "test".into(), handle: "1".into(), id: self.state.into() })
    }
}

#[test]
fn an_unchanged_source_is_not_read_unless_it_must_be() {
    let bench = Bench::new(4);
    let data = tests::data::mixed(4, 200_000);
    let request = |state, readable, force_read| {
        let source = VolumeSource::Blocks(Arc::new(Vouching { data: data.clone(), state, readable }));
        let volumes = vec![VolumeInput { name: "v/one".into(), source }];
        BackupRequest { volumes, force_read, ..Default::default() }
    };
    bench.backup(request("state 1", true, false)).unwrap();
    let report = bench.backup(request("state 1", false, false)).unwrap();
    assert_eq!((report.volumes_unchanged, report.bytes_read), (1, 0));
    assert!(bench.restore(&bench.snapshots()[1], "v/one").unwrap() == data);
    for refused in [request("state 1", false, true), request("state 2", false, false)] {
        let error = bench.backup(refused).unwrap_err();
        assert!(error.to_string().contains("it was read"), "{error}");
    }
}
