//! Sets of ids larger than memory: items are kept in 256 buckets by their first byte, and move to an
//! unlinked temporary file once they take more than a budget.
//!
//! What lies on disk is masked with a key that only this process has: ids never lie there in clear.

use crate::masked::MaskedFile;
use crate::{Error, Repository, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets: what is processed at once is one of them.
pub(crate) const BUCKET_COUNT: usize = 256;

/// Where spilled items of one prune go.
#[derive(Clone)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    exec: crate::Exec,
    key: [u8; 32],
    /// Files made so far: each has a key of its own.
    files: Arc<AtomicU64>,
}

impl SpillFolder {
    /// In `path`, or where the system keeps temporary files.
    pub(crate) fn new(repository: &Repository, path: Option<&Path>) -> Result<Self> {
        let path = path.map_or_else(std::env::temp_dir, Path::to_owned);
        let (exec, key) = (repository.exec().clone(), repository.env().random()?);
        Ok(SpillFolder { path, exec, key, files: Arc::default() })
    }

    #[cfg(test)]
    pub(crate) fn of(path: &Path, exec: crate::Exec) -> Self {
        SpillFolder { path: path.to_owned(), exec, key: [7; 32], files: Arc::default() }
    }

    /// A file whose key masks nothing else. Blocks.
    fn file(&self) -> io::Result<MaskedFile> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        MaskedFile::new(&self.path, *blake3::keyed_hash(&self.key, &number.to_le_bytes()).as_bytes())
    }

    fn failed(&self, what: &str, source: io::Error) -> Error {
        Error::Target { target: self.path.display().to_string(), what: what.to_owned(), source }
    }
}

/// Fixed-length items whose first byte says their bucket.
pub(crate) struct Spill<const N: usize> {
    folder: SpillFolder,
    budget_len: usize,
    buckets: Vec<Vec<[u8; N]>>,
    held: usize,
    file: Option<Arc<MaskedFile>>,
    file_len: u64,
    /// Offset and items of what lies in the file, by bucket.
    extents: Vec<Vec<(u64, usize)>>,
}

impl<const N: usize> Spill<N> {
    /// Holds up to about `budget_len` bytes in memory.
    pub(crate) fn new(folder: &SpillFolder, budget_len: usize) -> Self {
        Spill {
            folder: folder.clone(),
            budget_len,
            buckets: vec![Vec::new(); BUCKET_COUNT],
            held: 0,
            file: None,
            file_len: 0,
            extents: vec![Vec::new(); BUCKET_COUNT],
        }
    }

    /// Adds an item; [`settle`](Self::settle) has to be called now and then.
    pub(crate) fn push(&mut self, item: [u8; N]) {
        let share = self.budget_len / N / BUCKET_COUNT;
        if let Some(bucket) = self.buckets.get_mut(usize::from(item[0])) {
            if bucket.len() == bucket.capacity() {
                // never far beyond its share of the budget, which doubling would pass by up to half
                let step = bucket.len().max(16).min(share.saturating_sub(bucket.len()).max(share / 8 + 16));
                bucket.reserve_exact(step);
            }
            bucket.push(item);
            self.held += 1;
        }
    }

    /// Moves what is held to the file if it is over the budget.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        if self.held * N <= self.budget_len { Ok(()) } else { self.flush().await }
    }

    /// Says that nothing is to be added for a while: what lies on disk in part lies there as a whole then, and its
    /// memory is free.
    pub(crate) async fn close(&mut self) -> Result<()> {
        if self.file.is_some() {
            self.flush().await?;
            self.buckets = vec![Vec::new(); BUCKET_COUNT];
        }
        Ok(())
    }

    /// Moves what is held to the file.
    async fn flush(&mut self) -> Result<()> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let folder = self.folder.clone();
                let made = self.folder.exec.blocking(move || folder.file()).await?;
                let made = made.map_err(|e| self.folder.failed("making a temporary file", e))?;
                self.file.insert(Arc::new(made)).clone()
            }
        };
        let mut buckets = std::mem::replace(&mut self.buckets, vec![Vec::new(); BUCKET_COUNT]);
        self.held = 0;
        let (start, share) = (self.file_len, self.budget_len / N / BUCKET_COUNT);
        let written = self.folder.exec.blocking(move || {
            let extents = write(&file, start, &buckets)?;
            for bucket in &mut buckets {
                bucket.clear();
                // one that held far more than others for a while may never do so again
                bucket.shrink_to(share);
            }
            io::Result::Ok((extents, buckets))
        });
        let written = written.await?;
        let (extents, buckets) = written.map_err(|e| self.folder.failed("writing a temporary file", e))?;
        // their memory is used again
        self.buckets = buckets;
        for (bucket, (offset, items)) in self.extents.iter_mut().zip(extents) {
            if items > 0 {
                bucket.push((offset, items));
                self.file_len = self.file_len.max(offset + (items * N) as u64);
            }
        }
        Ok(())
    }

    /// All items of a bucket, sorted; they stay where they are, too.
    pub(crate) async fn bucket(&self, n: usize) -> Result<Vec<[u8; N]>> {
        let held = self.buckets.get(n).cloned().unwrap_or_default();
        let extents = self.extents.get(n).cloned().unwrap_or_default();
        let file = self.file.clone();
        let read = self.folder.exec.blocking(move || read(file.as_deref(), &extents, held)).await?;
        read.map_err(|e| self.folder.failed("reading a temporary file", e))
    }
}

