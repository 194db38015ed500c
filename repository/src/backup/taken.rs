//! Ids of a session that are too many for memory: sorted, in temporary files that only this process can read.
//!
//! Each file is a *level*. A new one takes in those before it that are no more than twice as long, so there are few, and
//! each id is written a few times at most. Nothing depends on them: an id that cannot be read here is stored once more.

use crate::masked::MaskedFile;
use crate::{Repository, Result};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

const ID_LEN: usize = 16;
/// Ids between two fences: what is read of a level to find one.
const PAGE_IDS: usize = 256;
/// Pages that are read together where levels are joined.
const PAGES_AT_ONCE: usize = 16;

type Short = [u8; ID_LEN];

/// Sorted ids in a file, each once.
struct Level {
    file: MaskedFile,
    count: usize,
    /// The first eight bytes of each page's first id.
    fences: Vec<u64>,
}

/// All levels, the longest first.
pub(super) struct Taken {
    repository: Repository,
    folder: PathBuf,
    levels: Mutex<Levels>,
}

#[derive(Default)]
struct Levels {
    all: Vec<Arc<Level>>,
    /// A level could not be written: memory has to do from then on.
    is_broken: bool,
}

fn high(id: &Short) -> u64 {
    id.first_chunk().map_or(0, |high| u64::from_be_bytes(*high))
}

impl Level {
    fn page(&self, n: usize, count: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        let (start, end) = ((n * PAGE_IDS).min(self.count), ((n + count) * PAGE_IDS).min(self.count));
        self.file.read((start * ID_LEN) as u64..(end * ID_LEN) as u64, bytes)
    }

