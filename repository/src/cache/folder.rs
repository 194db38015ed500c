//! Copies that stay: one file an object, private, in `runs/` and `packs/` of the folder of a repository.

use super::Kind;
use repo_format::PackId;
use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Opening neither follows a link nor waits for the other end of a pipe.
pub(super) const FLAGS: i32 = (rustix::fs::OFlags::NOFOLLOW.bits()
    | rustix::fs::OFlags::NONBLOCK.bits()
    | rustix::fs::OFlags::CLOEXEC.bits()) as i32;
/// What a piece takes on a disk is counted in blocks of this length.
const DISK_BLOCK_LEN: u64 = 4096;
/// After too many bytes as many are dropped that this share is left, in percent.
const KEPT_PERCENT: u64 = 75;

/// The folder of one repository.
pub(super) struct Folder {
    path: PathBuf,
    len_max: u64,
    /// Bytes on the disk when it was opened and written since, by this process.
    len: AtomicU64,
}

/// A copy as the folder lists it.
struct Listed {
    path: PathBuf,
    pack_id: Option<PackId>,
    len: u64,
    changed: SystemTime,
}

impl Folder {
    pub(super) fn open(path: &Path, len_max: u64) -> io::Result<Self> {
        for kind in [Kind::Run, Kind::Pack] {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(name_of(kind)))?;
        }
        let folder = Folder { path: path.to_owned(), len_max, len: AtomicU64::new(0) };
        let len = folder.list(Kind::Run).chain(folder.list(Kind::Pack)).map(|copy| copy.len).sum();
        folder.len.store(len, Ordering::Relaxed);
        Ok(folder)
    }

    fn file(&self, kind: Kind, pack_id: &PackId) -> PathBuf {
        self.path.join(name_of(kind)).join(pack_id.to_string())
    }

    pub(super) fn open_to_read(&self, kind: Kind, pack_id: &PackId) -> Option<File> {
        let opened = OpenOptions::new().read(true).custom_flags(FLAGS).open(self.file(kind, pack_id)).ok()?;
        is_plain(&opened).then_some(opened)
    }

    pub(super) fn write(&self, kind: Kind, pack_id: &PackId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64).div_ceil(DISK_BLOCK_LEN);
        let len = end.saturating_sub(offset / DISK_BLOCK_LEN).saturating_mul(DISK_BLOCK_LEN);
        if self.len.load(Ordering::Relaxed).saturating_add(len) > self.len_max {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(FLAGS);
        let file = options.open(self.file(kind, pack_id))?;
        if is_plain(&file) {
            self.len.fetch_add(len, Ordering::Relaxed);
            file.write_all_at(bytes, offset)?;
        }
        Ok(())
    }

    pub(super) fn retain(&self, runs: &HashSet<PackId>, packs: &HashSet<PackId>) {
        let mut kept: Vec<Listed> = Vec::new();
        for (kind, there) in [(Kind::Run, runs), (Kind::Pack, packs)] {
            for copy in self.list(kind) {
                if copy.pack_id.is_some_and(|pack_id| there.contains(&pack_id)) {
                    kept.push(copy);
                } else {
                    let _ = std::fs::remove_file(&copy.path);
                }
            }
        }
        let mut len: u64 = kept.iter().map(|copy| copy.len).sum();
        if len > self.len_max {
            kept.sort_by(|a, b| (b.changed, &b.path).cmp(&(a.changed, &a.path)));
            while len > self.len_max / 100 * KEPT_PERCENT
                && let Some(oldest) = kept.pop()
            {
                let _ = std::fs::remove_file(&oldest.path);
                len = len.saturating_sub(oldest.len);
            }
        }
        self.len.store(len, Ordering::Relaxed);
    }

    fn list(&self, kind: Kind) -> impl Iterator<Item = Listed> + use<> {
        let listed = std::fs::read_dir(self.path.join(name_of(kind)));
        listed.into_iter().flatten().flatten().filter_map(|entry| {
            // of a link itself, not of what it points to
            let meta = entry.metadata().ok().filter(|meta| !meta.is_dir())?;
            let pack_id = entry.file_name().to_str().and_then(|name| PackId::parse(name).ok());
            let (len, changed) = (meta.blocks().saturating_mul(512), meta.modified().ok()?);
            Some(Listed { path: entry.path(), pack_id, len, changed })
        })
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "runs",
        Kind::Pack => "packs",
    }
}

/// A file of this user, and no pipe or device that somebody has put there.
pub(super) fn is_plain(file: &File) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.uid() == uid)
}
