use super::*;
use crate::backup::{BackupRequest, ManifestInput, VolumeInput, backup};
use crate::env::Env;
use crate::init::{InitOptions, init};
use crate::source::{FileSource, VolumeSource};
use crate::store::MemoryDriver;
use crate::{Credential, ErrorKind, Exec, snapshots};
use repo_format::config::Chunking;
use repo_format::kdf::Secret;
use std::path::Path;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// A repository in memory, everything inline.
struct Lab {
    env: Env,
    exec: Exec,
    store: MemoryDriver,
    key: Credential,
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let (env, exec, key) = (Env::system(), Exec::inline(), Credential::KeyFile(Secret::new([7; 32])));
        let store = MemoryDriver::new(env.clock.clone());
        let options =
            InitOptions { credential: Some(key.clone()), label: String::new(), chunking: Chunking::blocks() };
        block_on(init(Arc::new(store.clone()), &exec, &env, options)).unwrap();
        Lab { env, exec, store, key, folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self, store: &MemoryDriver) -> Repository {
        block_on(Repository::open(Arc::new(store.clone()), &self.exec, &self.env, &self.key)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Backs up `data` as volume `a/b` and stream `a/s`.
    fn backup(&self, store: &MemoryDriver, data: &[u8]) {
        let path = self.path("source");
        std::fs::write(&path, data).unwrap();
        let blocks = VolumeSource::Blocks(Arc::new(FileSource::open(&path).unwrap()));
        let stream = VolumeSource::Stream(Box::new(std::io::Cursor::new(data.to_vec())));
        let manifest = |name: &str| ManifestInput {
            path: format!("apps/Deployment/shop/{name}"),
            json: format!("{{\"name\":\"{name}\"}}").into_bytes().into(),
        };
        let request = BackupRequest {
            volumes: vec![
                VolumeInput { name: "a/b".into(), source: blocks },
                VolumeInput { name: "a/s".into(), source: stream },
            ],
            manifests: [manifest("cart"), manifest("web")].into(),
            ..Default::default()
        };
        block_on(backup(&self.open(store), request, &Arc::default())).unwrap();
    }

    fn snapshot(&self, store: &MemoryDriver) -> Snapshot {
        let (entries, problems) = block_on(snapshots::list(&self.open(store))).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        entries.last().unwrap().snapshot.clone()
    }

    fn restore(&self, store: &MemoryDriver, name: &str, target: &Path) -> Result<RestoreReport> {
        let volumes = vec![RestoreVolume { name: name.into(), target: target.to_owned() }];
        let request = RestoreRequest {
            snapshot: self.snapshot(store),
            volumes,
            force: false,
            verify: true,
            allow_damaged: false,
            in_place: false,
        };
        block_on(restore(&self.open(store), request, &Arc::default()))
    }
}

/// Noise, a long hole, noise again, repetition, and an end off the grid.
fn data() -> Vec<u8> {
    let mut noise = vec![0; 3_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let mut data = noise.clone();
    data.resize(9 << 20, 0);
    data.extend_from_slice(&noise[..700_001]);
    data
}

fn flip(store: &MemoryDriver, name: &str, at: usize) {
    let mut bytes = store.bytes(name).unwrap().to_vec();
    bytes[at] ^= 1;
    store.tamper(name, bytes);
}

fn packs(store: &MemoryDriver, prefix: &str) -> Vec<String> {
    store.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

#[test]
fn volumes_streams_and_manifests_come_back() {
    let (lab, data) = (Lab::new(), data());
    lab.backup(&lab.store, &data);
    for name in ["a/b", "a/s"] {
        let target = lab.path(&name.replace('/', "-"));
        let report = lab.restore(&lab.store, name, &target).unwrap();
        assert!(std::fs::read(&target).unwrap() == data, "{name} differs");
        assert_eq!((report.volumes, report.bytes_restored), (1, data.len() as u64));
        assert_eq!(report.bytes_written + report.bytes_holes, data.len() as u64);
        assert_eq!(report.bytes_holes > 5 << 20, name == "a/b", "{report:?}");
    }
    let (reader, lost) = block_on(vfs::reader(&lab.open(&lab.store))).unwrap();
    assert!(lost.is_empty());
    let snapshot = lab.snapshot(&lab.store);
    let contents = block_on(vfs::manifests(&reader, &snapshot)).unwrap();
    let paths: Vec<&str> = contents.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["apps/Deployment/shop/cart", "apps/Deployment/shop/web"]);
    let json = block_on(vfs::manifest(&reader, &snapshot, paths[1])).unwrap();
    assert_eq!((json.as_slice(), json.len()), (&b"{\"name\":\"web\"}"[..], contents[1].len as usize));
    let missing = block_on(vfs::manifest(&reader, &snapshot, "apps/Deployment/shop/x")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Usage);
}

#[test]
fn damage_is_named_and_half_a_file_is_removed() {
    let (lab, data) = (Lab::new(), data());
    lab.backup(&lab.store, &data);
    let sid = lab.snapshot(&lab.store).sid;
    // all over the records, or only in the footer
    for (prefix, footer) in
        [("packs/data/", false), ("packs/data/", true), ("packs/map/", false), ("packs/map/", true)]
    {
        let store = lab.store.fork();
        for name in packs(&store, prefix) {
            let len = store.bytes(&name).unwrap().len();
            let first = if footer { len - 1 } else { 100 };
            (first..len).step_by(200).for_each(|at| flip(&store, &name, at));
        }
        let error = lab.restore(&store, "a/b", &lab.path("target")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("volume a/b of snapshot {sid}: {prefix}")), "{text}");
        assert!(!lab.path("target").exists());
    }
    let store = lab.store.fork();
    packs(&store, "packs/data/").iter().for_each(|name| store.lose(name));
    let text = lab.restore(&store, "a/s", &lab.path("target")).unwrap_err().to_string();
    assert!(text.contains("a/s") && text.ends_with("object is missing"), "{text}");
}

#[test]
fn another_copy_serves_where_one_is_bad() {
    let (lab, data) = (Lab::new(), data());
    let other = lab.store.fork();
    lab.backup(&lab.store, &data);
    lab.backup(&other, &data);
    // as two sessions leave it that did not see each other
    for name in other.names() {
        if lab.store.bytes(&name).is_none() {
            lab.store.tamper(&name, other.bytes(&name).unwrap());
        }
    }
    for prefix in ["packs/data/", "packs/map/"] {
        let first = packs(&other, prefix);
        let second: Vec<_> =
            packs(&lab.store, prefix).into_iter().filter(|name| !first.contains(name)).collect();
        for (bad, at) in [(&first, 100), (&second, 100)] {
            let store = lab.store.fork();
            bad.iter().for_each(|name| flip(&store, name, at));
            let target = lab.path("copy");
            lab.restore(&store, "a/b", &target).unwrap();
            assert!(std::fs::read(&target).unwrap() == data);
            std::fs::remove_file(&target).unwrap();
            bad.iter().for_each(|name| store.lose(name));
            lab.restore(&store, "a/b", &target).unwrap();
            std::fs::remove_file(&target).unwrap();
        }
    }
}

#[test]
fn an_unknown_volume_is_a_usage_error() {
    let lab = Lab::new();
    lab.backup(&lab.store, b"x");
    let error = lab.restore(&lab.store, "a/c", &lab.path("target")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "volume a/c: not in the snapshot, which has: a/b, a/s");
}

#[test]
fn a_cancelled_restore_leaves_nothing() {
    let (lab, data) = (Lab::new(), data());
    lab.backup(&lab.store, &data);
    let (repository, snapshot) = (lab.open(&lab.store), lab.snapshot(&lab.store));
    let volumes = vec![RestoreVolume { name: "a/b".into(), target: lab.path("target") }];
    lab.exec.cancel_handle().cancel();
    let request = RestoreRequest {
        snapshot,
        volumes,
        force: false,
        verify: false,
        allow_damaged: false,
        in_place: false,
    };
    let error = block_on(restore(&repository, request, &Arc::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!lab.path("target").exists());
}
