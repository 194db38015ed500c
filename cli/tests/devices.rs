//! Block devices as source and target, on loop devices; they need root.

mod common;

use common::{Place, Runs, assigned, noise, number, skip};
use std::path::Path;
use std::process::Command;

/// A loop device over a file, detached on drop.
struct Loop(String);

impl Loop {
    /// None where the machine has no loop devices for us; that is counted as a skip.
    fn over(file: &Path) -> Option<Loop> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let reason = match output {
            Ok(output) if output.status.success() => {
                return Some(Loop(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("losetup: {error}"),
        };
        skip("loop devices", &reason);
        None
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A mount, ended on drop.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Three MiB of data between holes, eight in all.
fn image() -> Vec<u8> {
    let mut image = vec![0; 8 << 20];
    image[1 << 20..3 << 20].copy_from_slice(&noise(1, 2 << 20));
    image[6 << 20..7 << 20].copy_from_slice(&noise(2, 1 << 20));
    image
}

#[test]
fn devices_are_written_over_and_backed_up() {
    let (place, image) = (Place::with_repository(), image());
    let id = place.backup("shop/data", &place.file("source.img", &image));
    for len in [8 << 20, 12 << 20] {
        let before = noise(3, len);
        let backing = place.file("target.img", &before);
        let Some(device) = Loop::over(&backing) else { return };
        let mut restore = place.owner();
        restore.args(["restore", &id, "--verify", "--volume"]).arg(assigned("shop/data", &device.0));
        restore.ran().expect(0);
        let found = std::fs::read(&device.0).unwrap();
        assert!(found[..image.len()] == image, "holes become zeros");
        assert!(found[image.len()..] == before[image.len()..], "what lies behind the volume stays");
        let mut backup = place.json();
        backup.args(["backup", "--volume"]).arg(assigned("shop/device", &device.0));
        let summary = backup.ran().expect(0).summary();
        assert_eq!(number(&summary, "bytes_read"), len as u64);
        let back = place.path(&format!("back-{len}.img"));
        let mut restore = place.owner();
        restore.args(["restore", "latest", "--volume"]).arg(assigned("shop/device", &back)).ran().expect(0);
        assert!(std::fs::read(back).unwrap() == found);
    }
}

#[test]
fn small_and_mounted_devices_are_refused() {
    let place = Place::with_repository();
    let id = place.backup("shop/data", &place.file("source.img", &image()));
    let restore = |device: &Loop| {
        let mut restore = place.json();
        restore.args(["restore", &id, "--force", "--volume"]).arg(assigned("shop/data", &device.0));
        restore.ran().expect(1).error()
    };
    let before = noise(4, 4 << 20);
    let small = place.file("small.img", &before);
    let Some(device) = Loop::over(&small) else { return };
    let said = restore(&device);
    assert!(said.contains("too small: it has 4194304 bytes, the volume 8388608"), "{said}");
    drop(device);
    assert!(std::fs::read(small).unwrap() == before);

    let backing = place.file("mounted.img", &vec![0; 12 << 20]);
    let Some(device) = Loop::over(&backing) else { return };
    let folder = place.path("mount");
    std::fs::create_dir(&folder).unwrap();
    let made = Command::new("mke2fs").args(["-q", "-F", &device.0]).status();
    if !made.is_ok_and(|made| made.success()) {
        skip("mounted devices", "mke2fs does not work");
        return;
    }
    let mounted = Command::new("mount").arg(&device.0).arg(&folder).output().unwrap();
    if !mounted.status.success() {
        skip("mounted devices", String::from_utf8_lossy(&mounted.stderr).trim());
        return;
    }
    let _mount = Mount(&folder);
    std::fs::write(folder.join("kept"), b"kept").unwrap();
    let said = restore(&device);
    assert!(said.contains("mounted or otherwise in use"), "{said}");
    assert_eq!(std::fs::read(folder.join("kept")).unwrap(), b"kept");
}
