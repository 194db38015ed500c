//! Which key slot a key file has opened: to ask for that one, and not for all of them.
//!
//! It is a hint. A slot that is gone, or does not open, costs a request; then all are looked at, as without it.

use super::folder::{FLAGS, is_plain};
use repo_format::SlotId;
use repo_format::kdf::Secret;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The place of one hint.
#[derive(Clone)]
pub(crate) struct SlotHint {
    path: PathBuf,
}

impl SlotHint {
    /// Of a key file at the repository `url`. The name of its file tells neither.
    pub(crate) fn of(folder: &Path, url: &str, secret: &Secret) -> Self {
        let key = blake3::derive_key("orlop 2026-11 local hint of a key slot", secret.expose());
        let name = blake3::keyed_hash(&key, url.as_bytes()).to_hex();
        SlotHint { path: folder.join("slots").join(name.as_str()) }
    }

    /// The slot, if one is known. Blocks.
    pub(crate) fn read(&self) -> Option<SlotId> {
        let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(&self.path).ok()?;
        let mut text = String::new();
        if is_plain(&file) {
            file.take(64).read_to_string(&mut text).ok()?;
        }
        SlotId::parse(&text).ok()
    }

    /// Remembers a slot, if that can be done. Blocks.
    pub(crate) fn write(&self, slot_id: SlotId) {
        let write = || -> std::io::Result<()> {
            if let Some(folder) = self.path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(FLAGS);
            options.open(&self.path)?.write_all(slot_id.to_string().as_bytes())
        };
        // without a hint everything works
        let _ = write();
    }
}
