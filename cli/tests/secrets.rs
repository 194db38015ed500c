//! Passwords and keys: where they come from, who sees them, which slots they open.

mod common;

use common::{Place, Runs, binary, text};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

#[test]
fn every_source_of_a_password_opens_the_repository() {
    let place = Place::empty();
    let file = place.file("password", b"geheim\n");
    place.bare().env("ORLOP_PASSWORD_FILE", &file).arg("init").ran().expect(0);
    let listed = |change: &dyn Fn(&mut Command)| {
        let mut command = place.bare();
        change(&mut command);
        command.args(["key", "list", "--json"]).ran()
    };
    listed(&|command| {
        command.env("ORLOP_PASSWORD", "geheim");
    })
    .expect(0);
    // options come before variables, and the command sees none of them
    listed(&|command| {
        command.env("ORLOP_PASSWORD", "wrong").arg("--password-file").arg(&file);
    })
    .expect(0);
    let print = format!("env | grep ^ORLOP_PASSWORD && exit 1; cat '{}'", file.display());
    listed(&|command| {
        command.env("ORLOP_PASSWORD", "").env("ORLOP_PASSWORD_COMMAND", &print);
    })
    .expect(0);
    let failed = listed(&|command| {
        command.env("ORLOP_PASSWORD_COMMAND", "echo geheim >/dev/null; exit 7");
    });
    let error = failed.expect(1).error();
    assert!(error.contains("exit status: 7") && !error.contains("geheim"), "{error}");
    let missing = listed(&|command| {
        command.env("ORLOP_PASSWORD_FILE", place.path("missing"));
    });
    assert!(missing.expect(1).error().contains("missing"));
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let place = Place::with_repository();
    let mut command = Command::new("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_orlop"), "--json", "snapshots"]);
    for variable in ["ORLOP_PASSWORD", "ORLOP_PASSWORD_FILE", "ORLOP_PASSWORD_COMMAND"] {
        command.env_remove(variable);
    }
    command.env("ORLOP_REPOSITORY", place.path("repository")).stdin(Stdio::null());
    assert!(command.ran().expect(2).error().contains("no terminal"));
}

#[test]
fn key_files_are_new_and_private() {
    let place = Place::with_repository();
    let owner = place.path("owner.key");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&owner), 0o600);
    assert!(std::fs::read_to_string(&owner).unwrap().starts_with("orlop-key-1-"));
    place.owner().args(["key", "add", "--role", "read", "--key-file-out"]).arg(&owner).ran().expect(1);
    std::fs::set_permissions(&owner, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warned = place.owner().arg("snapshots").ran().expect(0).stderr;
    assert!(warned.starts_with("warning: key file") && warned.contains("0644"), "{warned}");
}

#[test]
fn slots_come_go_and_change() {
    let place = Place::with_repository();
    let password = place.file("password", b"geheim");
    let mut add = place.json();
    add.args(["key", "add", "--role", "owner", "--label", "second", "--new-password-file"]).arg(&password);
    let added = text(&add.ran().expect(0).summary(), "slot_id");
    let backup_key = place.path("backup.key");
    place.owner().args(["key", "add", "--role", "backup", "--key-file-out"]).arg(&backup_key).ran().expect(0);

    let slots = place.json().args(["key", "list"]).ran().expect(0).array();
    let roles: Vec<String> = slots.iter().map(|slot| text(slot, "role")).collect();
    assert_eq!(roles, ["owner", "owner", "owner", "backup"], "first, recovery, second, backup");
    assert_eq!(slots.iter().filter(|slot| slot["current"] == true).count(), 1);
    let slot = place.json().args(["cat", "slot", &added]).ran().expect(0).stdout;
    assert!(slot.contains("second") && !slot.contains("box"), "{slot}");

    // an owner's verb with less than an owner's key
    let mut other = place.bare();
    other.arg("--key-file").arg(&backup_key).args(["key", "add", "--role", "read", "--key-file-out"]);
    other.arg(place.path("never.key")).ran().expect(12);
    assert!(!place.path("never.key").exists(), "a key that opens nothing is not left behind");

    let next = place.file("next", b"naechstes");
    let mut passwd = place.bare();
    passwd.arg("--password-file").arg(&password).args(["key", "passwd", "--new-password-file"]).arg(&next);
    passwd.ran().expect(0);
    let opens = |file| place.bare().arg("--password-file").arg(file).arg("snapshots").ran();
    opens(&password).expect(12);
    opens(&next).expect(0);

    let slots = place.json().args(["key", "list"]).ran().expect(0).array();
    let second =
        slots.iter().find(|slot| slot["label"] == "second").map(|slot| text(slot, "slot_id")).unwrap();
    assert_ne!(second, added);
    place.owner().args(["key", "remove", &second[..12]]).ran().expect(0);
    opens(&next).expect(12);
    let current =
        slots.iter().find(|slot| slot["current"] == true).map(|slot| text(slot, "slot_id")).unwrap();
    place.owner().args(["key", "remove", &current]).ran().expect(2);
    place.owner().args(["key", "remove", "zz"]).ran().expect(2);
}

#[test]
fn nobody_reading_is_no_error() {
    let mut child = binary().args(["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
