//! The kernels of the fused loop, each timed by itself on the same data and in the same buffers.
//!
//! A segment is read, then each kernel runs over all of it before the next one begins. What the times add
//! up to is what the loop should take; what it takes beyond that is its own.

use crate::fused::{Claims, on_threads};
use crate::image::Image;
use crate::packs::seal_tail;
use crate::report::Rate;
use crate::{Keys, entries, params};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use anyhow::{Context, Result, anyhow};
use chunker::blocks::{Cut, Scratch, cut_segment};
use chunker::{BLOCK_LEN, chunk_id};
use repo_format::compress::{Compressor, looks_compressible};
use repo_format::limits::{COMPRESSION_SAVING_PERCENT_MIN, DATA_PACK_TARGET_LEN, RECORD_OVERHEAD_LEN};
use repo_format::map::LeafEntry;
use repo_format::pack::{BodyHasher, PackClass, PackHeader, PackLen, Row};
use repo_format::record::{Compression, RecordType, Sealed};
use repo_format::{Id, PackId};
use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Copying the segment: not part of the loop, for comparison with `Read`.
    Copy,
    /// SEEK_DATA and pread from the page cache.
    Read,
    /// The zero test within `Cut`; it ends at the first byte that is not zero.
    ZeroTest,
    /// Ids chunk by chunk, as a reader computes them.
    ChunkId,
    /// Cuts and ids: zero test, block hashes, ids of chunks.
    Cut,
    /// The id of the segment's map page.
    PageId,
    /// Lookup in the set of ids.
    Claim,
    /// Entropy probe, zstd, a copy of what does not shrink.
    Compress,
    /// AES-256-GCM in place.
    Seal,
    /// BLAKE3 of sealed records.
    BodyHash,
    /// Trailers, sealed and read back.
    Trailer,
}

impl Kernel {
    /// All, in the order in which they are shown.
    pub const ALL: [Kernel; 11] = [
        Kernel::Copy,
        Kernel::Read,
        Kernel::ZeroTest,
        Kernel::ChunkId,
        Kernel::Cut,
        Kernel::PageId,
        Kernel::Claim,
        Kernel::Compress,
        Kernel::Seal,
        Kernel::BodyHash,
        Kernel::Trailer,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Copy => "memcpy of segments",
            Kernel::Read => "pread, page cache warm",
            Kernel::Cut => "cut_segment",
            Kernel::ZeroTest => "zero test alone",
            Kernel::ChunkId => "chunk_id of chunks",
            Kernel::PageId => "page id",
            Kernel::Claim => "set lookup",
            Kernel::Compress => "entropy probe, zstd",
            Kernel::Seal => "AES-256-GCM",
            Kernel::BodyHash => "BLAKE3 of pack bodies",
            Kernel::Trailer => "trailers, read back",
        }
    }

    /// Part of a first backup.
    pub fn in_initial(self) -> bool {
        use Kernel::{BodyHash, Claim, Compress, Cut, Read, Seal, Trailer};
        matches!(self, Read | Cut | Claim | Compress | Seal | BodyHash | Trailer)
    }

    /// Part of a backup that finds nothing new.
    pub fn in_unchanged(self) -> bool {
        matches!(self, Kernel::Read | Kernel::Cut | Kernel::PageId)
    }
}

/// Bytes and time of each kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times([Rate; Kernel::ALL.len()]);

impl Times {
    /// How much a kernel had to do, and the time of all threads, divided by their number.
    pub fn of(&self, kernel: Kernel) -> Rate {
        self.0.get(kernel as usize).copied().unwrap_or_default()
    }

    /// What a loop of the chosen kernels should take.
    pub fn sum(&self, chosen: impl Fn(Kernel) -> bool) -> Duration {
        Kernel::ALL.iter().filter(|kernel| chosen(**kernel)).map(|kernel| self.of(*kernel).time).sum()
    }

    fn time<T>(&mut self, kernel: Kernel, bytes: u64, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        if let Some(rate) = self.0.get_mut(kernel as usize) {
            rate.time += start.elapsed();
            rate.bytes += bytes;
        }
        result
    }
}

/// What a pass over the image found.
pub struct Pass {
    /// The kernels.
    pub times: Times,
    /// The id of each segment's page.
    pub page_ids: Vec<Id>,
}

