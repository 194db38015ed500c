//! The sealed object: one body, compressed, padded and encrypted under a key of its own.
//!
//! ```text
//! header 64 B   "ORO1" | class u8 | reserved u8 | fmt u16 | epoch u16 | salt[22] | commit[32]
//! then          AES-256-GCM(raw_len u32 | z_len u32 | zstd(body) | zeros to the Padme size) | tag[16]
//! sum           the first 16 bytes of BLAKE3 of all before it
//! ```
//! The sum tells damage from an object under another key, and lets whoever holds no key look for damage. It proves nothing:
//! anybody can compute it.
//! The name and the repository are bound into key, commitment and additional data, so an object
//! cannot be moved, renamed or taken into another repository.

use crate::kdf::{self, KeyAndCommit, Secret};
use crate::{Error, RepoId, Result, cipher, compress, limits, padme, signed};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes before the ciphertext.
pub const HEADER_LEN: usize = 64;
/// Bytes after the tag.
pub const SUM_LEN: usize = 16;
/// Length of the salt, fresh for each write.
pub const SALT_LEN: usize = 22;

const MAGIC: &[u8; 4] = b"ORO1";
const WHAT: &str = "sealed object";
const LENGTHS_LEN: usize = 8;

/// What a sealed object holds; part of its key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// A config record (signed).
    Config = 1,
    /// A pending snapshot.
    Pending = 2,
    /// A snapshot.
    Snapshot = 3,
    /// A forget marker (signed).
    Forget = 4,
    /// A plan of prune (signed).
    Plan = 5,
    /// A sweep of prune (signed).
    Sweep = 6,
    /// Who prunes, where the store has no put-if-absent (signed).
    Owner = 7,
    /// What a snapshot has lost (signed).
    Damage = 8,
    /// In the place of a snapshot that must never come (signed).
    Tombstone = 9,
}

impl Class {
    /// True: the body is a signed one ([`crate::signed`]).
    pub fn is_signed(self) -> bool {
        !matches!(self, Class::Pending | Class::Snapshot)
    }

    /// True: sealed with the repository's common key S_c; false: with the domain's S_d.
    pub fn is_common(self) -> bool {
        matches!(self, Class::Config | Class::Plan | Class::Sweep | Class::Owner)
    }
}

impl TryFrom<u8> for Class {
    type Error = Error;

    fn try_from(raw: u8) -> Result<Self> {
        Ok(match raw {
            1 => Class::Config,
            2 => Class::Pending,
            3 => Class::Snapshot,
            4 => Class::Forget,
            5 => Class::Plan,
            6 => Class::Sweep,
            7 => Class::Owner,
            8 => Class::Damage,
            9 => Class::Tombstone,
            _ => return Err(Error::Unsupported { what: "object class", found: raw.into() }),
        })
    }
}

/// What a sealed object is bound to besides its key: where it belongs and what it is.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// From the key slot, never from the object.
    pub repo_id: RepoId,
    /// What the caller expects to find.
    pub class: Class,
    /// The path asked for ([`crate::layout::ObjectName`] as text).
    pub name: &'a str,
}

impl Binding<'_> {
    fn derive(&self, key: &Secret, epoch: u16, salt: &[u8; SALT_LEN]) -> KeyAndCommit {
        let material = [
            key.expose().as_slice(),
            &epoch.to_le_bytes(),
            &[self.class as u8],
            self.repo_id.as_bytes(),
            salt,
            self.name.as_bytes(),
        ];
        kdf::derive_committed("sealed object", &material)
    }

    fn aad(&self, header: &[u8; HEADER_LEN]) -> Vec<u8> {
        [header.as_slice(), self.repo_id.as_bytes(), self.name.as_bytes()].concat()
    }
}

/// The clear part of a sealed object: enough to choose a key, not to be believed before it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the object says it is.
    pub class: Class,
    /// Which epoch's key it was sealed with.
    pub epoch: u16,
    /// Makes every write's key a new one.
    pub salt: [u8; SALT_LEN],
    /// Commitment to the key.
    pub commit: [u8; 32],
}

