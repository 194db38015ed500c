//! What operators do wrong, and what they are told: one clear line, the right exit code, nothing broken.

mod common;

use common::{Place, Ran, Runs, assigned, noise, text};
use std::process::Command;

/// One JSON error with this code on standard error, and one line of text without `--json`.
#[track_caller]
fn refused(place: &Place, code: i32, words: &str, build: &dyn Fn(&mut Command)) {
    let run = |mut command: Command| -> Ran {
        build(&mut command);
        command.ran().expect(code)
    };
    let error = run(place.json()).error();
    assert!(error.contains(words) && !error.contains('\n'), "{error:?} lacks {words:?}");
    let said = run(place.owner()).stderr;
    assert!(said.starts_with("error: ") && said.contains(words), "{said}");
    if code != 2 {
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn bad_command_lines() {
    let place = Place::with_repository();
    let image = place.file("a.img", b"x");
    let volume = assigned("shop/data", &image);
    let cases: [(&str, &[&str]); 12] = [
        ("required", &["backup"]),
        ("NAME=PATH", &["backup", "--volume", "shop/data"]),
        ("NAMESPACE/CLAIM", &["backup", "--volume", "data=/x"]),
        ("given twice", &["backup", "--volume", "a/b=/x", "--volume", "a/b=/y"]),
        ("standard input", &["backup", "--volume", "a/b=-", "--volume", "a/c=-"]),
        ("RFC 3339", &["backup", "--volume", "a/b=-", "--time", "yesterday"]),
        ("-7 to 19", &["backup", "--volume", "a/b=-", "--compression", "20"]),
        ("KEY=VALUE", &["backup", "--volume", "a/b=-", "--label", "x"]),
        ("required", &["restore", "latest"]),
        ("percentage", &["check", "--read-data-subset", "0%"]),
        ("size", &["--memory", "much", "stats"]),
        ("cannot be used with", &["check", "--read-data", "--read-data-subset", "5%"]),
    ];
    for (words, args) in cases {
        refused(&place, 2, words, &|command| {
            command.args(args);
        });
    }
    refused(&place, 2, "cannot be used with", &|command| {
        command.args(["restore", "latest", "--target", "x", "--volume"]).arg(&volume);
    });
}

#[test]
fn inputs_that_cannot_be_read() {
    let place = Place::with_repository();
    let folder = place.path("owner.key").parent().unwrap().to_owned();
    let bad_yaml = place.file("bad.yaml", b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [\n");
    let twice = b"{apiVersion: v1, kind: A, metadata: {name: x}}\n---\n{apiVersion: v1, kind: A, metadata: {name: x}}\n";
    let twice = place.file("twice.yaml", twice);
    let backup = |flag: &'static str, value: std::ffi::OsString| {
        move |command: &mut Command| {
            command.args(["backup", flag]).arg(&value);
        }
    };
    let before = place.objects();
    refused(&place, 1, "No such file", &backup("--volume", assigned("s/d", place.path("missing"))));
    refused(&place, 1, "a directory found", &backup("--volume", assigned("s/d", &folder)));
    refused(&place, 1, "bad.yaml:", &backup("--manifests", bad_yaml.into()));
    refused(&place, 1, "already given at", &backup("--manifests", twice.into()));
    refused(&place, 1, "cannot be read", &backup("--manifests", place.path("missing.yaml").into()));
    assert_eq!(place.objects(), before, "nothing was uploaded");
}

#[test]
fn repositories_that_are_not_there_or_there_already() {
    let place = Place::with_repository();
    let nowhere = place.path("nowhere");
    refused(&place, 10, "no repository", &|command| {
        command.arg("-r").arg(&nowhere).arg("snapshots");
    });
    assert!(!nowhere.exists(), "asking makes nothing");
    std::fs::create_dir(&nowhere).unwrap();
    refused(&place, 10, "no repository", &|command| {
        command.arg("-r").arg(&nowhere).arg("snapshots");
    });
    refused(&place, 11, "exists already", &|command| {
        command.arg("init");
    });
    refused(&place, 2, "s3://BUCKET/PREFIX", &|command| {
        command.args(["-r", "s3://user:secret@host/x", "snapshots"]);
    });
    refused(&place, 2, "expected", &|command| {
        command.args(["-r", "ftp://host/x", "snapshots"]);
    });
    let none = common::binary().args(["snapshots", "--json"]).ran().expect(2).error();
    assert!(none.contains("ORLOP_REPOSITORY"), "{none}");
}

#[test]
fn keys_that_do_not_fit() {
    let place = Place::with_repository();
    let other = Place::with_repository();
    let stranger = other.path("owner.key");
    let opened = |key: &std::path::Path| {
        let mut command = place.bare();
        command.arg("--json").arg("--key-file").arg(key).arg("snapshots");
        command.ran()
    };
    assert!(opened(&stranger).expect(12).error().contains("wrong key file"));
    let mut typo = std::fs::read_to_string(&stranger).unwrap();
    let other = if &typo[30..31] == "a" { "b" } else { "a" };
    typo.replace_range(30..31, other);
    let typo = place.file("typo.key", typo.as_bytes());
    assert!(opened(&typo).stderr.contains("checksum does not match"));
    let wrong = place.bare().env("ORLOP_PASSWORD", "wrong").args(["snapshots", "--json"]).ran().expect(12);
    assert!(wrong.error().contains("password"));

    let pruner = place.path("pruner.key");
    place.owner().args(["key", "add", "--role", "prune", "--key-file-out"]).arg(&pruner).ran().expect(0);
    let source = place.file("a.img", &noise(6, 10_000));
    let mut backup = place.bare();
    backup
        .arg("--json")
        .arg("--key-file")
        .arg(&pruner)
        .args(["backup", "--volume"])
        .arg(assigned("s/d", &source));
    assert!(backup.ran().expect(12).error().contains("role"));
}

#[test]
fn snapshots_and_targets_that_do_not_fit() {
    let place = Place::with_repository();
    refused(&place, 2, "latest", &|command| {
        command.args(["show", "latest"]);
    });
    let source = place.file("a.img", &noise(7, 100_000));
    let id = place.backup("shop/data", &source);
    place.backup("shop/data", &source);
    refused(&place, 2, "ffffffff", &|command| {
        command.args(["show", "ffffffff"]);
    });
    refused(&place, 2, &id[..2], &|command| {
        // ids of one day begin alike
        command.args(["show", &id[..2]]);
    });
    let there = place.file("there.img", b"precious");
    let to = |name: &str| assigned(name, &there);
    refused(&place, 1, "there.img", &|command| {
        command.args(["restore", "latest", "--volume"]).arg(to("shop/data"));
    });
    assert_eq!(std::fs::read(&there).unwrap(), b"precious");
    place.owner().args(["restore", "latest", "--force", "--volume"]).arg(to("shop/data")).ran().expect(0);
    assert_eq!(std::fs::read(&there).unwrap(), noise(7, 100_000));
    let nowhere = place.path("new.img");
    refused(&place, 2, "shop/nothing", &|command| {
        command.args(["restore", "latest", "--volume"]).arg(assigned("shop/nothing", &nowhere));
    });
    assert!(!nowhere.exists());
}

#[test]
fn damage_is_found_and_named() {
    let place = Place::with_repository();
    let source = place.file("a.img", &noise(8, 300_000));
    let id = place.backup("shop/data", &source);
    let pack = place.first_pack();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();

    let ran = place.json().args(["check", "--read-data"]).ran().expect(13);
    let summary = ran.summary();
    let found = summary["errors"].as_array().unwrap();
    assert!(found.iter().any(|finding| text(finding, "object").contains(&name)), "{found:?}");
    let hurt = found.iter().flat_map(|finding| finding["snapshots"].as_array().unwrap());
    assert!(hurt.into_iter().any(|hurt| *hurt == *id), "{found:?}");
    assert!(ran.error().contains("damage"));
    let said = place.owner().args(["check", "--read-data"]).ran().expect(13);
    assert!(
        said.stdout.lines().any(|line| line.contains(&name) && line.contains(&id[24..])),
        "{}",
        said.stdout
    );
    let scrubbed = place.bare().args(["--json", "scrub"]).ran().expect(13);
    assert!(text(&scrubbed.summary()["errors"][0], "object").contains(&name));

    std::fs::remove_file(&pack).unwrap();
    place.json().arg("check").ran().expect(13);
    let target = place.path("new.img");
    refused(&place, 13, &name, &|command| {
        command.args(["restore", "latest", "--force", "--volume"]).arg(assigned("shop/data", &target));
    });
}
