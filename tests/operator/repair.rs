//! Repair as an operator meets it: exit codes, JSON, a replica, and what nobody can read.

use crate::orlop::{Lab, files, largest};
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}

#[test]
fn a_lost_pack_is_marked_and_comes_back_from_a_replica() {
    let lab = Lab::local();
    let data = tests::data::bytes(5, 400_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    copy(&lab.repo(), &lab.path("replica"));
    std::fs::remove_file(largest(&lab.repo().join("packs/data"))).unwrap();
    let dry = lab.run("--json repair --dry-run");
    assert_eq!((dry.code, &dry.summary()["dry_run"]), (3, &serde_json::json!(true)), "{dry:?}");
    let marked = lab.run("--json repair");
    assert_eq!((marked.code, &marked.summary()["marks_written"]), (3, &serde_json::json!(1)), "{marked:?}");
    lab.run("restore latest --volume shop/data=out").refused(13, &["shop/data"]);
    let partial = lab.run("--json restore latest --volume shop/data=out --allow-damaged");
    let lost = &partial.summary()["lost"]["volumes"][0];
    assert_eq!((partial.code, lost["name"].as_str()), (3, Some("shop/data")), "{partial:?}");
    let mut expected = data.clone();
    for range in lost["ranges"].as_array().unwrap() {
        let [offset, len] = [0, 1].map(|n| range[n].as_u64().unwrap() as usize);
        expected[offset..offset + len].fill(0);
    }
    assert!(std::fs::read(lab.path("out")).unwrap() == expected);

    let other = Lab::local();
    lab.run(&format!("repair --from replica --from-key-file {}", other.key().display()))
        .refused(12, &["replica"]);
    assert_eq!(lab.run("repair --from-key-file x").code, 2);
    let line = format!("--json repair --from replica --from-key-file {}", lab.key().display());
    let mended = lab.run(&line).ok().summary();
    assert_eq!(
        (&mended["copies"][0]["origin"], mended["unreadable"].as_array().map(Vec::len)),
        (&"other".into(), Some(0))
    );
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
    assert!(lab.run("repair --from replica").ok().out.contains("0 packs written"));
}

#[test]
fn a_lost_pack_comes_back_from_a_repository_with_other_keys() {
    let (lab, other) = (Lab::local(), Lab::local());
    let data = tests::data::bytes(7, 400_000);
    for lab in [&lab, &other] {
        lab.file("data.img", &data);
        lab.backup("--volume shop/data=data.img");
    }
    std::fs::remove_file(largest(&lab.repo().join("packs/data"))).unwrap();
    let from = |verb: &str| {
        format!("{verb} --from {} --from-key-file {}", other.repo().display(), other.key().display())
    };
    let told = lab.run(&from("repair --dry-run")).ok().out;
    assert!(told.contains("cut anew") && told.contains("of shop/data out of snapshot"), "{told}");
    let there = files(&other.repo());
    let dry = lab.run(&from("--json repair --dry-run")).ok().summary();
    let mended = lab.run(&from("--json repair")).ok().summary();
    assert_eq!(dry["recuts"], mended["recuts"]);
    let recut = &mended["recuts"][0];
    assert_eq!((&recut["volume"], &recut["bytes"]), (&"shop/data".into(), &data.len().into()), "{mended}");
    assert_eq!(recut["snapshot_id"].as_str(), other.snapshots().first().map(String::as_str));
    assert!(mended["copies"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(files(&other.repo()), there, "nothing is written there");
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
    assert!(lab.run(&from("repair")).ok().out.contains("0 packs written"));
}

#[test]
fn a_snapshot_that_nobody_can_read_is_given_up_by_its_name() {
    let lab = Lab::local();
    lab.file("data.img", tests::data::bytes(5, 200_000));
    let lost = lab.backup("--volume shop/data=data.img");
    let data = tests::data::bytes(6, 200_000);
    lab.file("data.img", &data);
    let kept = lab.backup("--volume shop/data=data.img");
    std::fs::write(lab.repo().join("snapshots").join(&lost), vec![7; 400]).unwrap();
    let says = |line: &str, code: i32, word: &str| {
        let ran = lab.run(line);
        assert!(ran.code == code && ran.err.contains(&lost) && ran.err.contains(word), "{line}: {ran:?}");
    };
    says("snapshots", 3, "could not be read");
    says("repair", 13, "--allow-last");
    says("prune", 13, "--allow-last");
    says(&format!("forget {lost}"), 2, "--allow-last");
    says(&format!("forget {lost} --allow-last"), 0, "given up");
    lab.run("prune --undelete-window 0").ok();
    lab.run("repair").ok();
    lab.assert_intact();
    assert_eq!(lab.snapshots(), [kept.as_str()]);
    lab.assert_restores(&kept, "shop/data", &data);
}
