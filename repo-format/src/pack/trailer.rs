//! The table of a pack: whose session wrote it, which keys, which records and where.

use super::frame::{HEADER_LEN, PackClass};
use crate::fields::Fields;
use crate::record::{
    ALG_HPKE_X25519, ALG_STRUCTURE, Compression, KeyRow, RecordType, WRAP_LEN, check_plain_len,
};
use crate::{Error, Id, KeyId, Result, SnapshotId, limits, padme};
use std::ops::Range;

const WHAT: &str = "pack trailer";
/// Length of one row: type, comp, key, id, clen, rlen.
pub const ROW_LEN: usize = 3 + Id::LEN + 4 + 4;
const KEY_ROW_LEN: usize = KeyId::LEN + 1 + 2 + 32 + 2;
const EXT_LEN: usize = 4 + 1 + 2;
/// Extension: the id of the base record that this one is a delta of; marking follows it.
pub const EXT_BASE: u8 = 1;
/// Extensions from this kind on must be understood.
const EXT_MUST_KNOW: u8 = 128;

/// One record of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What the plain content is.
    pub record_type: RecordType,
    /// How it was compressed.
    pub comp: Compression,
    /// Number of its key among the trailer's key rows.
    pub key: u8,
    /// Its identity.
    pub id: Id,
    /// Bytes in the pack: nonce, ciphertext and tag.
    pub clen: u32,
    /// Bytes of the plain content.
    pub rlen: u32,
}

/// Something said of one row beyond its fixed fields; kept so that it moves with the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ext {
    /// Number of the row.
    pub row: u32,
    /// [`EXT_BASE`], or a kind below 128 that a reader may ignore.
    pub kind: u8,
    /// The value.
    pub bytes: Vec<u8>,
}

/// The table of a pack, checked: every row lies within the pack and names a key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    sid: SnapshotId,
    keys: Vec<KeyRow>,
    rows: Vec<Row>,
    exts: Vec<Ext>,
    offsets: Vec<u32>,
}

impl Trailer {
    /// Puts a table together and checks it as a reader would.
    ///
    /// `sid` is the snapshot whose session wrote the pack; rows are in the order of the records.
    pub fn new(
        class: PackClass,
        sid: SnapshotId,
        keys: Vec<KeyRow>,
        rows: Vec<Row>,
        exts: Vec<Ext>,
    ) -> Result<Self> {
        check_keys(class, &keys)?;
        Error::check_limit("pack row count", rows.len() as u64, limits::PACK_ROW_COUNT_MAX.into())?;
        if rows.is_empty() {
            return Err(Error::Rule { what: WHAT, rule: "has no rows" });
        }
        let mut offsets = Vec::with_capacity(rows.len());
        let mut offset = HEADER_LEN as u64;
        for row in &rows {
            check_row(class, keys.len(), row)?;
            offsets.push(offset as u32);
            offset += u64::from(row.clen);
            Error::check_limit("end of a record", offset, limits::PACK_LEN_MAX)?;
        }
        check_exts(rows.len(), &exts)?;
        Ok(Trailer { sid, keys, rows, exts, offsets })
    }

    /// The snapshot whose session wrote the pack.
    pub fn sid(&self) -> SnapshotId {
        self.sid
    }

    /// The session keys.
    pub fn keys(&self) -> &[KeyRow] {
        &self.keys
    }

    /// The records in the order in which they lie.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The extensions, by row.
    pub fn exts(&self) -> &[Ext] {
        &self.exts
    }

    /// The key row of a record; rows of a checked trailer always have one.
    pub fn key_of(&self, row: &Row) -> Option<&KeyRow> {
        self.keys.get(usize::from(row.key))
    }

    /// Where record `index` begins in the pack.
    pub fn offset(&self, index: usize) -> Option<u64> {
        self.offsets.get(index).map(|offset| u64::from(*offset))
    }

    /// The bytes of record `index` within the pack.
    pub fn range(&self, index: usize) -> Option<Range<u64>> {
        let start = self.offset(index)?;
        Some(start..start + u64::from(self.rows.get(index)?.clen))
    }

