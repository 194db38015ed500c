//! Packs of chunks and of map pages.

use super::folder::{Folder, LEVEL};
use super::plan::{Job, Spec};
use anyhow::{Context, Result};
use repo_format::compress::Compressor;
use repo_format::index::PackRow;
use repo_format::layout::ObjectName;
use repo_format::limits::MAP_PACK_TARGET_LEN;
use repo_format::map::EncodedPage;
use repo_format::pack::{
    BodyHasher, FOOTER_LEN, PackClass, PackContext, PackHeader, PackLen, Row, Trailer, seal_trailer,
};
use repo_format::record::{NONCE_LEN, PlainRecord, RecordType};
use repo_format::{Id, PackId, SnapshotId};

/// A pack that is in the folder, and what the index has to know of it.
pub(super) struct StoredPack {
    pub(super) row: PackRow,
    /// Ids and sealed lengths of its records.
    pub(super) records: Vec<(Id, u32)>,
}

/// Nonces must differ under one key: the kind of record, and its number.
pub(super) fn nonce(kind: u8, n: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[0] = kind;
    nonce[4..].copy_from_slice(&n.to_le_bytes());
    nonce
}

/// Ends a pack that holds `body` and writes it.
pub(super) fn put_pack(
    folder: &Folder,
    name: &ObjectName,
    (class, pack_id): (PackClass, PackId),
    sid: SnapshotId,
    body: &[u8],
    rows: Vec<Row>,
) -> Result<PackRow> {
    let header = PackHeader { class, pack_id };
    let mut hasher = BodyHasher::new(&header);
    hasher.update(body);
    let trailer = Trailer::new(class, sid, vec![folder.key_row(class).clone()], rows, vec![])?;
    let repo_id = folder.repo_id();
    let context =
        PackContext { s_d: &folder.structure, epoch: 0, repo_id: &repo_id, class, pack_id: &pack_id };
    // the key of a trailer is derived from the pack's name, too: it is fresh
    let mut salt = [0; 24];
    salt[..16].copy_from_slice(&pack_id.0);
    let tail = seal_trailer(&context, salt, hasher.finish(), &trailer)?;
    folder.put(name, &[&header.encode(), body, &tail])?;
    Ok(PackRow {
        pack_id,
        size: u32::try_from(trailer.records_end() + tail.len() as u64)?,
        trailer_len: u32::try_from(tail.len() - FOOTER_LEN)?,
        class,
        sid,
    })
}

/// Makes one pack of chunks: its number and the session that wrote it are given.
pub(super) fn data_pack(
    folder: &Folder,
    spec: &Spec,
    job: &Job,
    n: u64,
    sid: SnapshotId,
) -> Result<StoredPack> {
    let mut compressor = Compressor::new();
    let mut content = vec![0; spec.chunk_len as usize];
    let (mut body, mut rows) = (Vec::new(), Vec::new());
    for place in job.places.clone() {
        let number = spec.chunk_at(place);
        folder.source.fill(number, &mut content);
        let id = folder.source.id(&folder.block_keys, number, &content);
        let plain = PlainRecord { record_type: RecordType::Data, id, content: &content };
        // never compressed: there is nothing to gain, and trying takes time
        let key = folder.data_key.record_key();
        let sealed = key.seal(&mut compressor, &plain, None, nonce(1, number), &mut body)?;
        rows.push(sealed.row(RecordType::Data, 0, id));
    }
    let records = rows.iter().map(|row| (row.id, row.clen)).collect();
    let pack_id = folder.pack_id(PackClass::Data, n);
    let name = ObjectName::DataPack(pack_id);
    let row = put_pack(folder, &name, (PackClass::Data, pack_id), sid, &body, rows)?;
    Ok(StoredPack { row, records })
}

/// The open pack of map pages.
pub(super) struct MapPacker<'a> {
    folder: &'a Folder,
    compressor: Compressor,
    body: Vec<u8>,
    rows: Vec<Row>,
    len: PackLen,
    packs: u64,
    pages: u64,
}

impl<'a> MapPacker<'a> {
    pub(super) fn new(folder: &'a Folder) -> Self {
        let mut packer = MapPacker {
            folder,
            compressor: Compressor::new(),
            body: Vec::new(),
            rows: Vec::new(),
            len: PackLen::new(),
            packs: 0,
            pages: 0,
        };
        packer.len.add_key(folder.key_row(PackClass::Map));
        packer
    }

    /// Pages so far.
    pub(super) fn page_count(&self) -> u64 {
        self.pages
    }

    /// Takes a page; gives the pack that was full without it.
    pub(super) fn push(&mut self, page: &EncodedPage, sid: SnapshotId) -> Result<Option<StoredPack>> {
        let start = self.body.len();
        let plain = PlainRecord { record_type: RecordType::Page, id: page.id, content: &page.bytes };
        let key = self.folder.structure_key.record_key();
        let nonce = nonce(2, self.pages);
        let sealed = key.seal(&mut self.compressor, &plain, Some(LEVEL), nonce, &mut self.body)?;
        self.pages += 1;
        let mut full = None;
        if !self.len.fits(sealed.clen, None, MAP_PACK_TARGET_LEN) {
            let record = self.body.split_off(start);
            full = self.close(sid)?;
            self.body.extend_from_slice(&record);
        }
        self.len.add_record(sealed.clen);
        self.rows.push(sealed.row(RecordType::Page, 0, page.id));
        Ok(full)
    }

    /// Ends the open pack; nothing if it is empty.
    pub(super) fn close(&mut self, sid: SnapshotId) -> Result<Option<StoredPack>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        let records = rows.iter().map(|row| (row.id, row.clen)).collect();
        let pack_id = self.folder.pack_id(PackClass::Map, self.packs);
        self.packs = self.packs.checked_add(1).context("too many packs")?;
        let name = ObjectName::MapPack(pack_id);
        let row = put_pack(self.folder, &name, (PackClass::Map, pack_id), sid, &self.body, rows)?;
        self.body.clear();
        self.len = PackLen::new();
        self.len.add_key(self.folder.key_row(PackClass::Map));
        Ok(Some(StoredPack { row, records }))
    }
}
