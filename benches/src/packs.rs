//! Packs as the format wants them, in one buffer each, and where full ones go.

use crate::Keys;
use anyhow::{Context, Result, anyhow, ensure};
use repo_format::PackId;
use repo_format::compress::{Compressor, Decompressor};
use repo_format::limits::DATA_PACK_TARGET_LEN;
use repo_format::pack::{
    BodyHasher, HEADER_LEN, OpenTrailer, PackClass, PackContext, PackHeader, PackLen, Row, Trailer,
    open_trailer, seal_trailer,
};
use repo_format::record::{NONCE_LEN, PlainRecord};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

/// Room beyond the target for the record that turns out not to fit, and what its compression reserves.
const SLACK_LEN: usize = 8 << 20;

/// An open pack of one thread.
pub struct OpenPack<'a> {
    keys: &'a Keys,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    len: PackLen,
    hasher: BodyHasher,
    /// How much of `bytes` the hasher has seen.
    hashed_len: usize,
    pack_id: PackId,
    nonce: u128,
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl<'a> OpenPack<'a> {
    /// An empty pack; threads of one run have different `lane`s.
    pub fn new(keys: &'a Keys, lane: u8) -> Self {
        let mut pack = OpenPack {
            keys,
            bytes: Vec::new(),
            rows: Vec::new(),
            len: PackLen::new(),
            hasher: BodyHasher::default(),
            hashed_len: 0,
            pack_id: PackId([lane; 16]),
            nonce: u128::from(lane) << 88,
            decompressor: Decompressor::new(),
            plain: Vec::new(),
        };
        pack.reset(Vec::new());
        pack
    }

    fn reset(&mut self, mut buffer: Vec<u8>) {
        let header = PackHeader { class: PackClass::Data, pack_id: self.pack_id };
        buffer.clear();
        buffer.reserve_exact(DATA_PACK_TARGET_LEN as usize + SLACK_LEN);
        buffer.extend_from_slice(&header.encode());
        self.bytes = buffer;
        self.hasher = BodyHasher::new(&header);
        self.hashed_len = HEADER_LEN;
        self.len = PackLen::new();
        self.len.add_key(self.keys.session.row());
    }

    /// Seals a record behind the others. If the pack is thereby too long, it goes into `sink` without it.
    pub fn seal(
        &mut self,
        compressor: &mut Compressor,
        plain: &PlainRecord<'_>,
        level: Option<i32>,
        sink: &mut Sink,
    ) -> Result<()> {
        let start = self.bytes.len();
        self.nonce += 1;
        let nonce: [u8; NONCE_LEN] = *self.nonce.to_be_bytes().last_chunk().context("a nonce of 12 bytes")?;
        let key = self.keys.session.record_key();
        let sealed = key.seal(compressor, plain, level, nonce, &mut self.bytes)?;
        let row = sealed.row(plain.record_type, 0, plain.id);
        if !self.len.fits(row.clen, None, DATA_PACK_TARGET_LEN) {
            let record = self.bytes.split_off(start);
            self.finish(sink)?;
            self.bytes.extend_from_slice(&record);
        }
        self.len.add_record(row.clen);
        self.rows.push(row);
        Ok(())
    }

    /// Hashes what was sealed since the last time, while it is in the processor's cache.
    pub fn hash(&mut self) {
        self.hasher.update(self.bytes.get(self.hashed_len..).unwrap_or_default());
        self.hashed_len = self.bytes.len();
    }

    /// Ends the pack with its trailer, reads trailer and first record back, and gives it to `sink`.
    pub fn finish(&mut self, sink: &mut Sink) -> Result<()> {
        self.hash();
        let rows = std::mem::take(&mut self.rows);
        let Some(first) = rows.first().copied() else { return Ok(()) };
        let kept_rows = if sink.kept.is_some() { rows.clone() } else { Vec::new() };
        let tail = seal_tail(self.keys, self.pack_id, self.hasher.finish(), rows)?;
        let sealed = self.bytes.get(HEADER_LEN..HEADER_LEN + first.clen as usize).unwrap_or_default();
        self.keys.session.record_key().open(&first, sealed, &mut self.decompressor, &mut self.plain)?;
        self.bytes.extend_from_slice(&tail);
        let number = u128::from_le_bytes(self.pack_id.0).wrapping_add(1 << 64);
        self.pack_id = PackId(number.to_le_bytes());
        let buffer = sink.take(std::mem::take(&mut self.bytes), &kept_rows)?;
        self.reset(buffer);
        Ok(())
    }
}

