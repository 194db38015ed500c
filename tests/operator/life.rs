//! A repository's whole life on each store.

use crate::orlop::{Lab, files, sparse};
use std::fs::File;
use tests::clouds::{Cloud, CloudServer};
use tests::servers::{Kind, S3Server};

const SHOP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: colours, namespace: shop}
data: {red: '1'}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
";

const BACKUP_FIELDS: [&str; 12] = [
    "snapshot_id",
    "volumes",
    "manifests",
    "bytes_scanned",
    "bytes_read",
    "bytes_new",
    "bytes_stored",
    "bytes_mended",
    "chunks_new",
    "chunks_reused",
    "store_requests",
    "duration_seconds",
];

fn life(lab: &Lab) {
    lab.init();
    let first = sparse(&lab.path("data.img"), 1, 3_000_001);
    let dump = tests::data::mixed(9, 700_001);
    lab.file("dump", &dump);
    std::fs::create_dir(lab.path("shop")).unwrap();
    lab.file("shop/all.yaml", SHOP);
    let stdin = || File::open(lab.path("dump")).unwrap();
    let line = "backup --json --volume shop/data=data.img --volume shop/dump=- --manifests shop --name day";
    let one = lab.run_from(line, stdin()).ok().summary();
    for field in BACKUP_FIELDS {
        assert!(!one[field].is_null(), "{field} is missing: {one}");
    }
    assert_eq!((&one["volumes"], &one["manifests"]), (&2.into(), &2.into()));
    // the manifests come on top
    assert!((3_700_003..3_701_000).contains(&one["bytes_scanned"].as_u64().unwrap()), "{one}");

    let mut second = first.clone();
    second[100_000..100_100].fill(7);
    lab.file("data.img", &second);
    let two = lab.run_from(line, stdin()).ok().summary();
    assert!(two["bytes_new"].as_u64() < Some(1_500_000), "deduplicated: {two}");
    let (one, two) = (one["snapshot_id"].as_str().unwrap(), two["snapshot_id"].as_str().unwrap());
    assert_eq!(lab.snapshots(), [one, two]);

    for (snapshot, data) in [(one, &first), (two, &second), ("latest", &second)] {
        lab.assert_restores(snapshot, "shop/data", data);
        lab.assert_restores(snapshot, "shop/dump", &dump);
    }
    let summary = lab.run("--json check --read-data").ok().summary();
    assert_eq!(
        (&summary["errors"], &summary["confidence"]["fraction"]),
        (&serde_json::json!([]), &0.0.into())
    );
    // scrub needs no key
    lab.bare_run(["scrub"]).ok();
    roles(lab, &second);
    lab.assert_intact();
}

fn roles(lab: &Lab, data: &[u8]) {
    for role in ["backup", "read", "prune"] {
        lab.run(&format!("key add --role {role} --label {role} --key-file-out {role}.key")).ok();
    }
    let with = |role: &str, line: &str| {
        let words = format!("--key-file {role}.key {line}");
        lab.bare_run(words.split_whitespace())
    };
    let summary = with("read", "--json restore latest --target all").ok().summary();
    for field in ["bytes_restored", "bytes_written", "bytes_fetched", "store_requests", "duration_seconds"] {
        assert!(summary[field].is_number(), "{field} is missing: {summary}");
    }
    assert!(std::fs::read(lab.path("all/volumes/shop/data.img")).unwrap() == data);
    with("backup", "backup --volume shop/data=data.img").ok();
    with("backup", "restore latest --target no").refused(12, &["role", "backup"]);
    with("prune", "restore latest --target no").refused(12, &["role", "prune"]);
    with("read", "backup --volume shop/data=data.img").refused(12, &["role", "read"]);
    with("read", "key add --role read --key-file-out no.key").refused(12, &["role", "owner"]);
    assert!(files(&lab.path("no")).is_empty() && !lab.path("no.key").exists());
}

#[test]
fn on_a_local_directory() {
    life(&Lab::bare());
}

#[test]
fn on_versitygw() {
    let Ok(server) = S3Server::start(Kind::Versitygw) else { return };
    life(&Lab::on_server(&server));
}

#[test]
fn on_minio() {
    let Ok(server) = S3Server::start(Kind::Minio) else { return };
    life(&Lab::on_server(&server));
}

#[test]
fn on_azurite() {
    let Ok(server) = CloudServer::start(Cloud::Azure) else { return };
    life(&Lab::on_cloud(&server));
}

#[test]
fn on_gcs_by_a_translator() {
    let Ok(server) = CloudServer::start(Cloud::Gcs) else { return };
    life(&Lab::on_cloud(&server));
}
