//! Where no secret may be.

use crate::orlop::{Lab, Ran, binary};
use std::os::unix::fs::PermissionsExt;

const PASSWORD: &str = "kein-wort-davon";

#[test]
fn a_password_is_said_nowhere() {
    let mut lab = Lab::local();
    lab.file("data.img", "data");
    lab.file("password", PASSWORD);
    lab.run("key add --role owner --new-password-file password").ok();
    lab.set("ORLOP_PASSWORD", PASSWORD);
    let lines = [
        "-v snapshots",
        "-v backup --volume shop/data=data.img",
        "-v --json backup --volume shop/data=gone",
        "-v restore nope --target out",
        "-v -r nowhere snapshots",
        "-v --json key list",
        "--help",
        "backup --nonsense",
    ];
    for line in lines {
        let ran = lab.bare_run(line.split(' '));
        assert!(!ran.out.contains(PASSWORD) && !ran.err.contains(PASSWORD), "{line}: {ran:?}");
    }
    lab.set("ORLOP_PASSWORD", &format!("{PASSWORD}-not"));
    for line in ["-v snapshots", "-v --json stats"] {
        let ran = lab.bare_run(line.split(' '));
        assert!(ran.code == 12 && !ran.err.contains(PASSWORD), "{line}: {ran:?}");
    }
    lab.assert_intact();
}

/// The password command is a child like any other: it looks at itself and at us.
#[test]
fn children_and_command_lines_hold_no_password() {
    let mut lab = Lab::local();
    lab.file("password", PASSWORD);
    lab.run("key add --role read --new-password-file password").ok();
    let spy = "cat /proc/$$/environ >child-env; cat /proc/$$/cmdline >child-line; cat /proc/$PPID/cmdline >line; \
               env >env; cat password";
    lab.set("ORLOP_PASSWORD_COMMAND", spy);
    let mut command = lab.command(binary());
    Ran::of(&command.arg("snapshots").output().unwrap()).ok();
    // the owner's key opens, so that the password in the environment is only there to leak
    lab.set("ORLOP_PASSWORD", PASSWORD);
    let mut command = lab.command(binary());
    let new = "cat /proc/$$/environ >child-env2; cat /proc/$PPID/cmdline >line2; echo another";
    command.arg("--key-file").arg(lab.key()).args([
        "key",
        "add",
        "--role",
        "read",
        "--new-password-command",
        new,
    ]);
    Ran::of(&command.output().unwrap()).ok();
    for file in ["child-env", "child-line", "line", "env", "child-env2", "line2"] {
        let text = std::fs::read(lab.path(file)).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.is_empty() && !text.contains(PASSWORD), "{file}: {text}");
        assert!(file.contains("line") || !text.contains("ORLOP_PASSWORD"), "{file}: {text}");
    }
    lab.set("ORLOP_PASSWORD", "");
    lab.set("ORLOP_PASSWORD_COMMAND", &format!("echo {PASSWORD}; exit 3"));
    let ran = lab.bare_run(["snapshots"]).refused(1, &["ORLOP_PASSWORD_COMMAND", "exit status: 3"]);
    assert!(!ran.err.contains(PASSWORD), "{ran:?}");
}

#[test]
fn key_files_are_private_and_never_replaced() {
    let lab = Lab::local();
    lab.run("key add --role read --key-file-out read.key").ok();
    for key in ["owner.key", "read.key"] {
        let mode = std::fs::metadata(lab.path(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{key}");
    }
    let before = std::fs::read(lab.path("read.key")).unwrap();
    lab.run("key add --role read --key-file-out read.key").refused(1, &["read.key", "exists"]);
    assert_eq!(std::fs::read(lab.path("read.key")).unwrap(), before);
    lab.assert_intact();
}

/// A hint says which slot to ask for first. Whatever it says, keys open what they open.
#[test]
fn a_hint_of_a_key_slot_opens_nothing_by_itself() {
    let lab = Lab::local();
    let added = lab.run("--json key add --role backup --key-file-out some.key").ok().summary();
    lab.file("data.img", "data");
    let line = "--key-file some.key --cache-dir cache --json backup --dry-run --volume shop/data=data.img";
    let read = || lab.bare_run(line.split(' '));
    let requests = || read().ok().summary()["store_requests"].as_u64().unwrap();
    let (cold, warm) = (requests(), requests());
    assert!(warm + 2 <= cold, "{cold} requests, then {warm}");
    let hint = std::fs::read_dir(lab.path("cache/slots")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::metadata(&hint).unwrap().permissions().mode() & 0o777, 0o600);
    let precious = lab.file("precious", "0".repeat(32));
    for text in ["", "x", &"0".repeat(32), &"0".repeat(1 << 20)] {
        std::fs::write(&hint, text).unwrap();
        read().ok();
        assert_eq!(requests(), warm, "it is written anew");
    }
    std::fs::remove_file(&hint).unwrap();
    std::os::unix::fs::symlink(&precious, &hint).unwrap();
    read().ok();
    assert_eq!(std::fs::read(&precious).unwrap(), "0".repeat(32).as_bytes());
    std::fs::remove_file(&hint).unwrap();
    read().ok();
    lab.run(&format!("key remove {}", added["slot_id"].as_str().unwrap())).ok();
    assert_eq!(read().code, 12, "a key that was removed");
}
