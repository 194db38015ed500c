//! Packs: sealed records in, finished and verified packs out.

use crate::error::Named;
use crate::store::Store;
use crate::{Env, Error, Exec, Result};
use bytes::Bytes;
use object_store::PutPayload;
use repo_format::compress::Decompressor;
use repo_format::kdf::Secret;
use repo_format::layout::ObjectName;
use repo_format::limits::EPOCH;
use repo_format::pack::{
    BodyHasher, HEADER_LEN, OpenTrailer, PackClass, PackContext, PackHeader, PackLen, Row, Trailer,
    open_trailer, seal_trailer,
};
use repo_format::record::{KeyRow, RecordKey};
use repo_format::{PackId, RepoId, SnapshotId};
use std::sync::Arc;

/// Sealed records that lie one after the other in `bytes`; rows name keys by number in the pack.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<Row>,
}

/// What a pack was made of, once the store has acknowledged it.
pub(crate) struct StoredPack {
    pub(crate) pack_id: PackId,
    pub(crate) class: PackClass,
    pub(crate) len: u64,
    pub(crate) trailer_len: u32,
    pub(crate) rows: Vec<Row>,
}

/// Everything that finishing a pack needs; shared by all packs of a session.
#[derive(Clone)]
pub(crate) struct PackSealer {
    pub(crate) store: Store,
    pub(crate) exec: Exec,
    pub(crate) env: Env,
    pub(crate) repo_id: RepoId,
    pub(crate) structure: Arc<Secret>,
    pub(crate) sid: SnapshotId,
}

/// One open pack, and what is in it so far. The bytes of a batch are shared, never copied.
pub(crate) struct Packer {
    class: PackClass,
    target_len: u64,
    keys: Vec<KeyRow>,
    /// Opens the first record of a finished pack again; a copier holds no such key.
    proof: Option<RecordKey>,
    parts: Vec<Bytes>,
    rows: Vec<Row>,
    len: PackLen,
}

impl Packer {
    pub(crate) fn new(
        class: PackClass,
        target_len: u64,
        keys: Vec<KeyRow>,
        proof: Option<RecordKey>,
    ) -> Self {
        let mut packer =
            Packer { class, target_len, keys, proof, parts: vec![], rows: vec![], len: PackLen::new() };
        packer.reset();
        packer
    }

    fn reset(&mut self) {
        self.len = PackLen::new();
        for key in &self.keys {
            self.len.add_key(key);
        }
    }

    /// Takes records; gives the packs that became full.
    pub(crate) fn push(&mut self, batch: Batch) -> Vec<OpenPack> {
        let bytes = Bytes::from(batch.bytes);
        let mut full = Vec::new();
        let (mut start, mut end) = (0, 0);
        for row in batch.rows {
            if !self.len.fits(row.clen, None, self.target_len) {
                self.take_part(&bytes, start, end);
                start = end;
                full.extend(self.close());
            }
            self.len.add_record(row.clen);
            self.rows.push(row);
            end += row.clen as usize;
        }
        self.take_part(&bytes, start, end);
        full
    }

    fn take_part(&mut self, bytes: &Bytes, start: usize, end: usize) {
        if end > start {
            self.parts.push(bytes.slice(start..end));
        }
    }

    /// Ends the pack that is open; nothing if it is empty.
    pub(crate) fn close(&mut self) -> Option<OpenPack> {
        if self.rows.is_empty() {
            return None;
        }
        let pack = OpenPack {
            class: self.class,
            keys: self.keys.clone(),
            proof: self.proof.clone(),
            parts: std::mem::take(&mut self.parts),
            rows: std::mem::take(&mut self.rows),
        };
        self.reset();
        Some(pack)
    }
}

/// A pack that is full, not sealed yet.
pub(crate) struct OpenPack {
    class: PackClass,
    pub(crate) keys: Vec<KeyRow>,
    proof: Option<RecordKey>,
    parts: Vec<Bytes>,
    rows: Vec<Row>,
}

impl OpenPack {
    /// A pack of records that were sealed before; `parts` hold them in the order of `rows`.
    pub(crate) fn of_copies(class: PackClass, keys: Vec<KeyRow>, parts: Vec<Bytes>, rows: Vec<Row>) -> Self {
        OpenPack { class, keys, proof: None, parts, rows }
    }
}

impl PackSealer {
    /// Seals a pack, reads its trailer and one record back, and puts it into the store.
    pub(crate) async fn store(self, pack: OpenPack) -> Result<StoredPack> {
        let pack_id = self.env.pack_id()?;
        let name = ObjectName::pack(pack.class, pack_id);
        self.store_as(pack, pack_id, name).await
    }

    /// As [`store`](Self::store), under a name of the caller's (index runs).
    pub(crate) async fn store_as(
        self,
        pack: OpenPack,
        pack_id: PackId,
        name: ObjectName,
    ) -> Result<StoredPack> {
        let (salt, sealer) = (self.env.random()?, self.clone());
        let object = name;
        let (payload, stored) = self.exec.cpu(move || sealer.seal(pack, pack_id, &object, salt)).await??;
        self.store.put_unique(&name, payload).await?;
        Ok(stored)
    }

    fn seal(
        &self,
        pack: OpenPack,
        pack_id: PackId,
        object: &ObjectName,
        salt: [u8; 24],
    ) -> Result<(PutPayload, StoredPack)> {
        let header = PackHeader { class: pack.class, pack_id };
        let mut hasher = BodyHasher::new(&header);
        pack.parts.iter().for_each(|part| hasher.update(part));
        let context = PackContext {
            s_d: &self.structure,
            epoch: EPOCH,
            repo_id: &self.repo_id,
            class: pack.class,
            pack_id: &pack_id,
        };
        let trailer = Trailer::new(pack.class, self.sid, pack.keys, pack.rows, vec![]).named(object)?;
        let parts_len = pack.parts.iter().fold(HEADER_LEN as u64, |sum, part| sum + part.len() as u64);
        if parts_len != trailer.records_end() {
            return Err(Error::internal(format!("{object}: its records and its rows differ in length")));
        }
        let tail = seal_trailer(&context, salt, hasher.finish(), &trailer).named(object)?;
        let len = trailer.records_end() + tail.len() as u64;
        verify(&context, &tail, len, &trailer, &pack.parts, pack.proof.as_ref()).named(object)?;
        let trailer_len = u32::try_from(tail.len() - repo_format::pack::FOOTER_LEN)
            .map_err(|_| Error::internal("a trailer beyond 4 GiB"))?;
        let rows = trailer.rows().to_vec();
        let parts =
            std::iter::once(Bytes::copy_from_slice(&header.encode())).chain(pack.parts).chain([tail.into()]);
        Ok((parts.collect(), StoredPack { pack_id, class: pack.class, len, trailer_len, rows }))
    }
}

/// A pack is believed only after it was read back: the whole trailer, and its first record.
fn verify(
    context: &PackContext<'_>,
    tail: &[u8],
    len: u64,
    trailer: &Trailer,
    parts: &[Bytes],
    proof: Option<&RecordKey>,
) -> repo_format::Result<()> {
    let mismatch = repo_format::Error::Mismatch { what: "a pack read back before it is stored" };
    match open_trailer(context, tail, len)? {
        OpenTrailer::Done(read, _) if read == *trailer => {}
        _ => return Err(mismatch),
    }
    let (Some(key), Some(row), Some(part)) = (proof, trailer.rows().first(), parts.first()) else {
        return Ok(());
    };
    let sealed = part.get(..row.clen as usize).ok_or(mismatch)?;
    key.open(row, sealed, &mut Decompressor::new(), &mut Vec::new())
}
