//! Stores and targets that are full or may not be written.

use crate::orlop::{Lab, skip};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A small file system in memory; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this machine does not let us mount; already reported.
    fn new(name: &str, lab: &Lab, size: &str) -> Option<Mount> {
        let path = lab.path(name);
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Mount(path));
        }
        skip("full and read-only disks", "mounting a tmpfs needs root");
        None
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let lab = Lab::bare();
    let Some(mount) = Mount::new("small", &lab, "8m") else { return };
    let lab = lab.at(mount.0.join("repo").to_str().unwrap());
    lab.init();
    let data = tests::data::bytes(6, 1_000_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    lab.file("big.img", tests::data::bytes(7, 20_000_000));
    let full = |lab: &Lab| {
        lab.run("backup --volume shop/big=big.img").refused(1, &["put", "packs/", "No space left"])
    };
    full(&lab);
    full(&lab);
    assert_eq!(lab.snapshots().len(), 1);
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
    mount.remount("size=64m");
    lab.backup("--volume shop/big=big.img");
    lab.assert_intact();
}

#[test]
fn a_full_target_is_named_and_removed() {
    let lab = Lab::local();
    let Some(mount) = Mount::new("small", &lab, "1m") else { return };
    lab.file("data.img", tests::data::bytes(8, 3_000_000));
    lab.backup("--volume shop/data=data.img");
    lab.run("restore latest --volume shop/data=small/out").refused(1, &["small/out", "No space left"]);
    assert!(!mount.0.join("out").exists());
    lab.assert_intact();
}

#[test]
fn a_read_only_store_can_be_read() {
    let lab = Lab::bare();
    let Some(mount) = Mount::new("fixed", &lab, "8m") else { return };
    let lab = lab.at(mount.0.join("repo").to_str().unwrap());
    lab.init();
    let data = tests::data::bytes(9, 500_000);
    lab.file("data.img", &data);
    lab.backup("--volume shop/data=data.img");
    lab.file("new.img", tests::data::bytes(10, 500_000));
    mount.remount("ro");
    lab.assert_restores("latest", "shop/data", &data);
    lab.assert_intact();
    let refused = |line: &str, word: &str| lab.run(line).refused(1, &[word, "Read-only file system"]);
    refused("backup --volume shop/data=new.img", "repo/");
    refused("key add --role read --key-file-out no.key", "keys/");
    assert!(!lab.path("no.key").exists());
    let other = mount.0.join("other");
    refused(&format!("-r {} init", other.display()), "other");
    mount.remount("rw");
    lab.backup("--volume shop/data=new.img");
    lab.assert_intact();
}