fn write<const N: usize>(
    file: &MaskedFile,
    start: u64,
    buckets: &[Vec<[u8; N]>],
) -> io::Result<Vec<(u64, usize)>> {
    let mut offset = start;
    let mut extents = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let bytes = bucket.as_flattened();
        file.write(offset, bytes.to_vec())?;
        extents.push((offset, bucket.len()));
        offset += bytes.len() as u64;
    }
    Ok(extents)
}

fn read<const N: usize>(
    file: Option<&MaskedFile>,
    extents: &[(u64, usize)],
    mut items: Vec<[u8; N]>,
) -> io::Result<Vec<[u8; N]>> {
    if let Some(file) = file {
        items.reserve(extents.iter().map(|(_, count)| count).sum());
        for (offset, count) in extents {
            let start = items.len();
            items.resize(start + count, [0; N]);
            let bytes = items.get_mut(start..).unwrap_or_default().as_flattened_mut();
            file.read_at(*offset, bytes)?;
        }
    }
    items.sort_unstable();
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn gives_back_what_went_to_disk_and_what_did_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = SpillFolder::of(folder.path(), crate::Exec::inline());
        let mut spill: Spill<3> = Spill::new(&place, 30);
        for n in 0..200u8 {
            spill.push([n % 5, n, 0xee]);
            block_on(spill.settle()).unwrap();
        }
        assert!(spill.file_len > 500 && !spill.buckets[4].is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing to be found by name");
        for bucket in 0..BUCKET_COUNT {
            let found = block_on(spill.bucket(bucket)).unwrap();
            let wanted: Vec<[u8; 3]> =
                (0..200).filter(|n| n % 5 == bucket as u8 && bucket < 5).map(|n| [n % 5, n, 0xee]).collect();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn no_two_files_are_masked_alike() {
        let folder = tempfile::tempdir().unwrap();
        let place = SpillFolder::of(folder.path(), crate::Exec::inline());
        let (one, other) = (place.file().unwrap(), place.clone().file().unwrap());
        for file in [&one, &other] {
            file.write(0, vec![1; 64]).unwrap();
        }
        assert_ne!(one.raw(0..64), other.raw(0..64));
    }

    #[test]
    fn buckets_that_fill_one_after_the_other_share_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let place = SpillFolder::of(folder.path(), crate::Exec::inline());
        let budget_len = 64 << 10;
        let mut spill: Spill<16> = Spill::new(&place, budget_len);
        for n in 0..200_000u32 {
            let mut item = [0; 16];
            item[0] = (n / 1000) as u8;
            item[1..5].copy_from_slice(&n.to_be_bytes());
            spill.push(item);
            block_on(spill.settle()).unwrap();
            let capacity: usize = spill.buckets.iter().map(|bucket| bucket.capacity()).sum();
            assert!(capacity * 16 <= budget_len * 3, "{n} items take {}", capacity * 16);
        }
    }

    #[test]
    fn closed_on_disk_it_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = SpillFolder::of(folder.path(), crate::Exec::inline());
        let capacity =
            |spill: &Spill<16>| -> usize { spill.buckets.iter().map(|bucket| bucket.capacity()).sum() };
        for count in [100u32, 100_000] {
            let budget_len = 64 << 10;
            let mut spill: Spill<16> = Spill::new(&place, budget_len);
            for n in 0..count {
                let mut item = [0; 16];
                item[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
                spill.push(item);
                block_on(spill.settle()).unwrap();
                assert!(capacity(&spill) * 16 <= budget_len * 2, "{n} items take {}", capacity(&spill) * 16);
            }
            block_on(spill.close()).unwrap();
            assert_eq!(capacity(&spill) > 0, count == 100, "few items never see a disk");
            // more may come later
            spill.push([0xff; 16]);
            let found: usize = (0..BUCKET_COUNT).map(|n| block_on(spill.bucket(n)).unwrap().len()).sum();
            assert_eq!(found, count as usize + 1);
        }
    }
}
