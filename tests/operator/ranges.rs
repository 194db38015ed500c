//! `backup --changed-ranges`: what somebody who tracks changes says of a volume, right or wrong.

use crate::orlop::Lab;
use std::fs::File;
use std::os::unix::fs::FileExt;

const BACKUP: &str = "backup --json --volume shop/data=data.img --changed-ranges changed.json";

/// A repository with a snapshot of 9 MB, and its id.
fn lab() -> (Lab, Vec<u8>, String) {
    let lab = Lab::local();
    let data = tests::data::bytes(3, 9_000_001);
    lab.file("data.img", &data);
    let base = lab.backup("--volume shop/data=data.img");
    (lab, data, base)
}

fn told(lab: &Lab, base: &str, ranges: &str) {
    lab.file("changed.json", format!(r#"{{"base": "{base}", "volumes": {{"shop/data": {ranges}}}}}"#));
}

#[test]
fn what_changed_is_read_and_the_rest_is_there() {
    let (lab, mut data, base) = lab();
    data[5_000_000..5_000_100].fill(1);
    lab.file("data.img", &data);
    told(&lab, &base, "[[5000000, 100]]");
    let summary = lab.run(&format!("{BACKUP} --audit-blocks 0")).ok().summary();
    assert_eq!(summary["volumes_by_ranges"], 1, "{summary}");
    assert!(summary["bytes_read"].as_u64().unwrap() < 1_000_000, "{summary}");
    assert_eq!(summary["parent_id"], base);
    lab.assert_restores("latest", "shop/data", &data);
    // the audit reads some of what did not change
    told(&lab, summary["snapshot_id"].as_str().unwrap(), "[[0, 1]]");
    data[0] ^= 1;
    lab.file("data.img", &data);
    let summary = lab.run(BACKUP).ok().summary();
    assert!(summary["bytes_read"].as_u64().unwrap() > 4_000_000, "{summary}");
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
}

#[test]
fn who_is_wrong_is_told_so() {
    let (lab, mut data, base) = lab();
    data[1_000_000..4_000_000].fill(1);
    lab.file("data.img", &data);
    told(&lab, &base, "[]");
    let ran = lab.run(BACKUP);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("shop/data") && ran.err.contains("changed ranges are wrong"), "{}", ran.err);
    lab.assert_restores("latest", "shop/data", &data);
    let shown = lab.run("show latest --json").ok().out;
    assert!(shown.contains("partial") && shown.contains("changed ranges are wrong"), "{shown}");
    lab.assert_intact();
}

#[test]
fn a_base_that_is_gone_means_a_full_read() {
    let (lab, mut data, base) = lab();
    data[7_000_000] ^= 1;
    lab.file("data.img", &data);
    for (base, reason) in [("0".repeat(32), "no such volume"), (base, "bytes")] {
        told(&lab, &base, "[[7000000, 1]]");
        data.push(1);
        lab.file("data.img", &data);
        let ran = lab.run(BACKUP);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.err.contains("read as a whole") && ran.err.contains(reason), "{}", ran.err);
        assert_eq!(ran.summary()["volumes_by_ranges"], 0);
        lab.assert_restores("latest", "shop/data", &data);
    }
}

#[test]
fn files_that_make_no_sense() {
    let (lab, data, base) = lab();
    let plain = BACKUP.replace(" --json", "");
    let volume = |name: &str| format!(r#"{{"base": "{base}", "volumes": {{"{name}": [[0, 1]]}}}}"#);
    let twice = format!(r#"{{"base": "{base}", "volumes": {{"shop/data": [[0, 1]], "shop/data": []}}}}"#);
    let cases = [
        ("not json".to_owned(), "expected"),
        (r#"{"base": "latest"}"#.into(), "volumes"),
        (volume("shop/other"), "no --volume names it"),
        (twice, "twice"),
        (volume("shop/data").replace("[0, 1]", "[0, -1]"), "-1"),
        (volume("shop/data").replace("[0, 1]", "[0, 1, 2]"), "trailing"),
        (volume("shop/data").replace("base", "since"), "since"),
    ];
    for (content, reason) in cases {
        lab.file("changed.json", content);
        lab.run(&plain).refused(2, &["changed.json", reason]);
    }
    told(&lab, "shop", "[]");
    lab.run(&plain).refused(2, &["snapshot \"shop\"", "none matches"]);
    let stdin = File::open(lab.path("data.img")).unwrap();
    let line = plain.replace("=data.img", "=-");
    lab.run_from(&line, stdin).refused(2, &["changed.json", "standard input"]);
    lab.run("backup --volume shop/data=data.img --changed-ranges nowhere")
        .refused(2, &["nowhere", "No such"]);
    for more in ["--force-read", "--parent latest"] {
        assert_eq!(lab.run(&format!("{plain} {more}")).code, 2);
    }
    assert_eq!(lab.run("backup --volume shop/data=data.img --audit-blocks 1").code, 2);
    assert_eq!(lab.snapshots().len(), 1);
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
}

/// A large volume of which nothing changed costs a handful of requests, whatever its size.
#[test]
fn a_large_volume_without_changes_costs_a_few_requests() {
    let lab = Lab::local();
    let image = File::create(lab.path("data.img")).unwrap();
    image.set_len(20 << 30).unwrap();
    for n in 0..8 {
        image.write_all_at(&tests::data::bytes(n, 300_000), n * (2 << 30)).unwrap();
    }
    let base = lab.backup("--volume shop/data=data.img --cache-dir cache");
    // another time of change: it does not look unchanged
    image.write_all_at(&[0], 19 << 30).unwrap();
    told(&lab, &base, "[]");
    // a restore reads the whole map: whatever the audit looks at is at hand from then on
    lab.run("restore latest --volume shop/data=out.img --cache-dir cache").ok();
    let summary = lab.run(&format!("{BACKUP} --cache-dir cache")).ok().summary();
    assert_eq!((&summary["volumes_by_ranges"], &summary["volumes_unchanged"]), (&1.into(), &0.into()));
    assert!(summary["store_requests"].as_u64().unwrap() <= 12, "{summary}");
    assert_eq!(summary["chunks_new"], 0, "{summary}");
}
