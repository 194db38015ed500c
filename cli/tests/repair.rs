//! `repair` and `restore --allow-damaged`, on a local directory.

mod common;

use common::{Place, Runs, assigned, files, noise};

#[test]
fn what_is_lost_is_marked_and_named() {
    let place = Place::with_repository();
    let content = noise(5, 700_000);
    let source = place.file("data.img", &content);
    place.backup("shop/data", &source);
    place.owner().arg("repair").ran().expect(0);
    // the index comes back
    let root = place.path("repository");
    let below = |folder: &str| {
        let all = files(&root).into_iter();
        all.filter(|path| path.starts_with(root.join(folder))).collect::<Vec<_>>()
    };
    for run in below("index") {
        std::fs::remove_file(run).unwrap();
    }
    let summary = place.json().arg("repair").ran().expect(0).summary();
    assert_eq!(
        (summary["runs_written"].as_u64(), summary["damaged"].as_array().unwrap().len()),
        (Some(1), 0)
    );
    place.owner().arg("check").ran().expect(0);
    // content does not
    for pack in below("packs/data") {
        std::fs::remove_file(pack).unwrap();
    }
    let summary = place.json().args(["repair", "--dry-run"]).ran().expect(3).summary();
    assert_eq!(summary["marks_written"].as_u64(), Some(0));
    let summary = place.json().arg("repair").ran().expect(3).summary();
    let ranges = &summary["damaged"][0]["lost"]["volumes"][0]["ranges"];
    assert_eq!(ranges, &serde_json::json!([[0, 700_000]]));
    let listed = place.owner().arg("snapshots").ran().expect(0);
    assert!(listed.stdout.contains("(damaged)"), "{}", listed.stdout);
    let target = place.path("out.img");
    let volume = assigned("shop/data", &target);
    place.owner().args(["restore", "latest", "--volume"]).arg(&volume).ran().expect(13);
    let mut restore = place.json();
    restore.args(["restore", "latest", "--allow-damaged", "--volume"]).arg(&volume);
    let summary = restore.ran().expect(3).summary();
    assert_eq!(&summary["lost"]["volumes"][0]["ranges"], ranges);
    assert_eq!(std::fs::read(&target).unwrap(), vec![0; 700_000]);
}
