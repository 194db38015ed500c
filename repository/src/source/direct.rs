//! Reads past the page cache.

use crate::direct::{ALIGNMENT, lead, reopen};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// How much one request asks for.
const REQUEST_LEN: usize = 1 << 20;

/// A device opened with `O_DIRECT`: what is read of it displaces nothing in the page cache, and is what the device
/// has, not what somebody read of it before.
pub(super) struct DirectFile {
    file: File,
    /// Used again and again; each has room to begin at a multiple of [`ALIGNMENT`].
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl DirectFile {
    /// Nothing where the system or the device does not do that.
    pub(super) fn of(file: &File) -> Option<Self> {
        let file = reopen(file, OpenOptions::new().read(true))?;
        let direct = DirectFile { file, buffers: Mutex::default() };
        // some systems take the flag and refuse the reads
        direct.read_at(0, &mut [0; 1]).ok()?;
        Some(direct)
    }

    /// Fills `buf` from `offset`, neither of which need be aligned: what is read goes by way of a buffer of our own.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut own = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        own.resize(REQUEST_LEN + ALIGNMENT, 0);
        let start = lead(&own);
        let aligned = own.get_mut(start..start.saturating_add(REQUEST_LEN)).unwrap_or_default();
        let read = self.read_by(aligned, offset, buf);
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(own);
        read
    }

    fn read_by(&self, aligned: &mut [u8], mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let skip = usize::try_from(offset % ALIGNMENT as u64).map_err(io::Error::other)?;
            let len = buf.len().saturating_add(skip).next_multiple_of(ALIGNMENT).min(aligned.len());
            let request = aligned.get_mut(..len).unwrap_or_default();
            let read_len = self.file.read_at(request, offset - skip as u64)?;
            // behind the end there is nothing, and a request may end there
            let found = request.get(skip..read_len).filter(|found| !found.is_empty());
            let found = found.ok_or(io::ErrorKind::UnexpectedEof)?;
            let found = found.get(..buf.len()).unwrap_or(found);
            let (filled, rest) = buf.split_at_mut(found.len());
            filled.copy_from_slice(found);
            offset = offset.saturating_add(found.len() as u64);
            buf = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_is_read_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let content: Vec<u8> =
            (0..700_001u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        std::fs::write(&path, &content).unwrap();
        // without the flag, which not every file system has: a device of the operator's tests is read with it
        let direct = DirectFile { file: File::open(&path).unwrap(), buffers: Mutex::default() };
        for range in
            [0..1, 0..2_800_004, 4095..4097, 1..1_048_577, 1_048_576..2_097_152, 2_800_003..2_800_004]
        {
            let mut buf = vec![0; range.len()];
            direct.read_at(range.start as u64, &mut buf).unwrap();
            assert!(buf == content[range.clone()], "{range:?}");
        }
        for range in [0..2_800_005, 2_800_004..2_800_005, 9_000_000..9_000_001] {
            let error = direct.read_at(range.start as u64, &mut vec![0; range.len()]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{range:?}");
        }
    }
}
