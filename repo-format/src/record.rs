//! Records: chunks, map pages and index blocks, sealed to their identity and not to their place.
//!
//! A record is `nonce[12] ‖ ciphertext ‖ tag[16]`. What is authenticated beside the content names
//! the repository, the session key, the type and the id, but no pack and no offset: records move
//! between packs without being decrypted.

mod key;

pub(crate) use key::WRAP_LEN;
pub use key::{ALG_HPKE_X25519, ALG_STRUCTURE, KeyRow, SessionKey};

use crate::compress::{Compressor, Decompressor, looks_compressible};
use crate::pack::Row;
use crate::{Error, Id, KeyId, RepoId, Result, kdf::Secret, limits};
use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut, aead::inout::InOutBuf};
use std::sync::Arc;

const WHAT: &str = "record";
const MAGIC: &[u8; 4] = b"ORR1";
/// Length of a record's nonce.
pub const NONCE_LEN: usize = 12;
const TAG_LEN: usize = crate::cipher::TAG_LEN;
const PREFIX_LEN: usize = MAGIC.len() + RepoId::LEN + KeyId::LEN;
const AAD_LEN: usize = PREFIX_LEN + 2 + Id::LEN + 4;
const _: () = assert!(NONCE_LEN + TAG_LEN == limits::RECORD_OVERHEAD_LEN as usize);

/// What a record's plain content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordType {
    /// A chunk of a volume or a stream.
    Data = 1,
    /// A page of a map.
    Page = 2,
    /// The head of an index run.
    RunHead = 3,
    /// A part of a run's pack table.
    PackTable = 4,
    /// A block of a run's entries.
    Entries = 5,
    /// A part of a run's filter.
    Filter = 6,
}

impl RecordType {
    /// The type of a trailer row's type byte; [`Error::Unsupported`] for others.
    pub fn parse(byte: u8) -> Result<Self> {
        Ok(match byte {
            1 => RecordType::Data,
            2 => RecordType::Page,
            3 => RecordType::RunHead,
            4 => RecordType::PackTable,
            5 => RecordType::Entries,
            6 => RecordType::Filter,
            _ => return Err(Error::Unsupported { what: "record type", found: byte.into() }),
        })
    }
}

/// How a record's plain content was compressed before it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Compression {
    /// The compression of a trailer row's byte; [`Error::Unsupported`] for others.
    pub fn parse(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Compression::Raw),
            1 => Ok(Compression::Zstd),
            _ => Err(Error::Unsupported { what: "record compression", found: byte.into() }),
        }
    }
}

/// What is to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct PlainRecord<'a> {
    /// What the content is.
    pub record_type: RecordType,
    /// Its identity; the caller computed it over the same content.
    pub id: Id,
    /// The content: 1 byte to [`limits::RECORD_PLAIN_LEN_MAX`].
    pub content: &'a [u8],
}

/// What the trailer has to know of a record that was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// How the content was compressed.
    pub comp: Compression,
    /// Bytes appended: nonce, ciphertext and tag.
    pub clen: u32,
    /// Bytes of the plain content.
    pub rlen: u32,
}

impl Sealed {
    /// The trailer row of this record, with `key` the number of its key row.
    pub fn row(&self, record_type: RecordType, key: u8, id: Id) -> Row {
        Row { record_type, comp: self.comp, key, id, clen: self.clen, rlen: self.rlen }
    }
}

/// The expanded key of one session; seals and opens its records. Clones share the key schedule.
#[derive(Clone)]
pub struct RecordKey {
    cipher: Arc<Aes256Gcm>,
    /// "ORR1" ‖ repository ‖ key id: what every record's authenticated data begins with.
    prefix: [u8; PREFIX_LEN],
}

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordKey(..)")
    }
}