    fn has(&self, id: &Short, bytes: &mut Vec<u8>) -> io::Result<bool> {
        // of ids that begin alike the last ones may lie on the page before
        let first = self.fences.partition_point(|fence| *fence < high(id)).saturating_sub(1);
        let end = self.fences.partition_point(|fence| *fence <= high(id));
        for n in first..end {
            self.page(n, 1, bytes)?;
            if bytes.as_chunks::<ID_LEN>().0.binary_search(id).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Reads a level from its start to its end.
struct Cursor {
    level: Arc<Level>,
    page: usize,
    bytes: Vec<u8>,
    at: usize,
}

impl Cursor {
    fn next(&mut self) -> io::Result<Option<Short>> {
        if self.at == self.bytes.len() / ID_LEN {
            self.level.page(self.page, PAGES_AT_ONCE, &mut self.bytes)?;
            (self.page, self.at) = (self.page + PAGES_AT_ONCE, 0);
        }
        let id = self.bytes.as_chunks::<ID_LEN>().0.get(self.at).copied();
        self.at += 1;
        Ok(id)
    }
}

/// Writes a level.
struct Writer {
    level: Level,
    bytes: Vec<u8>,
    offset: u64,
}

impl Writer {
    fn push(&mut self, id: &Short) -> io::Result<()> {
        if self.level.count.is_multiple_of(PAGE_IDS) {
            self.level.fences.push(high(id));
        }
        self.level.count += 1;
        self.bytes.extend_from_slice(id);
        if self.bytes.len() >= PAGES_AT_ONCE * PAGE_IDS * ID_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        let len = bytes.len() as u64;
        self.level.file.write(self.offset, bytes)?;
        self.offset += len;
        Ok(())
    }
}

/// Joins sorted `ids` and levels into one.
fn join(folder: PathBuf, key: [u8; 32], ids: &[Short], levels: Vec<Arc<Level>>) -> io::Result<Level> {
    let level = Level { file: MaskedFile::new(&folder, key)?, count: 0, fences: Vec::new() };
    let mut writer = Writer { level, bytes: Vec::new(), offset: 0 };
    let mut ids = ids.iter().copied();
    let mut cursors: Vec<Cursor> =
        levels.into_iter().map(|level| Cursor { level, page: 0, bytes: Vec::new(), at: 0 }).collect();
    let mut heads: Vec<Option<Short>> = vec![ids.next()];
    for cursor in &mut cursors {
        heads.push(cursor.next()?);
    }
    while let Some(lowest) = heads.iter().flatten().min().copied() {
        writer.push(&lowest)?;
        for (n, head) in heads.iter_mut().enumerate().filter(|(_, head)| **head == Some(lowest)) {
            *head = match n.checked_sub(1).and_then(|n| cursors.get_mut(n)) {
                Some(cursor) => cursor.next()?,
                None => ids.next(),
            };
        }
    }
    writer.flush()?;
    Ok(writer.level)
}

impl Taken {
    pub(super) fn new(repository: &Repository) -> Self {
        Taken { repository: repository.clone(), folder: std::env::temp_dir(), levels: Mutex::default() }
    }

    fn levels(&self) -> std::sync::MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels().all.is_empty()
    }

    /// Whether more can be taken.
    pub(super) fn is_broken(&self) -> bool {
        self.levels().is_broken
    }

    /// Which of `ids` are here.
    pub(super) async fn find(&self, ids: &[Short]) -> Result<Vec<bool>> {
        let levels = self.levels().all.clone();
        if levels.is_empty() || ids.is_empty() {
            return Ok(vec![false; ids.len()]);
        }
        let ids = ids.to_vec();
        let find = move || {
            let mut bytes = Vec::new();
            let mut has = |id: &Short| levels.iter().any(|level| level.has(id, &mut bytes).unwrap_or(false));
            ids.iter().map(&mut has).collect()
        };
        self.repository.exec().blocking(find).await
    }

    /// Takes sorted ids; false if there is no room for them.
    pub(super) async fn add(&self, ids: Arc<Vec<Short>>) -> Result<bool> {
        let mut small = Vec::new();
        {
            let levels = self.levels();
            let mut count = ids.len();
            for level in levels.all.iter().rev().take_while(|level| {
                let joins = level.count <= 2 * count;
                count += level.count;
                joins
            }) {
                small.push(level.clone());
            }
        }
        let (folder, key) = (self.folder.clone(), self.repository.env().random()?);
        let stay = self.levels().all.len() - small.len();
        let joined = self.repository.exec().blocking(move || join(folder, key, &ids, small)).await?;
        let mut levels = self.levels();
        match joined {
            Ok(level) => {
                levels.all.truncate(stay);
                levels.all.push(Arc::new(level));
            }
            Err(_) => levels.is_broken = true,
        }
        Ok(!levels.is_broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Short {
        // in no order, and some that begin alike
        let mut id = [0; ID_LEN];
        id[..4].copy_from_slice(&(n / 3).wrapping_mul(2_654_435_761).to_be_bytes());
        id[12..].copy_from_slice(&n.to_be_bytes());
        id
    }

    fn sorted(numbers: impl Iterator<Item = u32>) -> Vec<Short> {
        let mut ids: Vec<Short> = numbers.map(id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn joined_levels_have_what_went_into_them_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let join = |ids: &[Short], levels: &[&Arc<Level>]| {
            let levels = levels.iter().map(|level| (*level).clone()).collect();
            Arc::new(join(folder.path().to_owned(), [7; 32], ids, levels).unwrap())
        };
        let a = join(&sorted((0..20_000).filter(|n| n % 2 == 0)), &[]);
        let b = join(&sorted([3, 5].into_iter()), &[]);
        // some are in several
        let all = join(&sorted((0..1000).chain(30_000..30_300)), &[&a, &b]);
        assert_eq!(all.count, 10_000 + 500 + 300);
        assert_eq!(all.fences.len(), all.count.div_ceil(PAGE_IDS));
        let mut bytes = Vec::new();
        for n in 0..40_000 {
            let there = n < 20_000 && n % 2 == 0 || n < 1000 || (30_000..30_300).contains(&n);
            assert_eq!(all.has(&id(n), &mut bytes).unwrap(), there, "{n}");
        }
        assert!(!join(&[], &[]).has(&id(0), &mut bytes).unwrap());
    }

    #[test]
    fn pages_of_ids_that_begin_alike_are_all_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<Short> = (0..2000u32)
            .map(|n| {
                let mut id = [9; ID_LEN];
                id[12..].copy_from_slice(&n.to_be_bytes());
                id
            })
            .collect();
        let level = join(folder.path().to_owned(), [7; 32], &ids, Vec::new()).unwrap();
        assert!(ids.iter().all(|id| level.has(id, &mut Vec::new()).unwrap()));
    }
}
