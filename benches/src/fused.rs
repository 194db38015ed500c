//! The fused loop: all that a backup computes, on buffers that are used again, without a store.
//!
//! Each thread takes the next segment, reads it, cuts it, claims its chunks, compresses and seals the new
//! ones into a pack of its own. Nothing is handed from thread to thread, nothing waits. The engine is
//! measured against this.

use crate::image::Image;
use crate::packs::{KeptPack, OpenPack, Sink};
use crate::{Keys, entries, params};
use anyhow::{Context, Result, ensure};
use chunker::blocks::{Cut, Scratch, cut_segment};
use hashbrown::HashSet;
use repo_format::Id;
use repo_format::compress::Compressor;
use repo_format::map::LeafEntry;
use repo_format::record::{PlainRecord, RecordType};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SHARDS: usize = 64;

/// Which chunks are taken already; threads share it.
pub struct Claims(Vec<Mutex<HashSet<[u8; 16]>>>);

impl Claims {
    /// Nothing is taken.
    pub fn new() -> Self {
        Claims((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// True for who takes it first.
    pub fn reserve(&self, id: &Id) -> bool {
        let short = id.short();
        let shard = self.0.get(usize::from(short[0]) % SHARDS);
        shard.is_some_and(|set| set.lock().unwrap_or_else(PoisonError::into_inner).insert(short))
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self::new()
    }
}

/// What kind of backup the loop makes.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    /// Everything is new. Packs are written and synced to a directory if one is given.
    Initial {
        /// zstd level.
        level: i32,
        /// Where packs go.
        out: Option<&'a Path>,
    },
    /// As `Initial`, and packs and cuts are kept, to be restored.
    Kept {
        /// zstd level.
        level: i32,
    },
    /// All is read, cut and hashed, and found to have these page ids.
    Unchanged(&'a [Id]),
}

/// What [`Mode::Kept`] keeps.
#[derive(Default)]
pub struct Kept {
    /// Full packs.
    pub packs: Vec<KeptPack>,
    /// Segments by number, with their chunks and holes.
    pub segments: Vec<(u64, Vec<LeafEntry>)>,
}

/// What one run of the loop did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// From the first read to the last byte sealed (or synced).
    pub time: Duration,
    /// Bytes that came from the image: without its holes.
    pub read_len: u64,
    /// Plain bytes of new chunks.
    pub new_len: u64,
    /// Bytes of packs.
    pub stored_len: u64,
    /// Packs.
    pub pack_count: u64,
}

/// Runs the loop once over the whole image.
pub fn run(image: &Image, keys: &Keys, threads: usize, mode: Mode<'_>) -> Result<Run> {
    run_kept(image, keys, threads, mode).map(|(run, _)| run)
}

/// As [`run`], with what it kept.
pub fn run_kept(image: &Image, keys: &Keys, threads: usize, mode: Mode<'_>) -> Result<(Run, Kept)> {
    let (claims, next) = (Claims::new(), AtomicU64::new(0));
    let start = Instant::now();
    let parts = on_threads(threads, |lane| {
        let mut worker = Worker::new(image, keys, &claims, lane, mode)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= image.segment_count() {
                return worker.finish();
            }
            worker.segment(number)?;
        }
    })?;
    let mut sum = Run { time: start.elapsed(), ..Run::default() };
    let mut kept = Kept::default();
    for (part, mut its) in parts {
        kept.packs.append(&mut its.packs);
        kept.segments.append(&mut its.segments);
        sum.read_len += part.read_len;
        sum.new_len += part.new_len;
        sum.stored_len += part.stored_len;
        sum.pack_count += part.pack_count;
    }
    Ok((sum, kept))
}

/// Runs `work` on so many threads at once, and gives all results or the first error.
pub fn on_threads<T: Send>(threads: usize, work: impl Fn(u8) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let lanes = (0..threads).map(|lane| u8::try_from(lane).context("at most 255 threads"));
        let running: Result<Vec<_>> =
            lanes.map(|lane| lane.map(|lane| scope.spawn(move || work(lane)))).collect();
        running?
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .collect()
    })
}

struct Worker<'a> {
    image: &'a Image,
    keys: &'a Keys,
    claims: &'a Claims,
    mode: Mode<'a>,
    params: chunker::blocks::BlockParams,
    buffer: Vec<u8>,
    scratch: Scratch,
    cuts: Vec<Cut>,
    entries: Vec<LeafEntry>,
    compressor: Compressor,
    pack: OpenPack<'a>,
    sink: Sink,
    run: Run,
    segments: Vec<(u64, Vec<LeafEntry>)>,
}

impl<'a> Worker<'a> {
    fn new(image: &'a Image, keys: &'a Keys, claims: &'a Claims, lane: u8, mode: Mode<'a>) -> Result<Self> {
        let sink = match mode {
            Mode::Initial { out: Some(dir), .. } => Sink::dir(dir, lane),
            Mode::Kept { .. } => Sink::keep(),
            _ => Sink::memory(),
        };
        Ok(Worker {
            image,
            keys,
            claims,
            mode,
            params: params()?,
            buffer: Vec::new(),
            scratch: Scratch::default(),
            cuts: Vec::new(),
            entries: Vec::new(),
            compressor: Compressor::new(),
            pack: OpenPack::new(keys, lane),
            sink,
            run: Run::default(),
            segments: Vec::new(),
        })
    }

    fn segment(&mut self, number: u64) -> Result<()> {
        let read_len = self.image.read(number, &mut self.buffer)?;
        self.run.read_len += read_len;
        self.cuts.clear();
        if read_len > 0 {
            cut_segment(self.params, &self.keys.block, &self.buffer, &mut self.scratch, &mut self.cuts);
        }
        match self.mode {
            Mode::Initial { level, .. } => self.seal(level),
            Mode::Kept { level } => {
                entries(&self.cuts, &mut self.entries);
                self.segments.push((number, self.entries.clone()));
                self.seal(level)
            }
            Mode::Unchanged(parent) => {
                entries(&self.cuts, &mut self.entries);
                let id = self.keys.page.leaf_id(&self.entries)?;
                let expected = usize::try_from(number).ok().and_then(|n| parent.get(n));
                ensure!(expected == Some(&id), "segment {number}: the image changed while it was measured");
                Ok(())
            }
        }
    }

    fn seal(&mut self, level: i32) -> Result<()> {
        let mut rest = self.buffer.as_slice();
        for cut in &self.cuts {
            let (content, after) =
                rest.split_at_checked(cut.len as usize).context("cuts beyond the segment")?;
            rest = after;
            let Some(id) = cut.id.map(Id) else { continue };
            if self.claims.reserve(&id) {
                self.run.new_len += content.len() as u64;
                let plain = PlainRecord { record_type: RecordType::Data, id, content };
                self.pack.seal(&mut self.compressor, &plain, Some(level), &mut self.sink)?;
            }
        }
        self.pack.hash();
        Ok(())
    }

    fn finish(mut self) -> Result<(Run, Kept)> {
        self.pack.finish(&mut self.sink)?;
        self.sink.finish()?;
        self.run.stored_len = self.sink.stored_len;
        self.run.pack_count = self.sink.pack_count;
        Ok((self.run, Kept { packs: self.sink.into_kept(), segments: self.segments }))
    }
}
