//! Ports: what a backup reads. The engine knows volumes and streams only through these.

mod direct;
mod file;

pub use file::{FileSource, OpenError};

use std::io;

/// A volume of fixed size that can be read anywhere, by several threads at once.
pub trait BlockSource: Send + Sync {
    /// Size in bytes, fixed when the source was opened.
    fn byte_len(&self) -> u64;

    /// True for a block device.
    fn is_device(&self) -> bool {
        false
    }

    /// Fills `buf` from `offset`. A source that ends early is `UnexpectedEof`, never zeros.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Fills `buf` from `offset` as far as the bytes are in memory already, and says how far: never waits
    /// for a device. 0 where that cannot be told.
    fn read_at_hand(&self, _offset: u64, _buf: &mut [u8]) -> usize {
        0
    }

    /// The first offset at or after `offset` that may hold data; `byte_len` if only holes follow.
    ///
    /// A source that does not know its holes answers `offset`.
    fn next_data(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }

    /// Called when all was read: an error if the source has another size by now, else what a later
    /// backup can compare to see that nothing changed (nothing where that cannot be told).
    fn finish(&self, _started_ms: u64) -> io::Result<Option<ChangeToken>> {
        Ok(None)
    }

    /// The token as of now, before anything is read.
    fn change_token(&self) -> Option<ChangeToken> {
        None
    }
}

/// Says which state of a source a backup has seen; equal tokens mean equal content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeToken {
    /// Who vouches: `file-stat` for files.
    pub driver: String,
    /// Which object: device and inode.
    pub handle: String,
    /// Which state of it: size, mtime, ctime.
    pub id: String,
}

/// What a volume of a backup is read from.
pub enum VolumeSource {
    /// A file or device, cut by the repository's block chunker.
    Blocks(std::sync::Arc<dyn BlockSource>),
    /// A pipe, cut by FastCDC; read once, in order, to its end.
    Stream(Box<dyn io::Read + Send>),
}