/// Runs the kernels over the whole image, with `threads` of them at once: those of [`Kernel::in_unchanged`],
/// and with a zstd `level` all others too.
pub fn run(image: &Image, keys: &Keys, threads: usize, level: Option<i32>) -> Result<Pass> {
    let (claims, next) = (Claims::new(), AtomicU64::new(0));
    let parts = on_threads(threads, |_| {
        let mut bench = Bench::new(image, keys, &claims, level)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= image.segment_count() {
                bench.close_pack()?;
                return Ok((bench.times, bench.page_ids));
            }
            bench.segment(number)?;
        }
    })?;
    let mut times = Times::default();
    let mut page_ids = Vec::new();
    for (part, ids) in parts {
        for (sum, rate) in times.0.iter_mut().zip(part.0) {
            sum.bytes += rate.bytes;
            sum.time += rate.time / u32::try_from(threads)?;
        }
        page_ids.extend(ids);
    }
    page_ids.sort_by_key(|(number, _)| *number);
    Ok(Pass { times, page_ids: page_ids.into_iter().map(|(_, id)| id).collect() })
}

struct Bench<'a> {
    image: &'a Image,
    keys: &'a Keys,
    claims: &'a Claims,
    level: Option<i32>,
    times: Times,
    params: chunker::blocks::BlockParams,
    buffer: Vec<u8>,
    copy: Vec<u8>,
    scratch: Scratch,
    cuts: Vec<Cut>,
    entries: Vec<LeafEntry>,
    page_ids: Vec<(u64, Id)>,
    compressor: Compressor,
    cipher: Aes256Gcm,
    body: Vec<u8>,
    parts: Vec<(Range<usize>, Compression)>,
    rows: Vec<Row>,
    pack_len: PackLen,
}

/// A chunk of the segment at hand.
struct Chunk {
    id: Id,
    at: Range<usize>,
}

impl<'a> Bench<'a> {
    fn new(image: &'a Image, keys: &'a Keys, claims: &'a Claims, level: Option<i32>) -> Result<Self> {
        Ok(Bench {
            image,
            keys,
            claims,
            level,
            times: Times::default(),
            params: params()?,
            buffer: Vec::new(),
            copy: Vec::new(),
            scratch: Scratch::default(),
            cuts: Vec::new(),
            entries: Vec::new(),
            page_ids: Vec::new(),
            compressor: Compressor::new(),
            cipher: Aes256Gcm::new(&[7; 32].into()),
            body: Vec::new(),
            parts: Vec::new(),
            rows: Vec::new(),
            pack_len: PackLen::new(),
        })
    }

    fn segment(&mut self, number: u64) -> Result<()> {
        let (image, keys) = (self.image, self.keys);
        let read_len = self.times.time(Kernel::Read, 0, || image.read(number, &mut self.buffer))?;
        if let Some(rate) = self.times.0.get_mut(Kernel::Read as usize) {
            rate.bytes += read_len;
        }
        self.cuts.clear();
        if read_len == 0 {
            self.page_ids.push((number, Id::ZERO));
            return Ok(());
        }
        let len = self.buffer.len() as u64;
        let (buffer, cuts, scratch) = (&self.buffer, &mut self.cuts, &mut self.scratch);
        self.times.time(Kernel::Cut, len, || cut_segment(self.params, &keys.block, buffer, scratch, cuts));
        let id = self.times.time(Kernel::PageId, len, || {
            entries(cuts, &mut self.entries);
            keys.page.leaf_id(&self.entries)
        })?;
        self.page_ids.push((number, id));
        let Some(level) = self.level else { return Ok(()) };
        let chunks = self.chunks();
        let claims = self.claims;
        let new: Vec<Chunk> = self.times.time(Kernel::Claim, len, || {
            chunks.into_iter().filter(|chunk| claims.reserve(&chunk.id)).collect()
        });
        self.compress(&new, level)?;
        self.seal()?;
        self.hash();
        self.add_rows(&new)?;
        self.others()
    }

    /// Chunks of the cuts, with their places in the buffer.
    fn chunks(&self) -> Vec<Chunk> {
        let mut offset = 0;
        let places = self.cuts.iter().filter_map(|cut| {
            let at = offset..offset + cut.len as usize;
            offset = at.end;
            cut.id.map(|id| Chunk { id: Id(id), at })
        });
        places.collect()
    }

