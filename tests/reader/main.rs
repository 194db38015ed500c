//! What orlop writes, a program reads that was written from `docs/format.md` alone, by somebody who has not seen ours.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tests::binary::orlop;
use tests::tools;

const PASSWORD: &str = "over the side";
const MANIFESTS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {greeting: grüezi}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {replicas: 2}
";

/// A repository, and the other reader.
struct Lab {
    dir: TempDir,
    python: PathBuf,
}

impl Lab {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn orlop<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let mut command = Command::new(orlop());
        command
            .arg("--no-cache")
            .arg("--repo")
            .arg(self.path("repo"))
            .args(args)
            .current_dir(self.dir.path());
        let stdin = std::fs::File::open(self.path("stream")).map_or(Stdio::null(), Stdio::from);
        let output = command.stdin(stdin).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn owner(&self, line: &str) -> String {
        self.orlop(["--key-file", "key"].into_iter().chain(line.split_whitespace()))
    }

    fn backup(&self, line: &str) -> String {
        let out = self.owner(&format!("--json backup {line}"));
        let summary: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        summary["snapshot_id"].as_str().unwrap().to_owned()
    }

    fn read(&self, secret: [&str; 2], args: &[&str]) -> Output {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/reader/orlop_reader.py");
        let mut command = Command::new(&self.python);
        command.arg(script).arg(self.path("repo")).args(secret).args(args);
        command.current_dir(self.dir.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn read_ok(&self, secret: [&str; 2], args: &[&str]) -> String {
        let output = self.read(secret, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    walk(folder).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

fn another_program_reads(chunker: &str) {
    let Ok(python) = tools::find("reader") else { return };
    let lab = Lab { dir: tempfile::tempdir().unwrap(), python };
    lab.orlop(["init", "--chunker", chunker, "--key-file-out", "key"]);
    std::fs::write(lab.path("password"), PASSWORD).unwrap();
    lab.owner("key add --role read --new-password-file password");
    // several segments, the last one short; an inner page; a change in a later snapshot
    let mut image = tests::data::mixed(5, 19_000_321);
    image[6_000_000..9_000_000].fill(0);
    let stream = tests::data::mixed(6, 2_500_007);
    std::fs::write(lab.path("shop.yaml"), MANIFESTS).unwrap();
    std::fs::write(lab.path("image"), &image).unwrap();
    let first = lab.backup("--volume shop/data=image --manifests shop.yaml");
    let old = image.clone();
    image[4_000_000..4_005_000].copy_from_slice(&tests::data::bytes(7, 5000));
    std::fs::write(lab.path("image"), &image).unwrap();
    let second = lab.backup("--volume shop/data=image --force-read");
    std::fs::write(lab.path("stream"), &stream).unwrap();
    let third = lab.backup("--volume shop/stream=-");

    for secret in [["--key-file", "key"], ["--password-file", "password"]] {
        let list = lab.read_ok(secret, &["list"]);
        assert!([&first, &second, &third].iter().all(|id| list.contains(id.as_str())), "{list}");
        let volumes =
            [(&first, "shop/data", &old), (&second, "shop/data", &image), (&third, "shop/stream", &stream)];
        for (id, volume, content) in volumes {
            let out = lab.path("out");
            lab.read_ok(secret, &["restore", id, volume, "out"]);
            assert!(std::fs::read(&out).unwrap() == *content, "{volume} of {id} differs");
            std::fs::remove_file(out).unwrap();
        }
        let manifest = lab.read_ok(secret, &["manifest", &first, "/ConfigMap/shop/settings"]);
        let ours = lab.owner(&format!("cat manifest {first}:/ConfigMap/shop/settings"));
        assert!(manifest.contains("grüezi") && manifest.trim_end() == ours.trim_end(), "{manifest}");
    }

    let pack = largest(&lab.path("repo/packs/data"));
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let output = lab.read(["--key-file", "key"], &["restore", &first, "shop/data", "damaged"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().any(|line| line.starts_with("error: ")), "{said}");
}

#[test]
fn with_blocks() {
    another_program_reads("blocks");
}

#[test]
fn with_fixed() {
    another_program_reads("fixed");
}

/// What version 1 of the format wrote, in both store modes, and past damage: what is whole comes back.
#[test]
fn golden_repositories() {
    let Ok(python) = tools::find("reader") else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/reader/orlop_reader.py");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    for name in ["many", "one", "damaged"] {
        let json = std::fs::read(golden.join(format!("{name}.json"))).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let run = |args: &[&str]| {
            let mut command = Command::new(&python);
            command.arg(script).arg(golden.join(name)).arg("--key-file").arg(golden.join("owner.key"));
            let output = command.args(args).current_dir(dir.path()).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), String::from_utf8(output.stdout).unwrap(), said)
        };
        let mut restored = 0;
        for (id, content) in expected["snapshots"].as_object().unwrap() {
            let damaged = content["damaged"].as_bool().unwrap();
            for (volume, noted) in content["volumes"].as_object().unwrap() {
                let (done, _, said) = run(&["restore", id, volume, "out"]);
                assert_eq!(done, !damaged, "{volume} of {id}: {said}");
                if done {
                    let bytes = std::fs::read(dir.path().join("out")).unwrap();
                    let found = format!("{} {}", bytes.len(), blake3::hash(&bytes));
                    assert_eq!(found, noted.as_str().unwrap(), "{volume} of {id}");
                    restored += 1;
                }
                let _ = std::fs::remove_file(dir.path().join("out"));
            }
            for (path, json) in content["manifests"].as_object().unwrap() {
                let (done, out, said) = run(&["manifest", id, path]);
                assert!(done, "{path} of {id}: {said}");
                assert_eq!(out.trim_end(), json.as_str().unwrap(), "{path} of {id}");
            }
        }
        assert!(restored > 0, "{name}");
    }
}

/// A class byte that has rotted is damage for it, too: sums are compared before anything that might be newer.
#[test]
fn rot_is_not_taken_for_a_newer_version() {
    let Ok(python) = tools::find("reader") else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(golden.join("one")).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    let repo = dir.path().join("one");
    let said = || {
        let mut command = Command::new(&python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/reader/orlop_reader.py")).arg(&repo);
        command.arg("--key-file").arg(golden.join("owner.key")).args([
            "restore",
            "latest",
            "shop/stream",
            "out",
        ]);
        let output = command.current_dir(dir.path()).stdin(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let flip = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 0x40;
        std::fs::write(path, bytes).unwrap();
    };
    assert!(said().0);
    for pack in walk(&repo.join("packs/data")) {
        let len = usize::try_from(pack.metadata().unwrap().len()).unwrap();
        flip(&pack, len - 56 + 38);
    }
    let (done, text) = said();
    assert!(!done && text.contains("crc of trailer and footer") && !text.contains("newer"), "{text}");
    flip(&walk(&repo.join("snapshots"))[0], 4);
    let (done, text) = said();
    assert!(!done && text.contains("sum differs") && !text.contains("newer"), "{text}");
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
