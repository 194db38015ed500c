//! Local copies of what the store holds: the store's own sealed bytes, at the same offsets of a sparse file.
//!
//! There is no table of what a copy has: what was never written, was cut off or was changed does not open, and is
//! fetched again. So damage, hostile files and other processes at work can cost requests and nothing else. What is
//! asked for here never fails: no copy is always an answer.

mod folder;
mod hint;

pub(crate) use hint::SlotHint;

use folder::Folder;
use repo_format::PackId;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest copy of one object.
const OBJECT_LEN_MAX: u64 = repo_format::limits::PACK_LEN_MAX;

/// What objects of one kind are copied for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Index runs.
    Run,
    /// Trailers of packs, and map pages.
    Pack,
}

/// Where copies are kept. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Copies {
    place: Place,
}

#[derive(Clone, Default)]
enum Place {
    /// Nowhere.
    #[default]
    None,
    /// In a file without a name, of runs only, until this process ends.
    Scratch(Arc<Scratch>),
    /// In a folder that stays.
    Folder(Arc<Folder>),
}

/// A file that nobody else can open, for which room is given out object by object.
struct Scratch {
    folder: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    next: AtomicU64,
}

impl Copies {
    /// No copies.
    pub(crate) fn none() -> Self {
        Copies::default()
    }

    /// Copies of runs in a temporary file in `folder`, which is made when it is needed.
    pub(crate) fn scratch(folder: PathBuf) -> Self {
        let scratch = Scratch { folder, file: Mutex::default(), next: AtomicU64::new(0) };
        Copies { place: Place::Scratch(Arc::new(scratch)) }
    }

    /// Copies in `folder`, of up to about `len_max` bytes in all; the folder is made if it is not there.
    pub(crate) fn folder(folder: &Path, len_max: u64) -> io::Result<Self> {
        Ok(Copies { place: Place::Folder(Arc::new(Folder::open(folder, len_max)?)) })
    }

    /// The copy of one object. What is read of an object that has none is nothing.
    pub(crate) fn of(&self, kind: Kind, pack_id: PackId) -> LocalCopy {
        let at = match &self.place {
            Place::Folder(folder) => At::Folder { folder: folder.clone(), kind, pack_id },
            Place::Scratch(scratch) if kind == Kind::Run => {
                let base = scratch.next.fetch_add(OBJECT_LEN_MAX, Ordering::Relaxed);
                scratch.file().map_or(At::None, |file| At::Scratch { file, base })
            }
            _ => At::None,
        };
        LocalCopy { at }
    }

    /// Where files may lie that are gone with this process; nothing where there are to be none.
    pub(crate) fn temp_folder(&self) -> Option<PathBuf> {
        match &self.place {
            Place::None => None,
            Place::Scratch(scratch) => Some(scratch.folder.clone()),
            Place::Folder(_) => Some(std::env::temp_dir()),
        }
    }

    /// Whether anything stays once this process has ended.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.place, Place::Folder(_))
    }

    /// Drops copies of what the store has no more, and the oldest ones if there are too many. Blocks.
    pub(crate) fn retain(&self, runs: &HashSet<PackId>, packs: &HashSet<PackId>) {
        if let Place::Folder(folder) = &self.place {
            folder.retain(runs, packs);
        }
    }
}

impl Scratch {
    fn file(&self) -> Option<Arc<File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = unlinked(&self.folder).ok().map(Arc::new);
        }
        file.clone()
    }
}

/// A file that nobody else can open and that is gone with this process.
pub(crate) fn unlinked(folder: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut last = io::ErrorKind::AlreadyExists.into();
    for n in 0..64u32 {
        let path = folder.join(format!(".orlop-{}-{n}", std::process::id()));
        let opened =
            std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        match opened {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The copy of one object, as far as there is one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LocalCopy {
    at: At,
}

#[derive(Clone)]
enum At {
    None,
    Scratch { file: Arc<File>, base: u64 },
    Folder { folder: Arc<Folder>, kind: Kind, pack_id: PackId },
}

impl LocalCopy {
    /// True: reading finds nothing, ever.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self.at, At::None)
    }

    /// What the copy has at `range`; zeros where it has nothing. Nothing if it ends before. Blocks.
    pub(crate) fn read(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let len = range.end.checked_sub(range.start).filter(|_| range.end <= OBJECT_LEN_MAX)?;
        let (file, base) = match &self.at {
            At::None => return None,
            At::Scratch { file, base } => (file.clone(), *base),
            At::Folder { folder, kind, pack_id } => (Arc::new(folder.open_to_read(*kind, pack_id)?), 0),
        };
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut bytes, base.checked_add(range.start)?).ok()?;
        Some(bytes)
    }

    /// Keeps `bytes`, which lie at `offset` of the object, if there is room. Blocks.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > OBJECT_LEN_MAX {
            return;
        }
        // a copy that cannot be written is none
        let _ = match &self.at {
            At::None => Ok(()),
            At::Scratch { file, base } => file.write_all_at(bytes, base.saturating_add(offset)),
            At::Folder { folder, kind, pack_id } => folder.write(*kind, pack_id, offset, bytes),
        };
    }
}