    /// As records are compressed, without the cipher.
    fn compress(&mut self, new: &[Chunk], level: i32) -> Result<()> {
        let (buffer, body, parts) = (&self.buffer, &mut self.body, &mut self.parts);
        let compressor = &mut self.compressor;
        body.clear();
        parts.clear();
        let kept_percent = u64::from(100 - COMPRESSION_SAVING_PERCENT_MIN);
        let new_len = new.iter().map(|chunk| chunk.at.len() as u64).sum();
        self.times.time(Kernel::Compress, new_len, || {
            for chunk in new {
                let content = buffer.get(chunk.at.clone()).context("cuts beyond the segment")?;
                let start = body.len();
                let mut comp = Compression::Raw;
                if looks_compressible(content) {
                    compressor.compress_frame(level, content, body)?;
                    if ((body.len() - start) as u64) * 100 <= content.len() as u64 * kept_percent {
                        comp = Compression::Zstd;
                    }
                }
                if comp == Compression::Raw {
                    body.truncate(start);
                    body.extend_from_slice(content);
                }
                parts.push((start..body.len(), comp));
            }
            Ok(())
        })
    }

    fn seal(&mut self) -> Result<()> {
        let (body, parts, cipher) = (&mut self.body, &self.parts, &self.cipher);
        // as long as that of a record
        let aad = [0; 58];
        let sealed = self.times.time(Kernel::Seal, body.len() as u64, || {
            parts.iter().try_for_each(|(at, _)| {
                let part = body.get_mut(at.clone()).unwrap_or_default();
                cipher
                    .encrypt_inout_detached(&[1; 12].into(), &aad, part.into())
                    .map(|tag| _ = black_box(tag))
            })
        });
        sealed.map_err(|_| anyhow!("the cipher refused a length"))
    }

    fn hash(&mut self) {
        let body = &self.body;
        self.times.time(Kernel::BodyHash, body.len() as u64, || {
            let mut hasher = BodyHasher::default();
            hasher.update(body);
            black_box(hasher.finish())
        });
    }

    fn add_rows(&mut self, new: &[Chunk]) -> Result<()> {
        let parts = std::mem::take(&mut self.parts);
        for (chunk, (at, comp)) in new.iter().zip(&parts) {
            let (clen, rlen) =
                (u32::try_from(at.len())? + RECORD_OVERHEAD_LEN, u32::try_from(chunk.at.len())?);
            if !self.pack_len.fits(clen, None, DATA_PACK_TARGET_LEN) {
                self.close_pack()?;
            }
            self.pack_len.add_record(clen);
            self.rows.push(Sealed { comp: *comp, clen, rlen }.row(RecordType::Data, 0, chunk.id));
        }
        self.parts = parts;
        Ok(())
    }

    /// What is shown for comparison, and is no part of the loop.
    fn others(&mut self) -> Result<()> {
        let (buffer, copy, keys) = (&self.buffer, &mut self.copy, self.keys);
        let len = buffer.len() as u64;
        copy.resize(buffer.len(), 0);
        self.times.time(Kernel::Copy, len, || black_box(copy).copy_from_slice(black_box(buffer)));
        self.times.time(Kernel::ZeroTest, len, || {
            for block in buffer.as_chunks::<BLOCK_LEN>().0 {
                black_box(*block == [0; BLOCK_LEN]);
            }
        });
        let chunks = self.chunks();
        let chunks_len = chunks.iter().map(|chunk| chunk.at.len() as u64).sum();
        let same = self.times.time(Kernel::ChunkId, chunks_len, || {
            chunks.iter().all(|chunk| {
                let content = self.buffer.get(chunk.at.clone()).unwrap_or_default();
                chunk_id(&keys.block, content) == chunk.id.0
            })
        });
        if same { Ok(()) } else { Err(anyhow!("chunk_id and cut_segment disagree")) }
    }

    fn close_pack(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (rows, keys) = (std::mem::take(&mut self.rows), self.keys);
        let pack_id = PackId([1; 16]);
        let body_hash = BodyHasher::new(&PackHeader { class: PackClass::Data, pack_id }).finish();
        let pack_len = self.pack_len.records_end();
        self.times.time(Kernel::Trailer, pack_len, || seal_tail(keys, pack_id, body_hash, rows))?;
        self.pack_len = PackLen::new();
        Ok(())
    }
}