impl Header {
    /// Reads the header of an object whose sum was compared: what is not known is newer, not damage.
    fn parse(header: &[u8; HEADER_LEN]) -> Result<Self> {
        let [_, _, _, _, class, reserved, fmt_low, fmt_high, epoch_low, epoch_high, rest @ ..] =
            header.as_slice()
        else {
            return Err(Error::Mismatch { what: WHAT });
        };
        let fmt = u16::from_le_bytes([*fmt_low, *fmt_high]);
        if fmt != limits::FMT {
            return Err(Error::Unsupported { what: "sealed object fmt", found: fmt.into() });
        }
        let class = Class::try_from(*class)?;
        let epoch = u16::from_le_bytes([*epoch_low, *epoch_high]);
        Error::check_epoch("sealed object epoch", epoch)?;
        if *reserved != 0 {
            let found = (*reserved).into();
            return Err(Error::Unsupported { what: "sealed object reserved byte", found });
        }
        let (mut salt, mut commit) = ([0; SALT_LEN], [0; 32]);
        let (salt_part, commit_part) = rest.split_at(SALT_LEN);
        salt.copy_from_slice(salt_part);
        commit.copy_from_slice(commit_part);
        Ok(Header { class, epoch, salt, commit })
    }

    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(MAGIC);
        out[4] = self.class as u8;
        out[6..8].copy_from_slice(&limits::FMT.to_le_bytes());
        out[8..10].copy_from_slice(&self.epoch.to_le_bytes());
        out[10..32].copy_from_slice(&self.salt);
        out[32..].copy_from_slice(&self.commit);
        out
    }
}

/// Seals a body. `salt` is random and fresh; `level` is zstd's.
///
/// # Errors
/// A body above [`limits::BODY_LEN_MAX`], or an object above [`limits::OBJECT_LEN_MAX`].
pub fn seal(
    key: &Secret,
    binding: &Binding<'_>,
    epoch: u16,
    salt: [u8; SALT_LEN],
    level: i32,
    body: &[u8],
) -> Result<Vec<u8>> {
    Error::check_limit("sealed body", body.len() as u64, limits::BODY_LEN_MAX)?;
    let derived = binding.derive(key, epoch, &salt);
    let header = Header { class: binding.class, epoch, salt, commit: derived.commit }.encode();

    let mut frame = Vec::new();
    compress::compress_frame(level, body, &mut frame)?;
    let plain_len = padme::padded_len((LENGTHS_LEN + frame.len()) as u64);
    let object_len = plain_len.saturating_add((HEADER_LEN + cipher::TAG_LEN + SUM_LEN) as u64);
    Error::check_limit(WHAT, object_len, limits::OBJECT_LEN_MAX)?;

    let mut out = Vec::with_capacity(object_len as usize);
    out.extend_from_slice(&header);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    out.extend_from_slice(&frame);
    out.resize(HEADER_LEN + plain_len as usize, 0);
    let aad = binding.aad(&header);
    if !cipher::seal_in_place(&derived.key, &cipher::ZERO_NONCE, &aad, &mut out, HEADER_LEN) {
        return Err(Error::Invalid { what: WHAT, rule: "too long for the cipher" });
    }
    let sum = sum(&out);
    out.extend_from_slice(&sum);
    Ok(out)
}

fn sum(bytes: &[u8]) -> [u8; SUM_LEN] {
    let mut sum = [0; SUM_LEN];
    let hash = blake3::hash(bytes);
    sum.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    sum
}

/// What anyone can check: that an object is of this format and has the bytes that were written. Gives its header, and what
/// lies before the sum.
///
/// # Errors
/// An object that is too short or too long, no sealed object, one whose sum is another; then, of what is whole, a version,
/// class, epoch or reserved byte that is not known.
pub fn check_sum(object: &[u8]) -> Result<(Header, &[u8])> {
    Error::check_limit(WHAT, object.len() as u64, limits::OBJECT_LEN_MAX)?;
    let truncated =
        Error::Truncated { what: WHAT, found: object.len() as u64, expected: (HEADER_LEN + SUM_LEN) as u64 };
    let (bytes, found) = object.split_last_chunk::<SUM_LEN>().ok_or_else(|| truncated.clone())?;
    let header = bytes.first_chunk().ok_or(truncated)?;
    if !header.starts_with(MAGIC) {
        return Err(Error::Mismatch { what: "sealed object magic" });
    }
    // before the version: every version has the sum there, so that rot is never taken for a newer one
    if sum(bytes) != *found {
        return Err(Error::Mismatch { what: "sealed object sum" });
    }
    Ok((Header::parse(header)?, bytes))
}

