//! Durable directories: what `object_store` leaves to its caller.
//!
//! With fsync on, `object_store` 0.14 syncs an object and the folder that it made for it, but not
//! folders that another task or process made a moment before, nor the folder of a removed object.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Folders of a local store that are known to be on disk.
pub(super) struct LocalDirs {
    root: PathBuf,
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalDirs {
    /// For the store in `root`.
    pub(super) fn new(root: PathBuf) -> Self {
        LocalDirs { root, durable: Mutex::default() }
    }

    /// Makes the folder of `name` and all above it durable, once per process.
    pub(super) fn prepare(&self, name: &str) -> io::Result<()> {
        let Some(folder) = Path::new(name).parent() else { return Ok(()) };
        // held while syncing: nobody may put into a folder that is not on disk yet
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(folder) {
            return Ok(());
        }
        std::fs::create_dir_all(self.root.join(folder))?;
        for ancestor in folder.ancestors() {
            if !durable.contains(ancestor) {
                File::open(self.root.join(ancestor))?.sync_all()?;
                durable.insert(ancestor.to_owned());
            }
        }
        Ok(())
    }

    /// Makes the removal of `name` durable.
    pub(super) fn sync_parent(&self, name: &str) -> io::Result<()> {
        match Path::new(name).parent() {
            Some(folder) => File::open(self.root.join(folder))?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_every_folder_once() {
        let root = tempfile::tempdir().unwrap();
        let dirs = LocalDirs::new(root.path().to_owned());
        dirs.prepare("packs/data/a5/x").unwrap();
        dirs.prepare("packs/data/a5/y").unwrap();
        assert!(root.path().join("packs/data/a5").is_dir());
        assert_eq!(dirs.durable.lock().unwrap().len(), 4, "a5, data, packs and the root");
        dirs.sync_parent("packs/data/a5/x").unwrap();
    }
}
