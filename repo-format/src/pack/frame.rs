//! The parts of a pack that lie in clear: header and footer.

use crate::{Error, PackId, Result, limits};

/// Length of the header, and offset of the first record.
pub const HEADER_LEN: usize = 32;
/// Length of the footer.
pub const FOOTER_LEN: usize = 56;
/// The first bytes of the footer, which the trailer's seal and the checksum cover.
pub(crate) const FOOTER_BOUND_LEN: usize = 44;
/// Trailer bytes beside its ciphertext: salt, commitment and tag.
pub(crate) const TRAILER_OVERHEAD_LEN: usize = SALT_LEN + 32 + crate::cipher::TAG_LEN;
/// Shortest trailer: overhead and the fields of a pack without rows.
pub const TRAILER_LEN_MIN: u32 = TRAILER_OVERHEAD_LEN as u32 + 25;
pub(crate) const SALT_LEN: usize = 24;
const HEADER_MAGIC: &[u8; 8] = b"ORLPACK1";
const FOOTER_MAGIC: &[u8; 8] = b"ORLEND1\0";
const _: () = assert!(HEADER_LEN == HEADER_MAGIC.len() + 2 + 1 + 1 + 4 + PackId::LEN);
const _: () = assert!(FOOTER_BOUND_LEN == 32 + 4 + 2 + 1 + 1 + 2 + 2);
const _: () = assert!(FOOTER_LEN == FOOTER_BOUND_LEN + 4 + FOOTER_MAGIC.len());

/// What kind of records a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// Content.
    Data = 1,
    /// Map pages.
    Map = 2,
    /// One index run.
    Index = 3,
}

impl PackClass {
    /// The class of a class byte; [`Error::Unsupported`] for others.
    pub fn parse(byte: u8) -> Result<Self> {
        match byte {
            1 => Ok(PackClass::Data),
            2 => Ok(PackClass::Map),
            3 => Ok(PackClass::Index),
            _ => Err(Error::Unsupported { what: "pack class", found: byte.into() }),
        }
    }
}

/// The first 32 bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    /// What the pack holds.
    pub class: PackClass,
    /// Its random name.
    pub pack_id: PackId,
}

impl PackHeader {
    /// The bytes a pack begins with.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(HEADER_MAGIC);
        out[8..10].copy_from_slice(&limits::FMT.to_le_bytes());
        out[10] = self.class as u8;
        out[16..].copy_from_slice(&self.pack_id.0);
        out
    }

    /// Reads the first [`HEADER_LEN`] bytes; what follows is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        const WHAT: &str = "pack header";
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(Error::Truncated {
            what: WHAT,
            found: bytes.len() as u64,
            expected: HEADER_LEN as u64,
        })?;
        check_magic(WHAT, &header[..8], HEADER_MAGIC)?;
        check_fmt(u16::from_le_bytes([header[8], header[9]]))?;
        let class = PackClass::parse(header[10])?;
        check_flags(header[11])?;
        check_reserved("pack header reserved field", &header[12..16])?;
        let mut pack_id = PackId([0; 16]);
        pack_id.0.copy_from_slice(&header[16..]);
        Ok(PackHeader { class, pack_id })
    }
}

/// The last 56 bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// BLAKE3 of header and records.
    pub body_hash: [u8; 32],
    /// Length of the trailer, salt and tag included.
    pub trailer_len: u32,
    /// What the pack holds; equal to the header's.
    pub class: PackClass,
    /// Epoch of the structure key that seals the trailer.
    pub epoch: u16,
}

impl Footer {
    /// The first 44 bytes: what the trailer is bound to.
    pub(crate) fn encode_bound(&self) -> [u8; FOOTER_BOUND_LEN] {
        let mut out = [0; FOOTER_BOUND_LEN];
        out[..32].copy_from_slice(&self.body_hash);
        out[32..36].copy_from_slice(&self.trailer_len.to_le_bytes());
        out[36..38].copy_from_slice(&limits::FMT.to_le_bytes());
        out[38] = self.class as u8;
        out[40..42].copy_from_slice(&self.epoch.to_le_bytes());
        out
    }

    /// All 56 bytes; the checksum covers `trailer` and the first 44.
    pub(crate) fn encode(&self, trailer: &[u8]) -> [u8; FOOTER_LEN] {
        let bound = self.encode_bound();
        let crc = crc32c::crc32c_append(crc32c::crc32c(trailer), &bound);
        let mut out = [0; FOOTER_LEN];
        out[..FOOTER_BOUND_LEN].copy_from_slice(&bound);
        out[FOOTER_BOUND_LEN..FOOTER_BOUND_LEN + 4].copy_from_slice(&crc.to_le_bytes());
        out[FOOTER_BOUND_LEN + 4..].copy_from_slice(FOOTER_MAGIC);
        out
    }

