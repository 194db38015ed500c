//! What a volume is restored to.

use crate::direct::{ALIGNMENT, lead, reopen};
use crate::{Error, Result};
use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Zeros written at once.
const ZEROS_LEN: usize = 1 << 20;
/// Shorter writes go through the page cache, which gathers them.
const DIRECT_LEN_MIN: usize = 256 << 10;

/// A file or a device that is being written.
#[derive(Clone)]
pub(super) struct Target {
    file: Arc<File>,
    /// The same, written past the page cache, where the system has that.
    direct: Option<Arc<File>>,
    path: Arc<PathBuf>,
    device: bool,
}

/// A file that was made here and is removed on drop, unless it is to be kept.
pub(super) struct Created(Option<PathBuf>);

impl Created {
    /// It is whole.
    pub(super) fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // nothing is left to tell it to: the reason for the removal is the error that people see
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Target {
    /// Opens a target for `len` bytes.
    ///
    /// A path where nothing is becomes a new file that only its owner can read; a regular file is
    /// taken if `force` is given; [`prepare`](Self::prepare) empties it. A block device must hold `len` bytes and be in nobody's use:
    /// the kernel refuses to open one exclusively that is mounted or part of another device.
    pub(super) fn open(path: &Path, len: u64, force: bool) -> Result<(Self, Option<Created>)> {
        let refused = |text: &str| target_error(path, "refused", io::Error::other(text.to_owned()));
        let kind = match std::fs::metadata(path) {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(path, len),
            Err(error) => return Err(target_error(path, "opening failed", error)),
        };
        if kind.is_block_device() {
            return Self::open_device(path, len);
        }
        if kind.is_dir() {
            return Err(refused("a directory, a file or a block device expected"));
        }
        if !kind.is_file() {
            return Err(refused("neither a regular file nor a block device"));
        }
        if !force {
            return Err(refused("the file exists already; --force overwrites it"));
        }
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| target_error(path, "opening failed", error))?;
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        if !is_file {
            return Err(refused("it was replaced while it was opened"));
        }
        let target = Self::new(file, path, false);
        Ok((target, None))
    }

    fn new(file: File, path: &Path, device: bool) -> Self {
        let direct = reopen(&file, OpenOptions::new().write(true)).map(Arc::new);
        Target { file: Arc::new(file), direct, path: Arc::new(path.to_owned()), device }
    }

