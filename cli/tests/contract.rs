//! The contract of the command line: verbs, JSON shapes and files, on a local directory.

mod common;

use common::{Place, Runs, assigned, binary, fields, files, noise, number, text};
use std::os::unix::fs::PermissionsExt;

const MANIFESTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: postgres, namespace: shop}
spec: {replicas: 2}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: shop}
stringData: {password: geheim}
";

/// Data, a hole, data, and an end off the grid.
fn image() -> Vec<u8> {
    let mut image = noise(1, 300_000);
    image.resize(2_000_000, 0);
    image.extend(noise(2, 123_457));
    image
}

#[test]
fn a_backup_comes_back() {
    let place = Place::with_repository();
    let content = image();
    let source = place.file("data.img", &content);
    let empty = place.file("empty.img", b"");
    let manifests = place.file("manifests/shop.yaml", MANIFESTS.as_bytes());

    let mut backup = place.json();
    backup.args(["backup", "--name", "nightly", "--label", "tier=gold", "--volume"]);
    backup.arg(assigned("shop/data", &source)).arg("--volume").arg(assigned("shop/empty", &empty));
    backup.arg("--manifests").arg(manifests.parent().unwrap());
    let summary = backup.ran().expect(0).summary();
    let contract = [
        "bytes_mended",
        "bytes_new",
        "bytes_read",
        "bytes_scanned",
        "bytes_stored",
        "chunks_new",
        "chunks_reused",
        "duration_seconds",
        "manifests",
        "message_type",
        "parent_id",
        "snapshot_id",
        "store_requests",
        "volumes",
        "volumes_by_ranges",
        "volumes_unchanged",
    ];
    assert_eq!(fields(&summary), contract);
    assert_eq!((number(&summary, "volumes"), number(&summary, "manifests")), (2, 3));
    assert!(number(&summary, "bytes_scanned") >= content.len() as u64);
    assert!(number(&summary, "bytes_stored") >= 400_000);
    let id = text(&summary, "snapshot_id");

    let target = place.path("all");
    let ran = place.json().args(["restore", "latest", "--verify", "--target"]).arg(&target).ran().expect(0);
    let summary = ran.summary();
    let contract = [
        "bytes_fetched",
        "bytes_kept",
        "bytes_restored",
        "bytes_written",
        "duration_seconds",
        "lost",
        "manifests",
        "message_type",
        "snapshot_id",
        "store_requests",
        "volumes",
    ];
    assert_eq!(fields(&summary), contract);
    assert_eq!(text(&summary, "snapshot_id"), id);
    assert_eq!(std::fs::read(target.join("volumes/shop/data.img")).unwrap(), content);
    assert_eq!(std::fs::read(target.join("volumes/shop/empty.img")).unwrap(), b"");
    let secret = target.join("manifests/shop/secret/login.json");
    let json = std::fs::read_to_string(&secret).unwrap();
    assert!(json.contains("geheim"), "{json}");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&secret), mode(secret.parent().unwrap())), (0o600, 0o700));

    // a second run has nothing new to store
    let again = place.backup("shop/data", &source);
    assert_ne!(again, id);
    let one = place.path("one.img");
    place.owner().args(["restore", &id[24..], "--volume"]).arg(assigned("shop/data", &one)).ran().expect(0);
    assert_eq!(std::fs::read(one).unwrap(), content);

    let checked = place.json().args(["check", "--read-data"]).ran().expect(0).summary();
    assert_eq!(checked["errors"].as_array().map(Vec::len), Some(0));
    assert!(number(&checked, "objects") > 0 && number(&checked, "bytes_read") >= 400_000);
    let scrubbed = place.bare().args(["scrub", "--json"]).ran().expect(0).summary();
    assert!(number(&scrubbed, "objects") > 0);
}

