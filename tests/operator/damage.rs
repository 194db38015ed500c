//! What a disk does to a repository.

use crate::orlop::{Lab, files, largest};
use std::path::Path;

fn lab() -> (Lab, Vec<u8>) {
    let lab = Lab::local();
    let data = tests::data::bytes(5, 400_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    (lab, data)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A restore that ends with 13, names the object and leaves nothing; a check that does so, too.
fn assert_found(lab: &Lab, object: &str) {
    lab.run("restore latest --volume shop/data=out").refused(13, &[object]);
    assert!(!lab.path("out").exists(), "half a volume is no volume");
    let check = lab.run("check --read-data").refused(13, &["damage found"]);
    assert!(check.out.contains(object), "{check:?}");
}

#[test]
fn a_flipped_byte_in_a_pack() {
    let (lab, _) = lab();
    let pack = largest(&lab.repo().join("packs/data"));
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[200_000] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    assert_found(&lab, &name(&pack));
    let scrub = lab.bare_run(["scrub"]).refused(13, &["damage found"]);
    assert!(scrub.out.contains(&name(&pack)), "{scrub:?}");
    let json = lab.run("--json check --read-data");
    let error = &json.summary()["errors"][0];
    assert_eq!(error["snapshots"].as_array().unwrap().len(), 1, "{json:?}");
}

#[test]
fn a_missing_and_a_shortened_pack() {
    for kind in ["data", "map"] {
        let (lab, _) = lab();
        let pack = largest(&lab.repo().join("packs").join(kind));
        let bytes = std::fs::read(&pack).unwrap();
        std::fs::remove_file(&pack).unwrap();
        assert_found(&lab, &name(&pack));
        std::fs::write(&pack, &bytes[..bytes.len() / 2]).unwrap();
        assert_found(&lab, &name(&pack));
        std::fs::write(&pack, &bytes).unwrap();
        lab.assert_intact();
    }
}

#[test]
fn a_config_snapshot_or_index_cut_short() {
    let (lab, data) = lab();
    for folder in ["config", "snapshots", "index"] {
        let path = largest(&lab.repo().join(folder));
        let bytes = std::fs::read(&path).unwrap();
        for len in [0, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let ran = lab.run("check --read-data");
            assert!(ran.code == 13 && (ran.err + &ran.out).contains(&name(&path)), "{folder} of {len} bytes");
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
}

#[test]
fn files_that_are_not_the_repositorys() {
    let (lab, data) = lab();
    let places =
        ["garbage", "config/notes.txt", "snapshots/README", "packs/data/lost+found", "index/x", "keys/.swp"];
    for place in places {
        std::fs::write(lab.repo().join(place), "not ours\n").unwrap();
    }
    lab.backup("--volume shop/data=data.img");
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
    let left = files(&lab.repo());
    assert!(places.iter().all(|place| left.contains(&lab.repo().join(place))), "left alone");
}
