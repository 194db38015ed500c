use super::*;
use repo_format::keys::keyfile;
use repository::check::{CheckOptions, ReadData, check};
use repository::progress::Progress;
use repository::stats::stats;
use repository::store::{StoreUrl, connect};
use repository::{Credential, Env, Exec, Repository};
use std::sync::Arc;

fn spec(chunk_len: u32, layout: Layout) -> Spec {
    Spec {
        chunks: 3000,
        chunk_len,
        snapshots: 5,
        forgotten: 2,
        dead_percent: 20,
        layout,
        packs_per_run: 2,
        marked: true,
        seed: 7,
    }
}

fn inspect(spec: &Spec, read_data: ReadData) {
    let folder = tempfile::tempdir().unwrap();
    let made = make(folder.path(), spec, 2).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let credential = Credential::KeyFile(keyfile::parse(&made.key).unwrap());
    let driver = connect(&StoreUrl::Local(folder.path().to_owned()), false).unwrap();
    let (report, stats) = runtime.block_on(async {
        let exec = Exec::threads(2).unwrap();
        let repository = Repository::open(driver, &exec, &Env::system(), &credential).await.unwrap();
        let options = CheckOptions { read_data, snapshots: vec![] };
        let report = check(&repository, options, &Arc::new(Progress::default())).await.unwrap();
        (report, stats(&repository).await.unwrap())
    });
    assert!(report.errors.is_empty(), "{spec:?}: {:?}", report.errors);
    assert_eq!((stats.snapshots, stats.snapshots_forgotten), (5, 2));
    assert_eq!(stats.index_entries, spec.chunks + made.pages);
    assert_eq!(stats.bytes_logical, spec.chunks * u64::from(spec.chunk_len));
    assert_eq!(
        (stats.packs_data.objects, stats.packs_map.objects, stats.runs.objects),
        (made.data_packs, made.map_packs, made.runs)
    );
    assert_eq!(stats.packs_data.bytes + stats.packs_map.bytes, made.packs_len);
}

#[test]
fn all_is_well_in_what_was_made() {
    for layout in [Layout::Clustered, Layout::Scattered] {
        inspect(&spec(8192, layout), ReadData::All);
        inspect(&spec(100, layout), ReadData::All);
        inspect(&spec(1, layout), ReadData::None);
    }
}

#[test]
fn a_seed_gives_the_same_packs() {
    let names = |seed| {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), &Spec { seed, ..spec(16, Layout::Scattered) }, 2).unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.path().join("snapshots")).unwrap() {
            let entry = entry.unwrap();
            found.push((entry.file_name(), std::fs::read(entry.path()).unwrap()));
        }
        found.sort();
        found
    };
    assert_eq!(names(1), names(1));
    assert_ne!(names(1), names(2));
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = spec(16, Layout::Clustered);
    for bad in [
        Spec { chunks: 0, ..good },
        Spec { chunk_len: 0, ..good },
        Spec { forgotten: 5, ..good },
        Spec { forgotten: 0, ..good },
        Spec { dead_percent: 100, ..good },
    ] {
        assert!(make(folder.path(), &bad, 1).is_err(), "{bad:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