impl RecordKey {
    fn new(repo_id: &RepoId, key_id: &KeyId, key: &Secret) -> Self {
        let mut prefix = [0; PREFIX_LEN];
        let (magic, ids) = prefix.split_at_mut(MAGIC.len());
        let (repo, key_part) = ids.split_at_mut(RepoId::LEN);
        magic.copy_from_slice(MAGIC);
        repo.copy_from_slice(&repo_id.0);
        key_part.copy_from_slice(&key_id.0);
        RecordKey { cipher: Arc::new(Aes256Gcm::new(&(*key.expose()).into())), prefix }
    }

    fn aad(&self, record_type: RecordType, comp: Compression, id: &Id, rlen: u32) -> [u8; AAD_LEN] {
        let mut aad = [0; AAD_LEN];
        aad[..PREFIX_LEN].copy_from_slice(&self.prefix);
        aad[PREFIX_LEN] = record_type as u8;
        aad[PREFIX_LEN + 1] = comp as u8;
        aad[PREFIX_LEN + 2..PREFIX_LEN + 2 + Id::LEN].copy_from_slice(&id.0);
        aad[AAD_LEN - 4..].copy_from_slice(&rlen.to_le_bytes());
        aad
    }

    /// Appends the sealed record to `out`, which is all that grows.
    ///
    /// With a `level`, content that looks compressible is tried with zstd, and the frame is kept
    /// if it saves [`limits::COMPRESSION_SAVING_PERCENT_MIN`] percent. `nonce` must be random and
    /// fresh: it and the session key must never meet twice. A key seals at most
    /// [`limits::SESSION_RECORD_COUNT_MAX`] records; the caller counts.
    pub fn seal(
        &self,
        compressor: &mut Compressor,
        plain: &PlainRecord<'_>,
        level: Option<i32>,
        nonce: [u8; NONCE_LEN],
        out: &mut Vec<u8>,
    ) -> Result<Sealed> {
        let rlen = check_plain_len(plain.content.len() as u64)?;
        let start = out.len();
        out.reserve(plain.content.len() + limits::RECORD_OVERHEAD_LEN as usize);
        out.extend_from_slice(&nonce);
        let body_start = out.len();
        let comp = compress(compressor, plain.content, level, out)?;
        let aad = self.aad(plain.record_type, comp, &plain.id, rlen);
        let body = out.get_mut(body_start..).unwrap_or_default();
        let Ok(tag) = self.cipher.encrypt_inout_detached(&nonce.into(), &aad, body.into()) else {
            out.truncate(start);
            return Err(Error::Invalid { what: WHAT, rule: "the cipher refused its length" });
        };
        out.extend_from_slice(&tag);
        let clen = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
        Ok(Sealed { comp, clen, rlen })
    }

    /// Replaces `out` by the plain content of `sealed`, the record that `row` describes.
    ///
    /// The caller still compares the content with the id where it can compute ids.
    pub fn open(
        &self,
        row: &Row,
        sealed: &[u8],
        decompressor: &mut Decompressor,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        self.open_append(row, sealed, decompressor, out)
    }

    /// As [`open`](Self::open), but appends to `out`, which an error leaves as it was.
    pub fn open_append(
        &self,
        row: &Row,
        sealed: &[u8],
        decompressor: &mut Decompressor,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        check_sealed_len(row, sealed.len())?;
        let (nonce, body, tag) = split(sealed)?;
        // Decrypted from the sealed bytes straight to where they are needed.
        let decrypt = |target: &mut [u8]| {
            let aad = self.aad(row.record_type, row.comp, &row.id, row.rlen);
            let buffer = InOutBuf::new(body, target).map_err(|_| Error::Decrypt { what: WHAT })?;
            let opened = self.cipher.decrypt_inout_detached(&nonce.into(), &aad, buffer, &tag.into());
            opened.map_err(|_| Error::Decrypt { what: WHAT })
        };
        let start = out.len();
        if row.comp == Compression::Raw {
            out.resize(start + body.len(), 0);
            let opened = decrypt(out.get_mut(start..).unwrap_or_default());
            if opened.is_err() {
                out.truncate(start);
            }
            return opened;
        }
        // The scratch buffer is taken out while the decompressor works on it. It only grows: to make it longer again is
        // to fill it with zeros again.
        let mut scratch = std::mem::take(&mut decompressor.scratch);
        if scratch.len() < body.len() {
            scratch.resize(body.len(), 0);
        }
        let frame = scratch.get_mut(..body.len()).unwrap_or_default();
        let opened = decrypt(frame).and_then(|()| decompressor.append_frame(frame, row.rlen.into(), out));
        decompressor.scratch = scratch;
        opened
    }