    /// Reads the length of the trailer, and the checksum: every version has them there.
    fn lengths(footer: &[u8; FOOTER_LEN], pack_len: u64) -> Result<(u32, u32)> {
        check_magic("pack footer", &footer[FOOTER_BOUND_LEN + 4..], FOOTER_MAGIC)?;
        let word =
            |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        let trailer_len = word(32);
        let room = pack_len.saturating_sub((HEADER_LEN + FOOTER_LEN) as u64);
        Error::check_limit("trailer length", trailer_len.into(), room.min(limits::TRAILER_LEN_MAX.into()))?;
        if trailer_len < TRAILER_LEN_MIN {
            return Err(Error::Truncated {
                what: "trailer length",
                found: trailer_len.into(),
                expected: TRAILER_LEN_MIN.into(),
            });
        }
        Ok((trailer_len, word(FOOTER_BOUND_LEN)))
    }

    /// Reads all fields of a footer whose checksum was compared: what is not known is newer, not damage.
    fn parse(footer: &[u8; FOOTER_LEN], trailer_len: u32) -> Result<Self> {
        check_fmt(u16::from_le_bytes([footer[36], footer[37]]))?;
        let class = PackClass::parse(footer[38])?;
        check_flags(footer[39])?;
        let epoch = u16::from_le_bytes([footer[40], footer[41]]);
        Error::check_epoch("pack epoch", epoch)?;
        check_reserved("pack footer reserved field", &footer[42..FOOTER_BOUND_LEN])?;
        let mut body_hash = [0; 32];
        body_hash.copy_from_slice(&footer[..32]);
        Ok(Footer { body_hash, trailer_len, class, epoch })
    }

    /// Bytes of trailer and footer.
    pub fn tail_len(&self) -> u64 {
        u64::from(self.trailer_len) + FOOTER_LEN as u64
    }
}

/// What the end of a pack gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailParse {
    /// Read this many of the pack's last bytes and come again.
    NeedTail(u64),
    /// The footer; the checksum over trailer and footer matches.
    Footer(Footer),
}

/// Reads the footer from the last bytes of a pack that is `pack_len` long, as its store says.
///
/// `tail` may be any number of last bytes, up to the whole pack. The checksum is compared before anything else is
/// believed: rot is never taken for a newer version.
pub fn parse_tail(tail: &[u8], pack_len: u64) -> Result<TailParse> {
    check_pack_len(pack_len)?;
    if tail.len() as u64 > pack_len {
        return Err(Error::Trailing { what: "pack" });
    }
    let Some((rest, footer)) = tail.split_last_chunk::<FOOTER_LEN>() else {
        return Ok(TailParse::NeedTail(FOOTER_LEN as u64));
    };
    let (trailer_len, crc) = Footer::lengths(footer, pack_len)?;
    let start = usize::try_from(trailer_len).ok().and_then(|len| rest.len().checked_sub(len));
    let Some(trailer) = start.and_then(|start| rest.get(start..)) else {
        return Ok(TailParse::NeedTail(u64::from(trailer_len) + FOOTER_LEN as u64));
    };
    if crc32c::crc32c_append(crc32c::crc32c(trailer), &footer[..FOOTER_BOUND_LEN]) != crc {
        return Err(Error::Mismatch { what: "checksum of trailer and footer" });
    }
    Footer::parse(footer, trailer_len).map(TailParse::Footer)
}

/// Refuses what is too short for its frame, or longer than any pack.
pub(crate) fn check_pack_len(pack_len: u64) -> Result<()> {
    Error::check_limit("pack length", pack_len, limits::PACK_LEN_MAX)?;
    let least = (HEADER_LEN + FOOTER_LEN) as u64 + u64::from(TRAILER_LEN_MIN);
    if pack_len < least {
        return Err(Error::Truncated { what: "pack", found: pack_len, expected: least });
    }
    Ok(())
}

fn check_magic(what: &'static str, found: &[u8], expected: &[u8; 8]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Unexpected {
        what,
        found: found.escape_ascii().to_string(),
        expected: expected.escape_ascii().to_string(),
    })
}

fn check_fmt(fmt: u16) -> Result<()> {
    if fmt == limits::FMT {
        Ok(())
    } else {
        Err(Error::Unsupported { what: "pack format", found: fmt.into() })
    }
}

/// Reserved bytes are zero until a version gives them a meaning.
fn check_reserved(what: &'static str, bytes: &[u8]) -> Result<()> {
    match bytes.iter().find(|byte| **byte != 0) {
        None => Ok(()),
        Some(found) => Err(Error::Unsupported { what, found: (*found).into() }),
    }
}

fn check_flags(flags: u8) -> Result<()> {
    if flags == 0 { Ok(()) } else { Err(Error::Unsupported { what: "pack flags", found: flags.into() }) }
}
