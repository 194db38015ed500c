//! Manifest files on disk: one file, or all of a folder.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::one_line;
use super::{Limits, Manifest, ManifestError, parse_within};

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Folders inside each other at most.
const DEPTH_MAX: usize = 64;

/// Reads the objects of a file, whatever its extension, or of a folder and its subfolders, where only `.yaml`, `.yml`
/// and `.json` files are taken, sorted by name. Not yet sorted by path: see [`merge`](super::merge).
///
/// Links are followed; a folder that is reached twice is read once, so loops end. Entries that start with `..` are
/// left out: Kubernetes keeps the versions of a mounted ConfigMap in them.
///
/// # Errors
/// The file or folder that cannot be read, or whatever [`parse_within`] finds in a file.
pub fn read_path(path: &Path, limits: &Limits) -> Result<Vec<Manifest>, ManifestError> {
    let mut manifests = Vec::new();
    read_path_into(path, limits, &mut |manifest| manifests.push(manifest))?;
    Ok(manifests)
}

/// As [`read_path`], one object after the other: no more than those of one file are in memory.
///
/// # Errors
/// As [`read_path`]; some objects were handed out by then.
pub fn read_path_into(
    path: &Path,
    limits: &Limits,
    take: &mut dyn FnMut(Manifest),
) -> Result<(), ManifestError> {
    let mut walk = Walk { limits, seen: BTreeSet::new(), files: 0, take };
    if metadata(path)?.is_dir() { walk.folder(path, 1) } else { walk.file(path) }
}

struct Walk<'a> {
    limits: &'a Limits,
    /// Folders by their real paths.
    seen: BTreeSet<PathBuf>,
    files: u64,
    take: &'a mut dyn FnMut(Manifest),
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), ManifestError> {
        if depth > DEPTH_MAX {
            return Err(limit(path, "folders inside each other", depth as u64, DEPTH_MAX as u64));
        }
        let real = fs::canonicalize(path).map_err(|cause| unreadable(path, cause))?;
        if !self.seen.insert(real) {
            return Ok(());
        }
        let entries = fs::read_dir(path).map_err(|cause| unreadable(path, cause))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(|cause| unreadable(path, cause))?.file_name());
        }
        names.sort();
        for name in names {
            if !name.as_encoded_bytes().starts_with(b"..") {
                self.entry(&path.join(name), depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), ManifestError> {
        let manifest = path
            .extension()
            .is_some_and(|found| EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known)));
        match metadata(path) {
            Ok(entry) if entry.is_dir() => self.folder(path, depth.saturating_add(1)),
            Ok(entry) if manifest && !entry.is_file() => Err(ManifestError::NotRegular { path: shown(path) }),
            Ok(_) if manifest => self.file(path),
            Err(error) if manifest => Err(error),
            // Other files are none of ours, and so are links that lead nowhere.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), ManifestError> {
        self.files = self.files.saturating_add(1);
        if self.files > self.limits.files {
            return Err(limit(path, "manifest files in a folder", self.files, self.limits.files));
        }
        let file = File::open(path).map_err(|cause| unreadable(path, cause))?;
        let mut text = Vec::new();
        // One byte more than allowed shows a file that is too long, also one that grows.
        let mut file = file.take(self.limits.file_bytes.saturating_add(1));
        file.read_to_end(&mut text).map_err(|cause| unreadable(path, cause))?;
        parse_within(&shown(path), &text, self.limits)?.into_iter().for_each(&mut *self.take);
        Ok(())
    }
}

fn metadata(path: &Path) -> Result<Metadata, ManifestError> {
    fs::metadata(path).map_err(|cause| unreadable(path, cause))
}

fn unreadable(path: &Path, cause: io::Error) -> ManifestError {
    ManifestError::Read { path: shown(path), cause }
}

fn limit(path: &Path, what: &'static str, found: u64, allowed: u64) -> ManifestError {
    ManifestError::Limit { at: shown(path), what, found, allowed }
}

fn shown(path: &Path) -> String {
    one_line(&path.display().to_string())
}