/// The end of a pack, compared with what a reader gets from it.
pub fn seal_tail(keys: &Keys, pack_id: PackId, body_hash: [u8; 32], rows: Vec<Row>) -> Result<Vec<u8>> {
    let context = PackContext {
        s_d: &keys.structure,
        epoch: 0,
        repo_id: &keys.repo_id,
        class: PackClass::Data,
        pack_id: &pack_id,
    };
    let trailer = Trailer::new(PackClass::Data, keys.sid, vec![keys.session.row().clone()], rows, vec![])?;
    let tail = seal_trailer(&context, [9; 24], body_hash, &trailer)?;
    let pack_len = trailer.records_end() + tail.len() as u64;
    match open_trailer(&context, &tail, pack_len)? {
        OpenTrailer::Done(read, _) => ensure!(read == trailer, "a trailer was read back different"),
        OpenTrailer::NeedTail(_) => return Err(anyhow!("a trailer was read back short")),
    }
    Ok(tail)
}

/// Where a thread's full packs go, and how much that was.
#[derive(Default)]
pub struct Sink {
    /// Bytes of packs.
    pub stored_len: u64,
    /// How many packs.
    pub pack_count: u64,
    writer: Option<Writer>,
    kept: Option<Vec<KeptPack>>,
}

/// A pack that stays in memory, to be read again.
pub struct KeptPack {
    /// The whole pack.
    pub bytes: Vec<u8>,
    /// Its records, the first behind the header.
    pub rows: Vec<Row>,
}

impl Sink {
    /// Packs are counted and overwritten.
    pub fn memory() -> Self {
        Self::default()
    }

    /// Packs become files in `dir`, written and synced by a thread beside that of the caller.
    pub fn dir(dir: &Path, lane: u8) -> Self {
        Sink { writer: Some(Writer::start(dir.to_owned(), lane)), ..Self::default() }
    }

    /// Packs are kept.
    pub fn keep() -> Self {
        Sink { kept: Some(Vec::new()), ..Self::default() }
    }

    /// The packs that were kept.
    pub fn into_kept(self) -> Vec<KeptPack> {
        self.kept.unwrap_or_default()
    }

    /// Takes a pack, and gives a buffer for the next.
    fn take(&mut self, pack: Vec<u8>, rows: &[Row]) -> Result<Vec<u8>> {
        self.stored_len += pack.len() as u64;
        self.pack_count += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(KeptPack { bytes: pack, rows: rows.to_vec() });
            return Ok(Vec::new());
        }
        match &mut self.writer {
            None => Ok(pack),
            Some(writer) => writer.take(pack),
        }
    }

    /// Waits until all is written.
    pub fn finish(&mut self) -> Result<()> {
        self.writer.take().map_or(Ok(()), Writer::finish)
    }
}

/// Packs of one thread that are on their way to the disk: two at most.
struct Writer {
    packs: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<Vec<u8>>>,
    under_way: usize,
}

impl Writer {
    fn start(dir: PathBuf, lane: u8) -> Self {
        let (packs, incoming) = sync_channel::<Vec<u8>>(2);
        let (done, written) = channel();
        std::thread::spawn(move || {
            for (number, pack) in incoming.into_iter().enumerate() {
                let path = dir.join(format!("{lane}-{number}.pack"));
                if done.send(write_synced(&path, pack)).is_err() {
                    break;
                }
            }
        });
        Writer { packs, written, under_way: 0 }
    }

    fn take(&mut self, pack: Vec<u8>) -> Result<Vec<u8>> {
        let buffer = if self.under_way < 2 {
            self.under_way += 1;
            Vec::new()
        } else {
            self.written.recv()??
        };
        self.packs.send(pack)?;
        Ok(buffer)
    }

    fn finish(self) -> Result<()> {
        drop(self.packs);
        self.written.into_iter().try_for_each(|pack| Ok(pack.map(drop)?))
    }
}

fn write_synced(path: &Path, pack: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut file = File::create(path)?;
    file.write_all(&pack)?;
    file.sync_all()?;
    Ok(pack)
}