#[test]
fn listings_are_arrays_and_tables() {
    let place = Place::with_repository();
    let source = place.file("a.img", &noise(3, 50_000));
    let manifests = place.file("shop.yaml", MANIFESTS.as_bytes());
    let mut backup = place.json();
    backup.args(["backup", "--time", "2026-11-20T08:00:00Z", "--name", "one", "--label", "a=b", "--volume"]);
    backup.arg(assigned("shop/data", &source)).arg("--manifests").arg(&manifests);
    let first = text(&backup.ran().expect(0).summary(), "snapshot_id");
    let second = place.backup("shop/other", &source);

    let all = place.json().arg("snapshots").ran().expect(0).array();
    let ids: Vec<String> = all.iter().map(|entry| text(entry, "snapshot_id")).collect();
    assert_eq!(ids, [first.clone(), second.clone()]);
    assert_eq!(text(&all[0], "time"), "2026-11-20T08:00:00Z");
    assert_eq!(all[0]["volumes"], serde_json::json!(["shop/data"]));
    assert_eq!(all[0]["labels"], serde_json::json!({"a": "b"}));
    for (filter, expected) in [
        (["--volume", "shop/data"], 1),
        (["--label", "a=b"], 1),
        (["--label", "a=c"], 0),
        (["--name", "o*"], 1),
        (["--until", "2026-11-20"], 0),
        (["--since", "2026-11-20"], 2),
    ] {
        let found = place.json().arg("snapshots").args(filter).ran().expect(0).array();
        assert_eq!(found.len(), expected, "{filter:?}");
    }
    let table = place.owner().arg("snapshots").ran().expect(0).stdout;
    assert!(
        table.starts_with("ID ") && table.contains(&first[24..]) && table.contains("shop/data"),
        "{table}"
    );

    let shown = place.json().args(["show", "latest", "--name", "one"]).ran().expect(0).summary();
    assert_eq!(text(&shown, "snapshot_id"), first);
    assert_eq!(number(&shown["volumes"][0], "bytes"), 50_000);

    let listed = place.json().args(["ls", &first]).ran().expect(0).array();
    let paths: Vec<String> = listed.iter().map(|entry| text(entry, "path")).collect();
    let mut expected = [
        "manifests/_cluster/namespace/shop.json",
        "manifests/shop/secret/login.json",
        "manifests/shop/stateful-set.apps/postgres.json",
        "volumes/shop/data",
    ];
    let mut sorted = paths.clone();
    sorted.sort();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    let below = place.owner().args(["ls", &first, "manifests/shop/secret"]).ran().expect(0).stdout;
    assert!(below.lines().count() == 1 && below.contains("login.json"), "{below}");
    place.owner().args(["ls", &first, "nowhere"]).ran().expect(1);

    let spec = format!("{first}:apps/StatefulSet/shop/postgres");
    let by_path = place.owner().args(["cat", "manifest", &spec]).ran().expect(0).stdout;
    let spec = format!("{first}:manifests/shop/stateful-set.apps/postgres.json");
    assert_eq!(place.owner().args(["cat", "manifest", &spec]).ran().expect(0).stdout, by_path);
    assert!(by_path.contains("\"replicas\":2"), "{by_path}");
    place.json().arg("stats").ran().expect(0).summary();
}

#[test]
fn objects_can_be_looked_at() {
    let place = Place::with_repository();
    let content = noise(10, 9_000);
    let id = place.backup("shop/data", &place.file("a.img", &content));
    let cat = |kind: &str, id: &str| place.owner().args(["cat", kind, id]).ran();
    let parsed = |kind: &str, id: &str| -> serde_json::Value {
        serde_json::from_str(&cat(kind, id).expect(0).stdout).unwrap()
    };
    assert_eq!(text(&parsed("snapshot", "latest"), "snapshot_id"), id);
    let pack = place.first_pack();
    let pack = parsed("pack", pack.file_name().unwrap().to_str().unwrap());
    assert_eq!((text(&pack, "class"), text(&pack, "session")), ("data".into(), id));
    assert!(pack["keys"][0]["wrap"].is_null(), "no key, not even a wrapped one");
    let records = pack["records"].as_array().unwrap();
    let record = records.iter().find(|record| record["type"] == "data").unwrap();
    let plain = place.owner().args(["cat", "chunk", &text(record, "id")]).output().unwrap();
    assert!(content.starts_with(&plain.stdout) && plain.stdout.len() as u64 == number(record, "bytes_plain"));
    let run = files(&place.path("repository/index")).remove(0);
    let run = run.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().1;
    let run = parsed("run", run);
    assert_eq!(run["entries"].as_array().unwrap().len() as u64, number(&run, "entry_count"));
    let named =
        |row: &serde_json::Value| row["pack_id"] == pack["pack_id"] && row["session"] == pack["session"];
    assert!(run["packs"].as_array().unwrap().iter().any(named), "{run}");
    cat("run", &"0".repeat(32)).expect(2);
    cat("pending", &"0".repeat(32)).expect(2);
    cat("chunk", &"0".repeat(64)).expect(13);
    cat("chunk", "0").expect(2);
    cat("pack", &"0".repeat(32)).expect(2);
}

#[test]
fn standard_input_is_a_volume() {
    let place = Place::with_repository();
    let content = noise(4, 700_001);
    let source = place.file("dump", &content);
    let mut backup = place.json();
    backup.args(["backup", "--volume", "shop/dump=-"]).stdin(std::fs::File::open(&source).unwrap());
    let summary = backup.ran().expect(0).summary();
    assert_eq!(number(&summary, "bytes_read"), content.len() as u64);
    let target = place.path("restored");
    place.owner().args(["restore", "latest", "--volume"]).arg(assigned("shop/dump", &target)).ran().expect(0);
    assert_eq!(std::fs::read(target).unwrap(), content);
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Place::with_repository();
    let source = place.file("a.img", &noise(5, 200_000));
    let mut backup = place.json();
    let summary = backup
        .args(["backup", "--dry-run", "--volume"])
        .arg(assigned("s/d", &source))
        .ran()
        .expect(0)
        .summary();
    assert!(summary["snapshot_id"].is_null());
    assert_eq!((number(&summary, "bytes_new"), number(&summary, "bytes_stored")), (200_000, 0));
    assert_eq!(place.json().arg("snapshots").ran().expect(0).array().len(), 0);
}