    /// The sealed bytes of record `index` in `pack`, the whole object; nothing if they lie outside.
    pub fn sealed<'a>(&self, index: usize, pack: &'a [u8]) -> Option<&'a [u8]> {
        let range = self.range(index)?;
        pack.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    }

    /// Where the last record ends and the trailer begins.
    pub fn records_end(&self) -> u64 {
        self.rows.len().checked_sub(1).and_then(|last| self.range(last)).map_or(HEADER_LEN as u64, |r| r.end)
    }

    /// Bytes of memory this table takes, for bounded caches.
    pub fn memory_len(&self) -> usize {
        let wraps: usize = self.keys.iter().map(|key| size_of::<KeyRow>() + key.wrap.len()).sum();
        let exts: usize = self.exts.iter().map(|ext| size_of::<Ext>() + ext.bytes.len()).sum();
        size_of::<Self>() + wraps + exts + self.rows.len() * (size_of::<Row>() + 4)
    }

    /// The plain bytes, padded with zeros to their Padme size.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.rows.len() * (ROW_LEN + 6));
        out.extend_from_slice(&self.sid.0);
        out.push(self.keys.len() as u8);
        for key in &self.keys {
            out.extend_from_slice(&key.key_id.0);
            out.push(key.alg);
            out.extend_from_slice(&key.epoch.to_le_bytes());
            out.extend_from_slice(&key.commit);
            out.extend_from_slice(&(key.wrap.len() as u16).to_le_bytes());
            out.extend_from_slice(&key.wrap);
        }
        out.extend_from_slice(&(self.rows.len() as u32).to_le_bytes());
        for row in &self.rows {
            out.extend_from_slice(&[row.record_type as u8, row.comp as u8, row.key]);
            out.extend_from_slice(&row.id.0);
            out.extend_from_slice(&row.clen.to_le_bytes());
            out.extend_from_slice(&row.rlen.to_le_bytes());
        }
        out.extend_from_slice(&(self.exts.len() as u32).to_le_bytes());
        for ext in &self.exts {
            out.extend_from_slice(&ext.row.to_le_bytes());
            out.push(ext.kind);
            out.extend_from_slice(&(ext.bytes.len() as u16).to_le_bytes());
            out.extend_from_slice(&ext.bytes);
        }
        out.resize(padme::padded_len(out.len() as u64) as usize, 0);
        out
    }

    /// Reads the plain bytes, padding included.
    pub(crate) fn parse(class: PackClass, bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields::new(WHAT, bytes);
        let sid = SnapshotId(fields.array()?);
        let key_count = usize::from(fields.u8()?);
        let mut keys = Vec::with_capacity(key_count);
        for _ in 0..key_count {
            keys.push(parse_key(&mut fields)?);
        }
        let row_count = fields.u32()?;
        Error::check_limit("pack row count", row_count.into(), limits::PACK_ROW_COUNT_MAX.into())?;
        fields.check_room(row_count.into(), ROW_LEN as u64)?;
        let mut rows = Vec::with_capacity(row_count as usize);
        for _ in 0..row_count {
            rows.push(parse_row(&mut fields)?);
        }
        let ext_count = fields.u32()?;
        Error::check_limit("pack extension count", ext_count.into(), limits::PACK_ROW_COUNT_MAX.into())?;
        fields.check_room(ext_count.into(), EXT_LEN as u64)?;
        let mut exts = Vec::new();
        for _ in 0..ext_count {
            let (row, kind, len) = (fields.u32()?, fields.u8()?, fields.u16()?);
            exts.push(Ext { row, kind, bytes: fields.take(len.into())?.to_vec() });
        }
        let padding = fields.rest();
        let used = (bytes.len() - padding.len()) as u64;
        if padme::padded_len(used) != bytes.len() as u64 || padding.iter().any(|byte| *byte != 0) {
            return Err(Error::Trailing { what: "padding of the pack trailer" });
        }
        Self::new(class, sid, keys, rows, exts)
    }
}

fn parse_key(fields: &mut Fields<'_>) -> Result<KeyRow> {
    let key_id = KeyId(fields.array()?);
    let (alg, epoch, commit) = (fields.u8()?, fields.u16()?, fields.array()?);
    let wrap_len = fields.u16()?;
    Ok(KeyRow { key_id, alg, epoch, commit, wrap: fields.take(wrap_len.into())?.to_vec() })
}

