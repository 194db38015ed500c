//! What people get wrong.

use crate::orlop::Lab;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A local repository with one snapshot.
fn lab() -> (Lab, Vec<u8>) {
    let lab = Lab::local();
    let data = tests::data::mixed(3, 300_003);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    (lab, data)
}

/// Nothing was added and nothing was harmed.
fn assert_unchanged(lab: &Lab, data: &[u8]) {
    assert_eq!(lab.snapshots().len(), 1);
    lab.assert_restores("latest", "shop/data", data);
    lab.assert_intact();
}

#[test]
fn volumes_that_are_none() {
    let (lab, data) = lab();
    std::fs::create_dir(lab.path("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("pipe")).status().unwrap().success());
    let cases = [
        ("missing", "No such file"),
        ("folder", "a directory found"),
        ("pipe", "a pipe found"),
        ("/dev/null", "a character device found"),
    ];
    for (path, reason) in cases {
        let line = format!("backup --volume shop/data=data.img --volume shop/x={path}");
        lab.run(&line).refused(1, &["shop/x", path, reason]);
    }
    lab.run("backup --volume shop/x=data.img --volume shop/x=data.img").refused(2, &["shop/x", "twice"]);
    assert_eq!(lab.run("backup --volume Shop=data.img").code, 2);
    assert_unchanged(&lab, &data);
}

/// The kernel says 4096 bytes for each of these files and gives fewer, or an error.
#[test]
fn sources_that_shrink_or_fail() {
    let (lab, data) = lab();
    let cases = [
        ("/sys/devices/system/cpu/online", "ended early"),
        ("/sys/class/net/lo/speed", "Invalid argument (os error 22)"),
    ];
    for (path, reason) in cases {
        if !std::path::Path::new(path).exists() {
            crate::orlop::skip("failing source", &format!("{path} is not there"));
            continue;
        }
        lab.run(&format!("backup --volume shop/x={path}")).refused(1, &["shop/x", "offset 0", reason]);
    }
    let folder = File::open(lab.path(".")).unwrap();
    lab.run_from("backup --volume shop/x=-", folder).refused(1, &["shop/x", "offset 0", "os error 21"]);
    assert_unchanged(&lab, &data);
}

#[test]
fn the_smallest_volumes() {
    let lab = Lab::local();
    for (name, content) in [("zero", &b""[..]), ("one", b"x"), ("null", b"\0"), ("block", &[0; 4096])] {
        lab.file(name, content);
        let id = lab.backup(&format!("--volume shop/{name}={name}"));
        lab.assert_restores(&id, &format!("shop/{name}"), content);
        let stdin = File::open(lab.path(name)).unwrap();
        lab.run_from(&format!("backup --volume shop/{name}=-"), stdin).ok();
        lab.assert_restores("latest", &format!("shop/{name}"), content);
    }
    lab.assert_intact();
}

#[test]
fn manifests_that_are_none() {
    let (lab, data) = lab();
    lab.file("bad.yaml", "kind: ConfigMap\nmetadata:\n  name: a\n bad: [\n");
    lab.file(
        "kindless.yaml",
        "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\napiVersion: v1\nmetadata: {name: b}\n",
    );
    lab.file("bad.json", "{\n\"kind\": }");
    let cases = [
        ("bad.yaml", "bad.yaml:4"),
        ("kindless.yaml", "no kind"),
        ("bad.json", "bad.json:2"),
        ("gone", "gone"),
    ];
    let before = crate::orlop::files(&lab.repo());
    for (path, words) in cases {
        lab.run(&format!("backup --volume shop/x=data.img --manifests {path}")).refused(1, &[path, words]);
    }
    assert_eq!(crate::orlop::files(&lab.repo()), before, "found before anything was uploaded");
    assert_unchanged(&lab, &data);
}

#[test]
fn restores_that_cannot_be() {
    let (lab, data) = lab();
    lab.file("there", "precious");
    std::fs::create_dir(lab.path("folder")).unwrap();
    let cases: [(&str, i32, &[&str]); 7] = [
        ("restore nope --target out", 2, &["nope"]),
        ("restore latest --name other --target out", 2, &["latest"]),
        ("restore latest --volume shop/other=out", 2, &["shop/other", "shop/data"]),
        ("restore latest --volume shop/data=there", 1, &["there", "--force"]),
        ("restore latest --volume shop/data=folder", 1, &["folder", "a directory"]),
        ("restore latest --volume shop/data=no/such/out", 1, &["no/such/out", "No such file"]),
        ("restore latest --volume shop/data=/dev/null", 1, &["/dev/null", "neither"]),
    ];
    for (line, code, words) in cases {
        lab.run(line).refused(code, words);
    }
    assert!(!lab.path("out").exists());
    assert_eq!(std::fs::read(lab.path("there")).unwrap(), b"precious");
    lab.run("restore latest --volume shop/data=there --force").ok();
    assert!(std::fs::read(lab.path("there")).unwrap() == data);
    let first = lab.snapshots().remove(0);
    assert_unchanged(&lab, &data);
    // two ids of one minute begin alike
    lab.backup("--volume shop/data=data.img");
    lab.run(&format!("restore {} --target out", &first[..2])).refused(2, &[&first[..2], "2 match"]);
}

#[test]
fn keys_that_do_not_open() {
    let (lab, data) = lab();
    let other = Lab::local();
    let key = |name: &str, content: &str| {
        let path = lab.file(name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    key("empty.key", "");
    key("word.key", "orlop-key-1-geheim");
    let with = |option: &str, path: &str| lab.bare_run([option, path, "snapshots"]);
    with("--key-file", other.key().to_str().unwrap()).refused(12, &["repo", "key file"]);
    for file in ["empty.key", "word.key", "gone.key"] {
        let ran = with("--key-file", file).refused(1, &[file]);
        assert!(!ran.err.contains("geheim"), "{ran:?}");
    }
    with("--password-file", "gone").refused(1, &["password file gone", "No such file"]);
    with("--password-file", "empty.key").refused(2, &["empty.key", "empty"]);
    assert_eq!(lab.bare_run(["snapshots"]).code, 2, "no key and no terminal");
    let mut lab = lab;
    lab.run("key add --role read --new-password-file data.key").refused(1, &["data.key"]);
    lab.file("password", "rightly");
    lab.run("key add --role read --new-password-file password").ok();
    lab.set("ORLOP_PASSWORD", "wrongly");
    lab.bare_run(["snapshots"]).refused(12, &["repo", "password"]);
    lab.set("ORLOP_PASSWORD", "rightly");
    lab.bare_run(["snapshots"]).ok();
    assert_unchanged(&lab, &data);
}

#[test]
fn repositories_that_are_not_there_or_there_already() {
    let (lab, data) = lab();
    lab.run("init").refused(11, &["repo", "exists already"]);
    lab.run("init --key-file-out new.key").refused(11, &["repo", "exists already"]);
    assert!(!lab.path("new.key").exists(), "a key that opens nothing is not left behind");
    std::fs::create_dir(lab.path("hollow")).unwrap();
    for line in ["-r nowhere snapshots", "-r hollow snapshots", "-r hollow backup --volume shop/x=data.img"] {
        let place = line.split(' ').nth(1).unwrap();
        lab.run(line).refused(10, &[place, "no repository"]);
    }
    assert!(!lab.path("nowhere").exists());
    lab.run("-r data.img init --key-file-out new.key").refused(1, &["data.img"]);
    for url in ["s3://", "ftp://x/y", "s3://UPPER/x"] {
        lab.run(&format!("-r {url} snapshots")).refused(2, &["s3"]);
    }
    assert_unchanged(&lab, &data);
}
