//! Block devices, as nodes have them.

use crate::orlop::{Lab, skip};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file as a block device; detached when dropped.
struct Loop(PathBuf);

impl Loop {
    /// `None` where this machine does not let us; already reported.
    fn new(file: &Path) -> Option<Loop> {
        let made =
            Command::new("losetup").args(["--find", "--show"]).arg(file).stderr(Stdio::null()).output();
        let name = made
            .ok()
            .filter(|made| made.status.success())
            .and_then(|made| String::from_utf8(made.stdout).ok());
        if name.is_none() {
            skip("block devices", "losetup needs root and a kernel with loop devices");
        }
        name.map(|name| Loop(name.trim_end().into()))
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Reads a block if it lies in the page cache.
fn in_memory(file: &File, offset: u64) -> Result<usize, Errno> {
    preadv2(file, &mut [IoSliceMut::new(&mut [0; 4096])], offset, ReadWriteFlags::NOWAIT)
}

#[test]
fn a_device_is_backed_up_and_restored_to_another() {
    let lab = Lab::local();
    // no multiple of what a direct read asks for: 512 bytes more
    let mut content = tests::data::mixed(70, 9_000_448);
    content[3_000_000..5_000_000].fill(0);
    // a long stretch without anything twice, wherever this repository cuts
    content[6 << 20..8 << 20].copy_from_slice(&tests::data::bytes(71, 2 << 20));
    let Some(device) = Loop::new(&lab.file("disk", &content)) else { return };
    // open all the time: the last one to close a device takes its pages along
    let file = File::options().read(true).write(true).open(&device.0).unwrap();
    let backup = lab.backup(&format!("--volume shop/data={}", device.name()));
    lab.assert_restores(&backup, "shop/data", &content);

    // what a backup reads of a device is not left in memory
    for offset in [1 << 20, 5 << 20, 6 << 20] {
        assert_eq!(in_memory(&file, offset), Err(Errno::AGAIN), "offset {offset}");
    }

    // what is written to it is seen by the next backup, though other pages of it lie in memory
    file.read_exact_at(&mut vec![0; 1_000_000], 0).unwrap();
    file.write_all_at(&[7; 300_000], 100_000).unwrap();
    file.sync_all().unwrap();
    content[100_000..400_000].fill(7);
    let later = lab.backup(&format!("--volume shop/data={}", device.name()));
    lab.assert_restores(&later, "shop/data", &content);

    let Some(target) = Loop::new(&lab.file("other", vec![0xaa; content.len()])) else { return };
    let watch = File::open(&target.0).unwrap();
    lab.run(&format!("restore {later} --volume shop/data={} --force", target.name())).ok();
    // nor what a restore writes in long stretches
    assert_eq!(in_memory(&watch, 7 << 20), Err(Errno::AGAIN));
    lab.run(&format!("restore {later} --volume shop/data={} --force --verify", target.name())).ok();
    drop((watch, target));
    assert!(std::fs::read(lab.path("other")).unwrap() == content);
    lab.assert_intact();
}
