//! Sealing and opening a pack's trailer.

use super::frame::{
    FOOTER_LEN, Footer, PackClass, SALT_LEN, TRAILER_OVERHEAD_LEN, TailParse, check_pack_len, parse_tail,
};
use super::trailer::Trailer;
use crate::cipher::{TAG_LEN, ZERO_NONCE, open_in_place, seal_in_place};
use crate::kdf::{self, KeyAndCommit, Secret};
use crate::{Error, PackId, RepoId, Result, limits};
use subtle::ConstantTimeEq;

const WHAT: &str = "pack trailer";
const MAGIC: &[u8; 4] = b"ORT1";

/// What a trailer is sealed under and bound to, beside its own bytes.
#[derive(Debug, Clone, Copy)]
pub struct PackContext<'a> {
    /// The domain's structure key (S_d) of `epoch`.
    pub s_d: &'a Secret,
    /// Epoch of `s_d`.
    pub epoch: u16,
    /// The repository.
    pub repo_id: &'a RepoId,
    /// What the pack holds.
    pub class: PackClass,
    /// The pack's name.
    pub pack_id: &'a PackId,
}

impl PackContext<'_> {
    fn derive(&self, salt: &[u8]) -> KeyAndCommit {
        let (epoch, class) = (self.epoch.to_le_bytes(), [self.class as u8]);
        let material: [&[u8]; 6] =
            [self.s_d.expose(), &epoch, &class, &self.repo_id.0, salt, &self.pack_id.0];
        kdf::derive_committed("pack trailer", &material)
    }

    fn aad(&self, footer: &Footer) -> Vec<u8> {
        [MAGIC.as_slice(), &self.repo_id.0, &self.pack_id.0, &footer.encode_bound()].concat()
    }
}

/// The bytes that end a pack: trailer and footer.
///
/// `salt` is fresh random bytes; `body_hash` is that of [`super::BodyHasher`] over header and
/// records. The trailer must have been made for the same class.
pub fn seal_trailer(
    context: &PackContext<'_>,
    salt: [u8; SALT_LEN],
    body_hash: [u8; 32],
    trailer: &Trailer,
) -> Result<Vec<u8>> {
    let plain = trailer.encode();
    let trailer_len = (plain.len() + TRAILER_OVERHEAD_LEN) as u64;
    Error::check_limit("trailer length", trailer_len, limits::TRAILER_LEN_MAX.into())?;
    check_pack_len(trailer.records_end() + trailer_len + FOOTER_LEN as u64)?;
    let footer =
        Footer { body_hash, trailer_len: trailer_len as u32, class: context.class, epoch: context.epoch };
    let okm = context.derive(&salt);
    let mut out = Vec::with_capacity(plain.len() + TRAILER_OVERHEAD_LEN + FOOTER_LEN);
    out.extend_from_slice(&salt);
    out.extend_from_slice(&okm.commit);
    let from = out.len();
    out.extend_from_slice(&plain);
    if !seal_in_place(&okm.key, &ZERO_NONCE, &context.aad(&footer), &mut out, from) {
        return Err(Error::Invalid { what: WHAT, rule: "the cipher refused its length" });
    }
    let end = footer.encode(&out);
    out.extend_from_slice(&end);
    Ok(out)
}

/// What the end of a pack gave to the holder of its structure key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenTrailer {
    /// Read this many of the pack's last bytes and come again.
    NeedTail(u64),
    /// The table, and the footer it is bound to.
    Done(Trailer, Footer),
}

/// Opens the trailer from the last bytes of a pack that is `pack_len` long, as its store says.
///
/// `context.class` and `context.pack_id` are what the pack's path promises; the epoch is the one
/// of `context.s_d`. [`Error::WrongKey`]: of another domain, or another epoch.
pub fn open_trailer(context: &PackContext<'_>, tail: &[u8], pack_len: u64) -> Result<OpenTrailer> {
    let footer = match parse_tail(tail, pack_len)? {
        TailParse::NeedTail(len) => return Ok(OpenTrailer::NeedTail(len)),
        TailParse::Footer(footer) => footer,
    };
    if footer.class != context.class {
        return Err(Error::Unexpected {
            what: "pack class",
            found: format!("{:?}", footer.class),
            expected: format!("{:?}", context.class),
        });
    }
    if footer.epoch != context.epoch {
        return Err(Error::WrongKey { what: WHAT });
    }
    let sealed = tail.len().checked_sub(FOOTER_LEN).and_then(|end| tail.get(..end)).unwrap_or_default();
    let start = sealed.len().saturating_sub(footer.trailer_len as usize);
    let trailer = open_sealed(context, &footer, sealed.get(start..).unwrap_or_default())?;
    let found = trailer.records_end() + footer.tail_len();
    if found != pack_len {
        return Err(Error::Unexpected {
            what: "pack length",
            found: pack_len.to_string(),
            expected: format!("{found} by its trailer"),
        });
    }
    Ok(OpenTrailer::Done(trailer, footer))
}

fn open_sealed(context: &PackContext<'_>, footer: &Footer, sealed: &[u8]) -> Result<Trailer> {
    let short = Error::Truncated {
        what: WHAT,
        found: sealed.len() as u64,
        expected: (TRAILER_OVERHEAD_LEN - TAG_LEN) as u64,
    };
    let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>().ok_or_else(|| short.clone())?;
    let (commit, boxed) = rest.split_first_chunk::<32>().ok_or(short)?;
    let okm = context.derive(salt);
    if !bool::from(okm.commit.ct_eq(commit)) {
        return Err(Error::WrongKey { what: WHAT });
    }
    let mut plain = boxed.to_vec();
    if !open_in_place(&okm.key, &ZERO_NONCE, &context.aad(footer), &mut plain) {
        return Err(Error::Decrypt { what: WHAT });
    }
    Trailer::parse(context.class, &plain)
}
