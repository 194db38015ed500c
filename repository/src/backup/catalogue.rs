//! The manifests of a backup as one stream of bytes.

use super::request::ManifestInput;
use repo_format::catalogue::CatalogueWriter;
use std::io::{self, Read};
use std::sync::Arc;

/// Yields the catalogue frame by frame; only the contents' paths stay in memory.
pub(super) struct CatalogueStream {
    manifests: Arc<[ManifestInput]>,
    /// Number of the next one.
    next: usize,
    writer: Option<CatalogueWriter>,
    frame: Vec<u8>,
    read: usize,
}

impl CatalogueStream {
    pub(super) fn new(manifests: Arc<[ManifestInput]>) -> Self {
        CatalogueStream {
            manifests,
            next: 0,
            writer: Some(CatalogueWriter::new()),
            frame: Vec::new(),
            read: 0,
        }
    }

    /// The next frame, or the contents; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        let Some(mut writer) = self.writer.take() else { return Ok(false) };
        self.frame.clear();
        self.read = 0;
        match self.manifests.get(self.next) {
            Some(ManifestInput { path, json }) => {
                let pushed = writer.push(path, &json.read()?, &mut self.frame);
                pushed.map_err(|error| io::Error::other(format!("manifest {path:?}: {error}")))?;
                self.writer = Some(writer);
                self.next += 1;
            }
            None => writer.finish(&mut self.frame),
        }
        Ok(true)
    }
}

impl Read for CatalogueStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.read == self.frame.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let rest = self.frame.get(self.read..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        let (from, to) = (rest.get(..len).unwrap_or_default(), buf.get_mut(..len).unwrap_or_default());
        to.copy_from_slice(from);
        self.read += len;
        Ok(len)
    }
}
