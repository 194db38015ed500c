//! Image files and block devices.

use super::direct::DirectFile;
use super::{BlockSource, ChangeToken};
use rustix::fs::SeekFrom;
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A ctime this close to the start of a backup may hide a later write in the same tick.
const RACY_MS: u64 = 2000;

/// An image file or a block device, read with `pread`; a device past the page cache.
pub struct FileSource {
    file: File,
    len: u64,
    device: bool,
    direct: Option<DirectFile>,
    opened: Metadata,
}

/// Why a path cannot be a volume.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system's answer.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Something else is there.
    #[error("{path}: {found} found, an image file or a block device expected")]
    Kind {
        /// The path.
        path: PathBuf,
        /// A directory, a socket...
        found: &'static str,
    },
}

impl FileSource {
    /// Opens a regular file or a block device for reading.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        // looked at before it is opened: opening a FIFO would wait for a writer
        let kind = std::fs::metadata(path).map_err(io)?.file_type();
        let found = if kind.is_dir() {
            Some("a directory")
        } else if kind.is_char_device() {
            Some("a character device")
        } else if kind.is_fifo() {
            Some("a pipe")
        } else if kind.is_socket() {
            Some("a socket")
        } else {
            None
        };
        if let Some(found) = found {
            return Err(OpenError::Kind { path: path.to_owned(), found });
        }
        let file = File::open(path).map_err(io)?;
        let opened = file.metadata().map_err(io)?;
        let device = opened.file_type().is_block_device();
        let len = if device { device_len(&file).map_err(io)? } else { opened.len() };
        let direct = if device { DirectFile::of(&file) } else { None };
        Ok(FileSource { file, len, device, direct, opened })
    }

    fn token(&self, stat: &Metadata) -> Option<ChangeToken> {
        // a device has no times that say anything about its content
        (!self.device).then(|| ChangeToken {
            driver: "file-stat".into(),
            handle: format!("{}:{}", stat.dev(), stat.ino()),
            id: format!(
                "{} {}.{:09} {}.{:09}",
                stat.len(),
                stat.mtime(),
                stat.mtime_nsec(),
                stat.ctime(),
                stat.ctime_nsec()
            ),
        })
    }
}

fn device_len(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, SeekFrom::End(0))?)
}

impl BlockSource for FileSource {
    fn byte_len(&self) -> u64 {
        self.len
    }

    fn is_device(&self) -> bool {
        self.device
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let read = match &self.direct {
            Some(direct) => direct.read_at(offset, buf),
            None => self.file.read_exact_at(buf, offset),
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let what = format!("it ended early: {} bytes expected in all, it must not shrink", self.len);
                io::Error::new(io::ErrorKind::UnexpectedEof, what)
            }
            _ => error,
        })
    }

    fn read_at_hand(&self, offset: u64, buf: &mut [u8]) -> usize {
        if self.direct.is_some() {
            return 0;
        }
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(filled as u64);
            // errors and the end are for the read that waits: it says what is wrong, and where
            match preadv2(&self.file, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT) {
                Ok(len @ 1..) => filled += len,
                _ => break,
            }
        }
        filled
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        if self.device || offset >= self.len {
            return Ok(offset);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data.max(offset)),
            // nothing but holes follows, unless the file was cut off meanwhile
            Err(rustix::io::Errno::NXIO) if self.file.metadata()?.len() >= self.len => Ok(self.len),
            Err(rustix::io::Errno::NXIO) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => Ok(offset),
        }
    }

    fn finish(&self, started_ms: u64) -> io::Result<Option<ChangeToken>> {
        let stat = self.file.metadata()?;
        let len = if self.device { device_len(&self.file)? } else { stat.len() };
        if len != self.len {
            let what = format!("the size changed from {} to {len} bytes while it was read", self.len);
            return Err(io::Error::other(what));
        }
        let ctime_ms = u64::try_from(stat.ctime()).unwrap_or(0).saturating_mul(1000)
            + u64::try_from(stat.ctime_nsec()).unwrap_or(0) / 1_000_000;
        let settled = ctime_ms.saturating_add(RACY_MS) < started_ms;
        let unchanged = self.token(&stat) == self.token(&self.opened);
        Ok(if settled && unchanged { self.token(&stat) } else { None })
    }

    fn change_token(&self) -> Option<ChangeToken> {
        self.token(&self.opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn image(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_file_that_shrinks_or_grows_is_an_error() {
        let file = image(&[7; 10_000]);
        let source = FileSource::open(file.path()).unwrap();
        assert_eq!(source.byte_len(), 10_000);
        file.as_file().set_len(9_000).unwrap();
        let mut buf = [0; 2000];
        let error = source.read_at(8_500, &mut buf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(source.finish(u64::MAX).is_err());
        file.as_file().set_len(10_001).unwrap();
        assert!(source.finish(u64::MAX).is_err());
    }

    #[test]
    fn a_recent_change_is_not_vouched_for() {
        let file = image(b"x");
        let source = FileSource::open(file.path()).unwrap();
        assert_eq!(source.finish(0).unwrap(), None, "changed after the start");
        assert_eq!(source.finish(u64::MAX).unwrap(), source.change_token());
    }

    #[test]
    fn what_was_just_written_is_at_hand() {
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let file = image(&content);
        let source = FileSource::open(file.path()).unwrap();
        let mut buf = vec![0; 1000];
        let filled = source.read_at_hand(399_500, &mut buf);
        // some file systems cannot tell, and nothing lies behind the end
        assert!(filled == 500 || filled == 0, "{filled}");
        assert_eq!(buf[..filled], content[399_500..399_500 + filled]);
    }

    #[test]
    fn holes_are_skipped_where_they_are_known() {
        let file = image(b"");
        file.as_file().set_len(1 << 20).unwrap();
        let source = FileSource::open(file.path()).unwrap();
        let next = source.next_data(0).unwrap();
        assert!(next == 1 << 20 || next == 0, "all hole, or a file system without SEEK_DATA");
    }

    #[test]
    fn a_directory_is_no_volume() {
        let error = FileSource::open(Path::new("/")).err().unwrap();
        assert_eq!(error.to_string(), "/: a directory found, an image file or a block device expected");
    }
}
