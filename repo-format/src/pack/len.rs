//! How long a pack will be, so that it can be closed before it passes its target.

use super::Ext;
use super::frame::{FOOTER_LEN, HEADER_LEN, TRAILER_OVERHEAD_LEN};
use super::trailer::plain_len;
use crate::{limits, record::KeyRow};

/// Counts what was put into a pack and tells the exact length of the whole, trailer included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackLen {
    records_len: u64,
    row_count: u64,
    key_count: u64,
    wraps_len: u64,
    ext_count: u64,
    exts_len: u64,
}

impl PackLen {
    /// An empty pack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a key row.
    pub fn add_key(&mut self, key: &KeyRow) {
        self.key_count += 1;
        self.wraps_len += key.wrap.len() as u64;
    }

    /// Counts a record of `clen` sealed bytes.
    pub fn add_record(&mut self, clen: u32) {
        self.row_count += 1;
        self.records_len += u64::from(clen);
    }

    /// Counts an extension.
    pub fn add_ext(&mut self, ext: &Ext) {
        self.ext_count += 1;
        self.exts_len += ext.bytes.len() as u64;
    }

    /// Records so far.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Where the next record begins.
    pub fn records_end(&self) -> u64 {
        HEADER_LEN as u64 + self.records_len
    }

    /// Bytes of the trailer as it would be now.
    pub fn trailer_len(&self) -> u64 {
        let plain = plain_len(self.wraps_len, self.key_count, self.row_count, self.exts_len, self.ext_count);
        TRAILER_OVERHEAD_LEN as u64 + plain
    }

    /// Bytes of the whole pack if it were closed now.
    pub fn final_len(&self) -> u64 {
        self.records_end() + self.trailer_len() + FOOTER_LEN as u64
    }

    /// Whether one more record of `clen` bytes, under a new key if one is given, keeps the whole
    /// within `target` bytes and the counts within their limits.
    ///
    /// An empty pack takes any record, however small the target.
    pub fn fits(&self, clen: u32, new_key: Option<&KeyRow>, target: u64) -> bool {
        let mut next = *self;
        next.add_record(clen);
        if let Some(key) = new_key {
            next.add_key(key);
        }
        let counts = next.row_count <= limits::PACK_ROW_COUNT_MAX.into()
            && next.key_count <= limits::PACK_KEY_COUNT_MAX.into();
        counts && (self.row_count == 0 || next.final_len() <= target.min(limits::PACK_LEN_MAX))
    }
}
