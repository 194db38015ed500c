//! Checking a pack without any key: what a storage provider, or a cron job beside it, can do.

use super::frame::{Footer, HEADER_LEN, PackHeader, TailParse, check_pack_len, parse_tail};
use crate::{Error, PackId, Result};

/// BLAKE3 over a pack's header and records, as they are written.
#[derive(Debug, Clone, Default)]
pub struct BodyHasher(blake3::Hasher);

impl BodyHasher {
    /// Starts with the header.
    pub fn new(header: &PackHeader) -> Self {
        let mut hasher = Self::default();
        hasher.update(&header.encode());
        hasher
    }

    /// Continues with sealed records.
    pub fn update(&mut self, sealed: &[u8]) {
        self.0.update(sealed);
    }

    /// The hash that the footer holds.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Checks a pack that comes in parts: its end first, then the rest from its start.
///
/// Found is any change to header, records, trailer or footer, and a header whose class or name is
/// not the footer's or the path's. Not found is who wrote the pack: that takes a key.
#[derive(Debug)]
pub struct Scrubber {
    footer: Footer,
    body_len: u64,
    seen_len: u64,
    pack_id: PackId,
    header: Vec<u8>,
    hasher: BodyHasher,
}

impl Scrubber {
    /// `footer` is what [`parse_tail`] gave (it has compared the checksum) for a pack that is
    /// `pack_len` long and named `pack_id`.
    pub fn new(footer: Footer, pack_len: u64, pack_id: PackId) -> Result<Self> {
        check_pack_len(pack_len)?;
        let body_len = pack_len.checked_sub(footer.tail_len()).ok_or(Error::Truncated {
            what: "pack",
            found: pack_len,
            expected: footer.tail_len(),
        })?;
        let (header, hasher) = (Vec::with_capacity(HEADER_LEN), BodyHasher::default());
        Ok(Scrubber { footer, body_len, seen_len: 0, pack_id, header, hasher })
    }

    /// Bytes of header and records, which [`update`](Self::update) awaits in order.
    pub fn body_len(&self) -> u64 {
        self.body_len
    }

    /// The next bytes of header and records.
    pub fn update(&mut self, bytes: &[u8]) {
        let missing = HEADER_LEN.saturating_sub(self.header.len()).min(bytes.len());
        self.header.extend_from_slice(bytes.get(..missing).unwrap_or_default());
        self.hasher.update(bytes);
        self.seen_len = self.seen_len.saturating_add(bytes.len() as u64);
    }

    /// The verdict, once all bytes were seen.
    pub fn finish(self) -> Result<PackHeader> {
        if self.seen_len != self.body_len {
            return Err(Error::Truncated {
                what: "pack records",
                found: self.seen_len,
                expected: self.body_len,
            });
        }
        if self.hasher.finish() != self.footer.body_hash {
            return Err(Error::Mismatch { what: "hash of pack header and records" });
        }
        let header = PackHeader::parse(&self.header)?;
        if header.class != self.footer.class {
            return Err(Error::Mismatch { what: "pack class in header and footer" });
        }
        if header.pack_id != self.pack_id {
            return Err(Error::Unexpected {
                what: "pack id in its header",
                found: header.pack_id.to_string(),
                expected: self.pack_id.to_string(),
            });
        }
        Ok(header)
    }
}

/// Checks a whole pack, named `pack_id`, without a key.
pub fn scrub(pack: &[u8], pack_id: PackId) -> Result<Footer> {
    let pack_len = pack.len() as u64;
    let footer = match parse_tail(pack, pack_len)? {
        TailParse::Footer(footer) => footer,
        TailParse::NeedTail(expected) => {
            return Err(Error::Truncated { what: "pack", found: pack_len, expected });
        }
    };
    let mut scrubber = Scrubber::new(footer, pack_len, pack_id)?;
    let body_len = usize::try_from(scrubber.body_len()).unwrap_or(usize::MAX);
    scrubber.update(pack.get(..body_len).unwrap_or_default());
    scrubber.finish()?;
    Ok(footer)
}