    fn create(path: &Path, len: u64) -> Result<(Self, Option<Created>)> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| target_error(path, "creating failed", error))?;
        let created = Created(Some(path.to_owned()));
        let target = Self::new(file, path, false);
        target.set_len(len)?;
        Ok((target, Some(created)))
    }

    fn open_device(path: &Path, len: u64) -> Result<(Self, Option<Created>)> {
        let exclusive = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        let opened = OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                target_error(path, "refused", io::Error::other("the device is mounted or otherwise in use"))
            }
            _ => target_error(path, "opening failed", error),
        })?;
        let found = rustix::fs::seek(&file, SeekFrom::End(0));
        let found = found.map_err(|error| target_error(path, "asking for its size failed", error.into()))?;
        if found < len {
            let text = format!("too small: it has {found} bytes, the volume {len}");
            return Err(target_error(path, "refused", io::Error::other(text)));
        }
        Ok((Self::new(file, path, true), None))
    }

    /// Empties an overwritten file and gives it its size; called once all targets are accepted.
    pub(super) fn prepare(&self, len: u64) -> Result<()> {
        if self.device {
            return Ok(());
        }
        self.set_len(0)?;
        self.set_len(len)
    }

    /// Gives an overwritten file its size; what is in it stays.
    pub(super) fn prepare_in_place(&self, len: u64) -> Result<()> {
        if self.device { Ok(()) } else { self.set_len(len) }
    }

    /// Offsets and lengths of what may be other than zero within a range.
    pub(super) fn data_in(&self, offset: u64, len: u64) -> Result<Vec<(u64, u64)>> {
        let (mut at, end) = (offset, offset.saturating_add(len));
        if self.device {
            return Ok(vec![(offset, len)]);
        }
        let seek = |to| match rustix::fs::seek(&self.file, to) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(self.error("looking for holes failed".into(), error.into())),
        };
        let mut parts = Vec::new();
        while at < end {
            let Some(data) = seek(SeekFrom::Data(at))?.filter(|data| *data < end) else { break };
            let hole = seek(SeekFrom::Hole(data))?.unwrap_or(end).clamp(data.saturating_add(1), end);
            parts.push((data.max(at), hole - data.max(at)));
            at = hole;
        }
        Ok(parts)
    }

    /// Makes a range zero: a hole where the file system has them.
    pub(super) fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.device || rustix::fs::fallocate(&*self.file, flags, offset, len).is_err() {
            return self.write_zeros(offset, len);
        }
        Ok(())
    }

    /// Device and inode: two volumes must not go to one file.
    pub(super) fn identity(&self) -> Result<(u64, u64)> {
        let stat =
            self.file.metadata().map_err(|error| self.error("asking what it is failed".into(), error))?;
        Ok(if self.device { (stat.rdev(), u64::MAX) } else { (stat.dev(), stat.ino()) })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file
            .set_len(len)
            .map_err(|error| self.error(format!("setting its size to {len} bytes failed"), error))
    }

    /// Holes have to be written: what was there before is not zero.
    pub(super) fn is_device(&self) -> bool {
        self.device
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.write_direct(offset, bytes).and_then(|written| {
            let rest = bytes.get(written..).unwrap_or_default();
            self.file.write_all_at(rest, offset.saturating_add(written as u64))
        });
        written.map_err(|error| {
            self.error(format!("writing {} bytes at offset {offset} failed", bytes.len()), error)
        })
    }

    /// Writes what may go past the page cache, from the first byte on, and says how much that was.
    fn write_direct(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let Some(direct) = &self.direct else { return Ok(0) };
        let aligned = offset.is_multiple_of(ALIGNMENT as u64) && lead(bytes) == 0;
        let len = bytes.len() / ALIGNMENT * ALIGNMENT;
        if !aligned || len < DIRECT_LEN_MIN {
            return Ok(0);
        }
        match direct.write_all_at(bytes.get(..len).unwrap_or_default(), offset) {
            Ok(()) => Ok(len),
            // some file systems take the flag and refuse the writes
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Writes zeros.
    pub(super) fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        let zeros = vec![0; ZEROS_LEN];
        let (mut offset, mut left) = (offset, len);
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(ZEROS_LEN).min(ZEROS_LEN);
            self.write(offset, zeros.get(..part).unwrap_or_default())?;
            offset = offset.saturating_add(part as u64);
            left -= part as u64;
        }
        Ok(())
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(buf, offset);
        read.map_err(|error| {
            self.error(format!("reading back {} bytes at offset {offset} failed", buf.len()), error)
        })
    }

    /// Waits until all is on the medium, a new file's name included.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = self.file.sync_all().and_then(|()| {
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if self.device { Ok(()) } else { File::open(parent.unwrap_or(Path::new(".")))?.sync_all() }
        });
        synced.map_err(|error| self.error("syncing failed".into(), error))
    }

    /// Asks the kernel to read from the medium what is read next. It may not.
    pub(super) fn forget_cached(&self) {
        let _ = rustix::fs::fadvise(&*self.file, 0, None, Advice::DontNeed);
    }

    /// What was read back is not what was written.
    pub(super) fn differs(&self, offset: u64, len: u64) -> Error {
        let text = format!("{len} bytes at offset {offset} are not what was written");
        self.error("verifying failed".into(), io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn error(&self, what: String, source: io::Error) -> Error {
        Error::Target { target: self.path.display().to_string(), what, source }
    }
}

fn target_error(path: &Path, what: &str, source: io::Error) -> Error {
    Error::Target { target: path.display().to_string(), what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn refusal(path: &Path, force: bool) -> String {
        Target::open(path, 10_000, force).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_new_file_is_private_sparse_and_gone_unless_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let (target, created) = Target::open(&path, 1 << 30, false).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.len(), found.mode() & 0o777), (1 << 30, 0o600));
        target.write(4096, b"x").unwrap();
        target.sync().unwrap();
        assert!(std::fs::metadata(&path).unwrap().blocks() < 1 << 20);
        drop(created);
        assert!(!path.exists());
        let (_, created) = Target::open(&path, 1, false).unwrap();
        created.unwrap().keep();
        assert!(path.exists());
    }

    #[test]
    fn what_goes_past_the_page_cache_and_what_does_not_make_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let (target, _created) = Target::open(&path, 3 << 20, false).unwrap();
        // without the flag, which not every file system has: a device of the operator's tests is written with it
        let direct = OpenOptions::new().write(true).open(&path).map(Arc::new).ok();
        let target = Target { direct, ..target };
        let mut bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let start = lead(&bytes);
        let aligned = &mut bytes[start..];
        aligned[0] = 1;
        let mut wanted = vec![0; 3 << 20];
        // with a tail that is no whole block, beside the grid, and too short
        for (offset, len, past) in [(8192, 1_000_001, 999_424), (2_000_001, 700_000, 0), (2_899_968, 5000, 0)]
        {
            assert_eq!(target.write_direct(offset, &aligned[..len]).unwrap(), past);
            target.write(offset, &aligned[..len]).unwrap();
            wanted[offset as usize..offset as usize + len].copy_from_slice(&aligned[..len]);
        }
        assert_eq!(target.write_direct(8192, &aligned[1..]).unwrap(), 0, "beside an aligned address");
        assert!(std::fs::read(&path).unwrap() == wanted);
    }

    #[test]
    fn a_file_is_overwritten_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, [7; 20_000]).unwrap();
        assert!(refusal(&path, false).ends_with("refused: the file exists already; --force overwrites it"));
        assert_eq!(std::fs::read(&path).unwrap(), [7; 20_000]);
        let (target, created) = Target::open(&path, 10_000, true).unwrap();
        assert!(created.is_none());
        assert_eq!(std::fs::read(&path).unwrap(), [7; 20_000], "another target may still be refused");
        target.prepare(10_000).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 10_000]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refusal(folder.path(), true).contains("a directory"));
        assert!(refusal(Path::new("/dev/null"), true).contains("neither a regular file nor"));
        assert!(refusal(&folder.path().join("none/image"), false).contains("creating failed"));
    }
}