fn parse_row(fields: &mut Fields<'_>) -> Result<Row> {
    let record_type = RecordType::parse(fields.u8()?)?;
    let comp = Compression::parse(fields.u8()?)?;
    let key = fields.u8()?;
    let id = Id(fields.array()?);
    Ok(Row { record_type, comp, key, id, clen: fields.u32()?, rlen: fields.u32()? })
}

fn check_keys(class: PackClass, keys: &[KeyRow]) -> Result<()> {
    Error::check_limit("pack key count", keys.len() as u64, limits::PACK_KEY_COUNT_MAX.into())?;
    let class_alg = if class == PackClass::Data { ALG_HPKE_X25519 } else { ALG_STRUCTURE };
    for (at, key) in keys.iter().enumerate() {
        Error::check_limit("wrapped key", key.wrap.len() as u64, u16::MAX.into())?;
        let wrap_len = match key.alg {
            ALG_HPKE_X25519 => WRAP_LEN,
            ALG_STRUCTURE => 0,
            _ => key.wrap.len(),
        };
        if key.wrap.len() != wrap_len {
            return Err(Error::Rule { what: "wrapped key", rule: "is not as long as its alg demands" });
        }
        if matches!(key.alg, ALG_HPKE_X25519 | ALG_STRUCTURE) && key.alg != class_alg {
            return Err(Error::Rule { what: WHAT, rule: "a key's alg does not belong into this class" });
        }
        if keys.iter().take(at).any(|other| other.key_id == key.key_id) {
            return Err(Error::Rule { what: WHAT, rule: "a key is named twice" });
        }
    }
    Ok(())
}

fn check_row(class: PackClass, key_count: usize, row: &Row) -> Result<()> {
    let fits = match row.record_type {
        RecordType::Data => class == PackClass::Data,
        RecordType::Page => class == PackClass::Map,
        _ => class == PackClass::Index,
    };
    if !fits {
        return Err(Error::Rule { what: WHAT, rule: "a record's type does not belong into this class" });
    }
    if usize::from(row.key) >= key_count {
        return Err(Error::Rule { what: WHAT, rule: "a record names a key that is not there" });
    }
    check_plain_len(row.rlen.into())?;
    let overhead = limits::RECORD_OVERHEAD_LEN;
    let fits = match row.comp {
        Compression::Raw => row.clen == row.rlen + overhead,
        // A frame is kept only if it saves something.
        Compression::Zstd => row.clen > overhead && row.clen - overhead < row.rlen,
    };
    if !fits {
        return Err(Error::Rule { what: WHAT, rule: "a record's two lengths do not agree" });
    }
    Ok(())
}

fn check_exts(row_count: usize, exts: &[Ext]) -> Result<()> {
    Error::check_limit("pack extension count", exts.len() as u64, limits::PACK_ROW_COUNT_MAX.into())?;
    let mut last = 0;
    for ext in exts {
        if ext.kind >= EXT_MUST_KNOW {
            return Err(Error::Unsupported { what: "pack extension", found: ext.kind.into() });
        }
        Error::check_limit("pack extension", ext.bytes.len() as u64, u16::MAX.into())?;
        if ext.row as usize >= row_count || ext.row < last {
            return Err(Error::Rule { what: WHAT, rule: "extensions are not in the order of rows" });
        }
        if ext.kind == EXT_BASE && ext.bytes.len() != Id::LEN {
            return Err(Error::Rule { what: WHAT, rule: "a base is not an id" });
        }
        last = ext.row;
    }
    Ok(())
}

/// Length of the padded plain bytes: for [`super::PackLen`].
pub(crate) fn plain_len(
    wraps_len: u64,
    key_count: u64,
    row_count: u64,
    exts_len: u64,
    ext_count: u64,
) -> u64 {
    let keys = key_count * KEY_ROW_LEN as u64 + wraps_len;
    let exts = ext_count * EXT_LEN as u64 + exts_len;
    padme::padded_len(SnapshotId::LEN as u64 + 1 + keys + 4 + row_count * ROW_LEN as u64 + 4 + exts)
}