    /// Like [`open`](Self::open), but decrypts within `sealed`; the plain content is a part of
    /// `sealed` if it was raw, or else `out`, replaced.
    pub fn open_in_place<'a>(
        &self,
        row: &Row,
        sealed: &'a mut [u8],
        decompressor: &mut Decompressor,
        out: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        check_sealed_len(row, sealed.len())?;
        let (nonce, _, tag) = split(sealed)?;
        let aad = self.aad(row.record_type, row.comp, &row.id, row.rlen);
        let body_end = sealed.len() - TAG_LEN;
        let body = sealed.get_mut(NONCE_LEN..body_end).unwrap_or_default();
        self.cipher
            .decrypt_inout_detached(&nonce.into(), &aad, (&mut *body).into(), &tag.into())
            .map_err(|_| Error::Decrypt { what: WHAT })?;
        match row.comp {
            Compression::Raw => Ok(body),
            Compression::Zstd => {
                decompressor.decompress_frame(body, row.rlen.into(), out)?;
                Ok(out)
            }
        }
    }
}

/// Appends the content, compressed where that pays.
fn compress(
    compressor: &mut Compressor,
    content: &[u8],
    level: Option<i32>,
    out: &mut Vec<u8>,
) -> Result<Compression> {
    if let Some(level) = level
        && looks_compressible(content)
    {
        let start = out.len();
        compressor.compress_frame(level, content, out)?;
        let kept_percent = u64::from(100 - limits::COMPRESSION_SAVING_PERCENT_MIN);
        if ((out.len() - start) as u64) * 100 <= content.len() as u64 * kept_percent {
            return Ok(Compression::Zstd);
        }
        out.truncate(start);
    }
    out.extend_from_slice(content);
    Ok(Compression::Raw)
}

/// The length of plain content, if a record may have it.
pub(crate) fn check_plain_len(len: u64) -> Result<u32> {
    Error::check_limit("record content", len, limits::RECORD_PLAIN_LEN_MAX.into())?;
    if len == 0 {
        return Err(Error::Rule { what: WHAT, rule: "content is empty" });
    }
    Ok(len as u32)
}

fn check_sealed_len(row: &Row, found: usize) -> Result<()> {
    check_plain_len(row.rlen.into())?;
    if found as u64 != u64::from(row.clen) {
        return Err(Error::Truncated { what: WHAT, found: found as u64, expected: row.clen.into() });
    }
    let raw_len = found as u64 != u64::from(row.rlen) + u64::from(limits::RECORD_OVERHEAD_LEN);
    if row.comp == Compression::Raw && raw_len {
        return Err(Error::Rule { what: WHAT, rule: "raw content is not as long as stated" });
    }
    Ok(())
}

fn split(sealed: &[u8]) -> Result<([u8; NONCE_LEN], &[u8], [u8; TAG_LEN])> {
    let short = Error::Truncated {
        what: WHAT,
        found: sealed.len() as u64,
        expected: limits::RECORD_OVERHEAD_LEN.into(),
    };
    let parts = sealed
        .split_first_chunk::<NONCE_LEN>()
        .and_then(|(nonce, rest)| rest.split_last_chunk::<TAG_LEN>().map(|(body, tag)| (*nonce, body, *tag)));
    parts.ok_or(short)
}

#[cfg(test)]
mod tests;