/// What an object says it is: enough to choose how to open it, which then compares the sum first. Nothing for what is no
/// sealed object, or of a class that is not known.
pub fn class_of(object: &[u8]) -> Option<Class> {
    object.strip_prefix(MAGIC)?.first().and_then(|raw| Class::try_from(*raw).ok())
}

/// Opens an object and gives its body.
///
/// # Errors
/// As [`check_sum`]; [`Error::WrongKey`] if the object is whole and was sealed with another key, or for another name, repository
/// or class of this name; unknown versions; damage otherwise.
pub fn open(key: &Secret, binding: &Binding<'_>, object: &[u8]) -> Result<Vec<u8>> {
    let (header, object) = check_sum(object)?;
    if header.class != binding.class {
        return Err(Error::Unexpected {
            what: "object class",
            found: format!("{:?}", header.class),
            expected: format!("{:?}", binding.class),
        });
    }
    let derived = binding.derive(key, header.epoch, &header.salt);
    if !bool::from(derived.commit.ct_eq(&header.commit)) {
        return Err(Error::WrongKey { what: WHAT });
    }
    let (head, sealed) = object.split_first_chunk::<HEADER_LEN>().ok_or(Error::Decrypt { what: WHAT })?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    if !cipher::open_in_place(&derived.key, &cipher::ZERO_NONCE, &binding.aad(head), &mut plain) {
        return Err(Error::Decrypt { what: WHAT });
    }
    unpad(&plain)
}

fn unpad(plain: &[u8]) -> Result<Vec<u8>> {
    let truncated = |found: &[u8], expected: u64| Error::Truncated {
        what: "sealed body",
        found: found.len() as u64,
        expected,
    };
    let (lengths, rest) =
        plain.split_first_chunk::<LENGTHS_LEN>().ok_or_else(|| truncated(plain, LENGTHS_LEN as u64))?;
    let [a, b, c, d, e, f, g, h] = *lengths;
    let (raw_len, z_len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    Error::check_limit("sealed body", raw_len.into(), limits::BODY_LEN_MAX)?;
    let (frame, padding) =
        rest.split_at_checked(z_len as usize).ok_or_else(|| truncated(rest, z_len.into()))?;
    if padme::padded_len(u64::from(z_len) + LENGTHS_LEN as u64) != plain.len() as u64 {
        return Err(Error::Rule { what: "sealed body", rule: "its length is not the padded one" });
    }
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Error::Trailing { what: "sealed body padding" });
    }
    let mut body = Vec::new();
    compress::decompress_frame(frame, raw_len.into(), &mut body)?;
    Ok(body)
}

/// Signs a payload, then seals it.
///
/// # Errors
/// As [`seal`]; [`Error::Invalid`] for a class that is not signed.
pub fn seal_signed(
    key: &Secret,
    signer: &Secret,
    binding: &Binding<'_>,
    epoch: u16,
    salt: [u8; SALT_LEN],
    level: i32,
    payload: &[u8],
) -> Result<Vec<u8>> {
    check_signed(binding)?;
    let body = signed::sign(signer, &binding.repo_id, binding.name, payload)?;
    seal(key, binding, epoch, salt, level, &body)
}

/// Opens an object, checks the signature and gives the payload.
///
/// # Errors
/// As [`open`]; a missing or wrong signature is [`Error::Mismatch`].
pub fn open_signed(
    key: &Secret,
    verifier: &[u8; 32],
    binding: &Binding<'_>,
    object: &[u8],
) -> Result<Vec<u8>> {
    check_signed(binding)?;
    let body = open(key, binding, object)?;
    signed::verify(verifier, &binding.repo_id, binding.name, &body)
}

fn check_signed(binding: &Binding<'_>) -> Result<()> {
    if binding.class.is_signed() {
        Ok(())
    } else {
        Err(Error::Invalid { what: "object class", rule: "it is not a signed one" })
    }
}

/// How one record names another as its predecessor: BLAKE3 of the whole object.
pub fn object_hash(object: &[u8]) -> [u8; 32] {
    *blake3::hash(object).as_bytes()
}

#[cfg(test)]
mod tests;
