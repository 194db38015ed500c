//! Manifests of a backup until it takes them: a few in memory, many in a temporary file that only this process can read,
//! since some are Secrets.

use crate::masked::MaskedFile;
use crate::{Env, Result};
use bytes::Bytes;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that stay in memory.
const MEMORY_LEN: usize = 16 << 20;
/// Bytes written to the file together.
const WRITE_LEN: usize = 1 << 20;

/// The JSON of a manifest, wherever it is. Cheap to clone.
///
/// `Debug` says nothing of it: it may be a Secret.
#[derive(Clone)]
pub struct ManifestJson(Place);

#[derive(Clone)]
enum Place {
    Memory(Bytes),
    Spooled { file: Arc<MaskedFile>, range: Range<u64> },
}

impl From<Vec<u8>> for ManifestJson {
    fn from(json: Vec<u8>) -> Self {
        ManifestJson(Place::Memory(json.into()))
    }
}

impl fmt::Debug for ManifestJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManifestJson")
    }
}

impl ManifestJson {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// A temporary file that cannot be read.
    pub fn read(&self) -> io::Result<Bytes> {
        match &self.0 {
            Place::Memory(json) => Ok(json.clone()),
            Place::Spooled { file, range } => {
                let mut json = Vec::new();
                file.read(range.clone(), &mut json)?;
                Ok(json.into())
            }
        }
    }
}

/// Takes manifests one after the other, in little memory.
pub struct ManifestSpool {
    folder: PathBuf,
    key: [u8; 32],
    /// Bytes that are in memory.
    held: usize,
    file: Option<Arc<MaskedFile>>,
    /// Of the file, not written yet; they go to `end`.
    part: Vec<u8>,
    end: u64,
    memory_len: usize,
}

impl ManifestSpool {
    /// With a file in the folder for temporary files, once it is needed.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(env: &Env) -> Result<Self> {
        let (folder, key) = (std::env::temp_dir(), env.random()?);
        Ok(ManifestSpool {
            folder,
            key,
            held: 0,
            file: None,
            part: Vec::new(),
            end: 0,
            memory_len: MEMORY_LEN,
        })
    }

    /// Takes the JSON of a manifest. It can be read after [`finish`](Self::finish). Blocks.
    ///
    /// # Errors
    /// No room for temporary files.
    pub fn push(&mut self, json: Vec<u8>) -> io::Result<ManifestJson> {
        if self.held.saturating_add(json.len()) <= self.memory_len {
            self.held += json.len();
            return Ok(json.into());
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(Arc::new(MaskedFile::new(&self.folder, self.key)?)).clone(),
        };
        let start = self.end + self.part.len() as u64;
        self.part.extend_from_slice(&json);
        if self.part.len() >= WRITE_LEN {
            self.finish()?;
        }
        Ok(ManifestJson(Place::Spooled { file, range: start..start + json.len() as u64 }))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// No room for temporary files.
    pub fn finish(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let len = part.len() as u64;
        if let Some(file) = self.file.as_ref().filter(|_| len > 0) {
            file.write(self.end, part)?;
            self.end += len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_does_not_fit_memory_lies_masked_in_a_file_without_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let spool = ManifestSpool::new(&Env::system()).unwrap();
        let mut spool = ManifestSpool { folder: folder.path().into(), memory_len: 100, ..spool };
        let of = |n: usize| format!("{{\"number\":{n},\"text\":\"{}\"}}", "x".repeat(n % 700)).into_bytes();
        let all: Vec<ManifestJson> = (0..10_000).map(|n| spool.push(of(n)).unwrap()).collect();
        spool.finish().unwrap();
        for (n, json) in all.iter().enumerate() {
            assert_eq!(json.read().unwrap(), of(n), "{n}");
        }
        let in_memory = all.iter().filter(|json| matches!(json.0, Place::Memory(_))).count();
        assert!((1..10).contains(&in_memory), "{in_memory}");
        assert_eq!(folder.path().metadata().unwrap().nlink(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(format!("{:?}", all[0]), "ManifestJson");
    }
}