#[test]
fn init_says_what_it_made_once() {
    let place = Place::empty();
    let mut init = place.bare();
    init.args(["--json", "init", "--chunker", "fixed", "--chunk-size", "1MiB", "--key-file-out"]);
    let made = init.arg(place.path("owner.key")).ran().expect(0).summary();
    assert_eq!(fields(&made), ["format", "message_type", "recovery_key", "repository_id", "store_mode"]);
    assert_eq!(text(&made, "store_mode"), "many");
    let config = place.json().args(["cat", "config"]).ran().expect(0).stdout;
    assert!(config.contains(&text(&made, "repository_id")), "{config}");
    let recovery = place.file("recovery.key", text(&made, "recovery_key").as_bytes());
    let listed = place.bare().arg("--key-file").arg(recovery).args(["snapshots", "--json"]).ran().expect(0);
    assert_eq!(listed.array().len(), 0);

    let place = Place::empty();
    let said =
        place.bare().args(["init", "--key-file-out"]).arg(place.path("owner.key")).ran().expect(0).stdout;
    assert!(said.contains("recovery key: orlop-key-1-") && !said.contains("experimental"), "{said}");
}

#[test]
fn completions_and_help_need_no_repository() {
    for shell in ["bash", "zsh", "fish"] {
        let script = binary().args(["completions", shell]).ran().expect(0).stdout;
        assert!(script.contains("orlop") && script.contains("snapshots"));
    }
    assert!(binary().arg("--help").ran().expect(0).stdout.contains("Exit codes"));
    assert!(binary().args(["backup", "--help"]).ran().expect(0).stdout.contains("pg_dump"));
}

#[test]
fn two_snapshots_differ() {
    let place = Place::with_repository();
    let mut content = image();
    let backup = |content: &[u8], other: &str, manifests: &str| {
        let source = place.file("data.img", content);
        let small = place.file("small.img", b"small");
        let manifests = place.file("shop.yaml", manifests.as_bytes());
        let mut backup = place.json();
        backup.arg("backup").arg("--volume").arg(assigned("shop/data", &source));
        backup.arg("--volume").arg(assigned(other, &small)).arg("--manifests").arg(manifests);
        text(&backup.ran().expect(0).summary(), "snapshot_id")
    };
    let a = backup(&content, "shop/old", MANIFESTS);
    content[100_000] ^= 1;
    let b = backup(&content, "shop/new", &MANIFESTS.replace("replicas: 2", "replicas: 3"));
    let lines = place.json().args(["diff", &a, &b]).ran().expect(0).lines();
    let of = |kind: &str| lines.iter().filter(|line| line["message_type"] == kind).collect::<Vec<_>>();
    let [range] = of("range")[..] else { panic!("{lines:?}") };
    let (offset, len) = (number(range, "offset"), number(range, "length"));
    assert!(offset <= 100_000 && 100_000 < offset + len && len <= 131_072, "{range}");
    let changes: Vec<_> =
        of("change").into_iter().map(|line| (text(line, "modifier"), text(line, "name"))).collect();
    let expected =
        [("M", "shop/data"), ("+", "shop/new"), ("-", "shop/old"), ("M", "apps/StatefulSet/shop/postgres")];
    assert_eq!(changes, expected.map(|(modifier, name)| (modifier.to_owned(), name.to_owned())));
    let summary = lines.last().unwrap();
    let contract = [
        "bytes_changed",
        "duration_seconds",
        "manifests_added",
        "manifests_changed",
        "manifests_removed",
        "message_type",
        "source_id",
        "target_id",
        "volumes_added",
        "volumes_changed",
        "volumes_removed",
    ];
    assert_eq!(fields(summary), contract);
    assert_eq!(number(summary, "bytes_changed"), len);

    let same = place.owner().args(["diff", &a, &a]).ran().expect(0);
    assert!(same.stdout.starts_with("volumes: 0 added"), "{}", same.stdout);
    // whoever may only write sees the volumes
    let key = place.path("backup.key");
    place.owner().args(["key", "add", "--role", "backup", "--key-file-out"]).arg(&key).ran().expect(0);
    let ran = place.bare().arg("--key-file").arg(&key).args(["diff", &a, &b]).ran().expect(3);
    assert!(
        ran.stdout.contains("M volume shop/data") && ran.stderr.contains("manifests were left out"),
        "{}",
        ran.stderr
    );
}
