//! The fused loop of a restore: packs in memory, records opened, checked and written where they go.
//!
//! Each thread takes the next pack; nothing is planned, fetched or handed over. The engine is measured against this.

use crate::Keys;
use crate::fused::{Kept, on_threads};
use crate::packs::KeptPack;
use crate::report::Rate;
use anyhow::{Context, Result, ensure};
use chunker::chunk_id;
use hashbrown::HashMap;
use repo_format::Id;
use repo_format::compress::Decompressor;
use repo_format::pack::HEADER_LEN;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Stays in the processor's cache.
const WRITE_LEN: usize = 512 << 10;

/// Neighbours are written together: a file takes one write at a time.
struct Joined<'a> {
    file: &'a File,
    offset: u64,
    bytes: Vec<u8>,
    written: u64,
}

impl Joined<'_> {
    fn write(&mut self, plain: &[u8], offset: u64) -> Result<()> {
        if self.bytes.len() >= WRITE_LEN || self.offset + self.bytes.len() as u64 != offset {
            self.flush()?;
            self.offset = offset;
        }
        self.bytes.extend_from_slice(plain);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.bytes, self.offset)?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

/// Where each chunk goes.
pub struct Plan<'a> {
    packs: &'a [KeptPack],
    offsets: HashMap<Id, Vec<u64>>,
    len: u64,
}

impl<'a> Plan<'a> {
    /// Of an image of `len` bytes in segments of `segment_len`.
    pub fn new(kept: &'a Kept, segment_len: u64, len: u64) -> Self {
        let mut offsets: HashMap<Id, Vec<u64>> = HashMap::new();
        for (number, entries) in &kept.segments {
            let mut offset = number * segment_len;
            for entry in entries {
                if let Some(id) = entry.id {
                    offsets.entry(id).or_default().push(offset);
                }
                offset += u64::from(entry.len);
            }
        }
        Plan { packs: &kept.packs, offsets, len }
    }

    /// Writes the image to a new file, and waits until it is on the medium.
    pub fn restore(&self, keys: &Keys, threads: usize, path: &Path) -> Result<Rate> {
        let start = Instant::now();
        let file = File::create_new(path).with_context(|| path.display().to_string())?;
        file.set_len(self.len)?;
        let next = AtomicUsize::new(0);
        let written = on_threads(threads, |_| {
            let (mut tools, mut plain) = (Decompressor::new(), Vec::new());
            let mut out = Joined { file: &file, offset: 0, bytes: Vec::new(), written: 0 };
            while let Some(pack) = self.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut rest = pack.bytes.get(HEADER_LEN..).unwrap_or_default();
                for row in &pack.rows {
                    let (sealed, after) = rest.split_at_checked(row.clen as usize).context("a short pack")?;
                    rest = after;
                    keys.session.record_key().open(row, sealed, &mut tools, &mut plain)?;
                    ensure!(Id(chunk_id(&keys.block, &plain)) == row.id, "a chunk of another id");
                    for offset in self.offsets.get(&row.id).into_iter().flatten() {
                        out.write(&plain, *offset)?;
                    }
                }
            }
            out.flush()?;
            Ok(out.written)
        })?;
        file.sync_all()?;
        Ok(Rate { bytes: written.into_iter().sum(), time: start.elapsed() })
    }
}
