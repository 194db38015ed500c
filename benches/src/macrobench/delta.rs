//! What differs between two states of an image, so that one file can go from state to state and back.
//!
//! A backup names its source by path; the changes of a day happen in place. Holding each state as a file of
//! its own would take five times the disk.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is compared, and what file systems write.
pub const BLOCK_LEN: usize = 4096;
const PIECE_LEN: usize = 1 << 20;

/// Which side of a delta to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As it was before.
    Old,
    /// As it is after.
    New,
}

/// Writes blocks in which two images of one length differ to `out`: offset, old block, new block. Gives their number.
pub fn diff(old: &Path, new: &Path, out: &Path) -> Result<u64> {
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let (old, new) = (open(old)?, open(new)?);
    let len = old.metadata()?.len();
    ensure!(len == new.metadata()?.len(), "images of different lengths");
    ensure!(len.is_multiple_of(BLOCK_LEN as u64), "an image of whole blocks expected");
    let mut out = BufWriter::new(File::create(out)?);
    let (mut a, mut b, mut count) = (vec![0; PIECE_LEN], vec![0; PIECE_LEN], 0);
    for offset in (0..len).step_by(PIECE_LEN) {
        let piece_len = usize::try_from((len - offset).min(PIECE_LEN as u64))?;
        a.resize(piece_len, 0);
        b.resize(piece_len, 0);
        old.read_exact_at(&mut a, offset)?;
        new.read_exact_at(&mut b, offset)?;
        if a == b {
            continue;
        }
        for (at, (was, is)) in a.chunks(BLOCK_LEN).zip(b.chunks(BLOCK_LEN)).enumerate() {
            if was != is {
                out.write_all(&(offset + (at * BLOCK_LEN) as u64).to_le_bytes())?;
                out.write_all(was)?;
                out.write_all(is)?;
                count += 1;
            }
        }
    }
    out.flush()?;
    Ok(count)
}

/// Writes one side of a delta into an image in place.
///
/// The old sides of a chain, last delta first, bring back the first state whatever state the image is in.
pub fn apply(delta: &Path, image: &Path, side: Side) -> Result<()> {
    let file = File::open(delta).with_context(|| delta.display().to_string())?;
    let image = File::options().write(true).open(image).with_context(|| image.display().to_string())?;
    let mut input = BufReader::with_capacity(PIECE_LEN, file);
    let (mut offset, mut old, mut new) = ([0; 8], vec![0; BLOCK_LEN], vec![0; BLOCK_LEN]);
    loop {
        match input.read_exact(&mut offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        input.read_exact(&mut old)?;
        input.read_exact(&mut new)?;
        let block = if side == Side::Old { &old } else { &new };
        image.write_all_at(block, u64::from_le_bytes(offset))?;
    }
    // a backup shall not pay for writing back what is none of its own
    Ok(image.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_chain_goes_forth_and_back_from_any_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let first: Vec<u8> = (0..3 * PIECE_LEN + BLOCK_LEN).map(|at| (at / 1000) as u8).collect();
        let mut second = first.clone();
        second[PIECE_LEN + 5] ^= 1;
        *second.last_mut().unwrap() ^= 1;
        let mut third = second.clone();
        third[PIECE_LEN + 5] ^= 2;
        third[0] ^= 1;
        for (name, content) in [("1", &first), ("2", &second), ("3", &third), ("image", &first)] {
            fs::write(path(name), content).unwrap();
        }
        assert_eq!(diff(&path("1"), &path("2"), &path("d2")).unwrap(), 2);
        assert_eq!(diff(&path("2"), &path("3"), &path("d3")).unwrap(), 2);
        apply(&path("d2"), &path("image"), Side::New).unwrap();
        assert_eq!(fs::read(path("image")).unwrap(), second);
        apply(&path("d3"), &path("image"), Side::New).unwrap();
        assert_eq!(fs::read(path("image")).unwrap(), third);
        for state in ["1", "2", "3"] {
            fs::copy(path(state), path("image")).unwrap();
            apply(&path("d3"), &path("image"), Side::Old).unwrap();
            apply(&path("d2"), &path("image"), Side::Old).unwrap();
            assert_eq!(fs::read(path("image")).unwrap(), first, "from state {state}");
        }
    }
}
