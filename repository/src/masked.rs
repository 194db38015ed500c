//! A temporary file without a name whose bytes are masked: ids, and what follows from them, never lie on a disk in clear.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Written piece by piece, each place once; read at any place. It is gone with this process.
pub(crate) struct MaskedFile {
    file: File,
    /// Only this process has it.
    key: [u8; 32],
}

impl MaskedFile {
    /// In `folder`. The key must never have masked anything else.
    pub(crate) fn new(folder: &Path, key: [u8; 32]) -> io::Result<Self> {
        Ok(MaskedFile { file: crate::cache::unlinked(folder)?, key })
    }

    /// Writes where nothing was written before. Blocks.
    pub(crate) fn write(&self, offset: u64, mut bytes: Vec<u8>) -> io::Result<()> {
        self.mask(offset, &mut bytes);
        self.file.write_all_at(&bytes, offset)
    }

    /// Fills `bytes` with what was written at `offset`. Blocks.
    pub(crate) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)?;
        self.mask(offset, bytes);
        Ok(())
    }

    /// Reads what was written at `range`. Blocks.
    pub(crate) fn read(&self, range: Range<u64>, into: &mut Vec<u8>) -> io::Result<()> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        into.resize(len, 0);
        self.read_at(range.start, into)
    }

    /// What lies on the disk.
    #[cfg(test)]
    pub(crate) fn raw(&self, range: Range<usize>) -> Vec<u8> {
        let mut raw = vec![0; range.len()];
        self.file.read_exact_at(&mut raw, range.start as u64).unwrap();
        raw
    }

    /// XORs bytes with the key stream at their place.
    fn mask(&self, offset: u64, bytes: &mut [u8]) {
        let mut stream = blake3::Hasher::new_keyed(&self.key).finalize_xof();
        stream.set_position(offset);
        let mut pad = [0; 1024];
        for part in bytes.chunks_mut(pad.len()) {
            let pad = pad.get_mut(..part.len()).unwrap_or_default();
            stream.fill(pad);
            part.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= *pad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_reads_as_it_was_written_and_none_lies_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let masked = MaskedFile::new(folder.path(), [7; 32]).unwrap();
        let plain: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
        masked.write(0, plain[..1234].to_vec()).unwrap();
        masked.write(1234, plain[1234..].to_vec()).unwrap();
        let mut read = Vec::new();
        for range in [0..5000u64, 1..2, 63..65, 1000..1300, 4321..5000, 70..70] {
            masked.read(range.clone(), &mut read).unwrap();
            assert_eq!(read, plain[range.start as usize..range.end as usize]);
        }
        assert!(masked.read(4999..5001, &mut read).is_err());
        let raw = masked.raw(0..5000);
        assert!(!raw.windows(4).any(|four| plain.windows(4).any(|other| four == other)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing to be found by name");
    }
}
