//! Memory of long reads from files, used again and again: a restore reads megabytes at a time, and to map, clear and unmap
//! them anew each time took a tenth of its processor time.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shorter reads have memory of their own, which the allocator has at hand.
const LENT_LEN_MIN: usize = 128 << 10;
/// All buffers are as long as this, and so fit each other's reads; what was never read into takes no memory. Longer reads
/// are few.
const LENT_LEN: usize = 8 << 20;
/// Buffers that lie here unused at most.
const FREE_COUNT_MAX: usize = 2;

/// Buffers that nobody uses. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back once its last reader is done with it.
struct Lent {
    buffer: Vec<u8>,
    /// Bytes of it that were read. What lies behind them is of the same store, and nobody sees it.
    len: usize,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut free = self.home.free();
        if free.len() < FREE_COUNT_MAX {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of `range`, fewer where the file ends before it does.
    pub(super) fn read(&self, file: &File, range: Range<u64>) -> io::Result<Bytes> {
        let len = usize::try_from(range.end.saturating_sub(range.start));
        let len = len.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if (LENT_LEN_MIN..=LENT_LEN).contains(&len) {
            let free = self.free().pop();
            let mut buffer = free.unwrap_or_else(|| vec![0; LENT_LEN]);
            let len = read_up_to(file, range.start, buffer.get_mut(..len).unwrap_or_default())?;
            return Ok(Bytes::from_owner(Lent { buffer, len, home: self.clone() }));
        }
        let mut buffer = vec![0; len];
        let found = read_up_to(file, range.start, &mut buffer)?;
        buffer.truncate(found);
        Ok(buffer.into())
    }
}

fn read_up_to(file: &File, offset: u64, mut rest: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while !rest.is_empty() {
        match file.read_at(rest, offset.saturating_add(found as u64)) {
            Ok(0) => break,
            Ok(n) => {
                found += n;
                rest = rest.get_mut(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_lent_again_and_hold_only_what_was_read() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let written: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(path.path(), &written).unwrap();
        let file = File::open(path.path()).unwrap();
        let buffers = Buffers::default();
        let read = |range: Range<u64>| buffers.read(&file, range).unwrap();
        let long = read(0..1_000_000);
        let address = long.as_ptr();
        assert!(long == written[..1_000_000]);
        let part = long.slice(5..10);
        drop(long);
        assert_eq!(buffers.free().len(), 0, "a part of it is still in use");
        assert!(part == written[5..10]);
        drop(part);
        assert_eq!(buffers.free().len(), 1);
        let shorter = read(1_000_000..1_300_000);
        assert_eq!(shorter.as_ptr(), address);
        assert!(shorter == written[1_000_000..], "the file ends there");
        assert!(read(100..200) == written[100..200]);
        assert_eq!(buffers.free().len(), 0, "short reads are not lent");
        let others = [read(0..1_200_000), read(1..200_000), read(2..200_000)];
        assert!(others[0] == written && others[1] == written[1..200_000]);
        drop((shorter, others));
        assert_eq!(buffers.free().len(), FREE_COUNT_MAX);
    }
}
