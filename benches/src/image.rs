//! The image that is measured, segment by segment.

use anyhow::{Context, Result, ensure};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// An image file that is in the page cache.
pub struct Image {
    file: File,
    len: u64,
    segment_len: u64,
}

impl Image {
    /// Opens an image to be read in segments of `segment_len` bytes, and reads all of it once.
    pub fn open(path: &Path, segment_len: u64) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let len = file.metadata()?.len();
        ensure!(len > 0, "{}: an image with content expected", path.display());
        let image = Image { file, len, segment_len };
        let mut buffer = Vec::new();
        for number in 0..image.segment_count() {
            image.read(number, &mut buffer)?;
        }
        Ok(image)
    }

    /// Size in bytes, holes included.
    pub fn byte_len(&self) -> u64 {
        self.len
    }

    /// How many segments there are; the last may be shorter.
    pub fn segment_count(&self) -> u64 {
        self.len.div_ceil(self.segment_len)
    }

    /// Reads a segment as the engine does, and says how many bytes came from the file: 0 for a segment
    /// that is one hole, of which `buffer` is left as it was; a leading hole is filled with zeros.
    pub fn read(&self, number: u64, buffer: &mut Vec<u8>) -> Result<u64> {
        let offset = number * self.segment_len;
        let end = (offset + self.segment_len).min(self.len);
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data.clamp(offset, end),
            Err(Errno::NXIO) => end,
            Err(_) => offset,
        };
        if data == end {
            return Ok(0);
        }
        let block_len = chunker::BLOCK_LEN as u64;
        let skip = (data - offset) / block_len * block_len;
        buffer.resize(usize::try_from(end - offset)?, 0);
        let (hole, rest) = buffer.split_at_mut(usize::try_from(skip)?);
        hole.fill(0);
        self.file.read_exact_at(rest, offset + skip)?;
        Ok(rest.len() as u64)
    }
}
