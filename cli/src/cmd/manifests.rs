//! Manifests of a snapshot: their names in a tree, their content, their files.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::format::Snapshot;
use k8s_source::manifest::file_name;
use repository::Repository;
use repository::reader::Reader;
use repository::vfs::{self, Catalogue, TocEntry};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of manifests read together.
const READ_LEN: u64 = 16 << 20;
/// Manifests read one by one where some are lost, before reading together is tried again.
const AGAIN_COUNT: usize = 64;

/// A manifest by both its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ManifestEntry {
    /// `group/kind/namespace/name`.
    pub(super) path: String,
    /// Where it goes in a folder.
    pub(super) file: PathBuf,
    /// Bytes of JSON.
    pub(super) len: u64,
}

/// Reads content of the repository. Runs of the index that cannot be read are told of.
pub(super) async fn reader(context: &Context, repository: &Repository) -> Result<Reader, Failure> {
    let (reader, lost) = context.exec.unless_cancelled(vfs::reader(repository)).await?;
    for error in lost {
        context.output.warn(&error.to_string());
    }
    Ok(reader)
}

/// The manifests of a snapshot; none without a catalogue.
pub(super) struct Manifests {
    catalogue: Option<Catalogue>,
    /// In order of path.
    pub(super) entries: Vec<ManifestEntry>,
}

impl Manifests {
    /// Of a snapshot whose table of contents is lost.
    pub(super) fn none() -> Self {
        Manifests { catalogue: None, entries: Vec::new() }
    }

    /// Reads the table of contents.
    pub(super) async fn open(
        context: &Context,
        reader: &Reader,
        snapshot: &Snapshot,
    ) -> Result<Self, Failure> {
        if snapshot.catalogue.is_none() {
            return Ok(Self::none());
        }
        let catalogue = context.exec.unless_cancelled(Catalogue::open(reader, snapshot)).await?;
        let entry = |found: TocEntry| match file_name(&found.path) {
            Ok(file) => Ok(ManifestEntry { path: found.path, file, len: found.len.into() }),
            Err(error) => Err(Failure::failed(error.to_string())),
        };
        let entries = catalogue.contents().map(entry).collect::<Result<_, _>>()?;
        Ok(Manifests { catalogue: Some(catalogue), entries })
    }

    /// The JSON of entries from number `first` on, as many as are read together; at least one, if there is one.
    async fn read_from(&self, context: &Context, first: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let Some(catalogue) = &self.catalogue else { return Ok(Vec::new()) };
        let found = context.exec.unless_cancelled(catalogue.manifests_from(first, READ_LEN)).await?;
        if found.is_empty() {
            Err(Failure::failed("a catalogue that ends before its contents"))
        } else {
            Ok(found)
        }
    }

    /// The JSON of one of the entries.
    pub(super) async fn read(&self, context: &Context, entry: &ManifestEntry) -> Result<Vec<u8>, Failure> {
        let missing = || Failure::failed(format!("{:?}: no manifest of this name", entry.path));
        let catalogue = self.catalogue.as_ref().ok_or_else(missing)?;
        Ok(context.exec.unless_cancelled(catalogue.manifest(&entry.path)).await?)
    }
}

/// Makes sure that nothing is in the way of the files, before anything else is written.
pub(super) fn check_free(dir: &Path, entries: &[ManifestEntry], force: bool) -> Result<(), Failure> {
    if dir.exists() && !dir.is_dir() {
        return Err(Failure::failed(format!("{}: not a folder", dir.display())));
    }
    for entry in entries {
        let path = dir.join(&entry.file);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {
                return Err(Failure::failed(format!("{}: a folder is in the way", path.display())));
            }
            Ok(_) if !force => {
                return Err(Failure::failed(format!(
                    "{}: exists already; --force replaces it",
                    path.display()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes one JSON file per manifest. They may hold Secrets: only their owner can read them. Gives
/// the bytes written, and the paths of those that are lost, which end it unless `allow_damaged`.
pub(super) async fn write(
    context: &Context,
    manifests: &Manifests,
    dir: &Path,
    allow_damaged: bool,
) -> Result<(u64, Vec<String>), Failure> {
    make_dir(dir)?;
    let mut written: u64 = 0;
    let mut lost = Vec::new();
    let mut first = 0;
    while let Some(rest) = manifests.entries.get(first..).filter(|rest| !rest.is_empty()) {
        let found = match manifests.read_from(context, first).await {
            Ok(found) => found.into_iter().map(Some).collect(),
            // some of them are: each for itself
            Err(failure) if allow_damaged && failure.exit() == Exit::Damage => {
                readable(context, manifests, rest.get(..AGAIN_COUNT).unwrap_or(rest)).await?
            }
            Err(failure) => return Err(failure),
        };
        first += found.len();
        for (entry, json) in rest.iter().zip(found) {
            let Some(json) = json else {
                lost.push(entry.path.clone());
                continue;
            };
            let path = dir.join(&entry.file);
            if let Some(parent) = path.parent() {
                make_dir(parent)?;
            }
            write_file(&path, &json).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
            written = written.saturating_add(json.len() as u64);
        }
    }
    Ok((written, lost))
}

/// Reads manifests one by one; nothing in the place of those that are lost.
async fn readable(
    context: &Context,
    manifests: &Manifests,
    entries: &[ManifestEntry],
) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let mut found = Vec::new();
    for entry in entries {
        found.push(match manifests.read(context, entry).await {
            Err(failure) if failure.exit() == Exit::Damage => None,
            read => Some(read?),
        });
    }
    Ok(found)
}

/// A folder that only its owner can enter, and those above it.
pub(super) fn make_dir(dir: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| Failure::failed(format!("{}: {e}", dir.display())))
}

/// Never writes through a link or into a file that others have open.
fn write_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)
}
