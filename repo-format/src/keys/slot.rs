//! The key slot: a bundle in a box that a password or a key file opens.

use super::{Bundle, Role};
use crate::cbor::{Map, Value};
use crate::kdf::{self, KeyAndCommit, Secret};
use crate::{Error, RepoId, Result, SlotId, cipher, limits};
use std::{fmt, str::FromStr};
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

const WHAT: &str = "key slot";

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A password, through Argon2id.
    Password,
    /// The 32 bytes of a key file.
    KeyFile,
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SlotKind::Password => "password",
            SlotKind::KeyFile => "keyfile",
        })
    }
}

impl FromStr for SlotKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "password" => Ok(SlotKind::Password),
            "keyfile" => Ok(SlotKind::KeyFile),
            _ => Err(Error::unknown_name("slot kind", text)),
        }
    }
}

/// The cost of Argon2id (version 0x13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB: 8 p to [`limits::KDF_M_KIB_MAX`].
    pub m_kib: u32,
    /// Passes: 1 to [`limits::KDF_T_MAX`].
    pub t: u32,
    /// Lanes: 1 to [`limits::KDF_P_MAX`].
    pub p: u32,
}

impl KdfParams {
    /// What slots are written with: 64 MiB, 3 passes, 4 lanes (RFC 9106, second choice).
    pub const DEFAULT: KdfParams = KdfParams { m_kib: 65_536, t: 3, p: 4 };

    fn check(&self) -> Result<()> {
        Error::check_limit("memory of Argon2id", self.m_kib.into(), limits::KDF_M_KIB_MAX.into())?;
        Error::check_limit("passes of Argon2id", self.t.into(), limits::KDF_T_MAX.into())?;
        Error::check_limit("lanes of Argon2id", self.p.into(), limits::KDF_P_MAX.into())?;
        if self.t == 0 || self.p == 0 || self.m_kib < 8 * self.p {
            return Err(Error::Rule {
                what: "params of Argon2id",
                rule: "zero, or less than 8 KiB per lane",
            });
        }
        Ok(())
    }

    fn derive(&self, password: &[u8], salt: &[u8; 32]) -> Result<Secret> {
        self.check()?;
        let refused = |_| Error::Invalid { what: "Argon2id", rule: "not enough memory, or refused" };
        let params = argon2::Params::new(self.m_kib, self.t, self.p, Some(32)).map_err(refused)?;
        let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut out = Zeroizing::new([0; 32]);
        argon.hash_password_into(password, salt, &mut *out).map_err(refused)?;
        Ok(Secret::new(*out))
    }

    fn to_value(self) -> Value {
        let mut map = Map::new();
        map.set("m", u64::from(self.m_kib)).set("t", u64::from(self.t)).set("p", u64::from(self.p));
        map.into()
    }

    fn from_value(value: Value, what: &'static str) -> Result<Self> {
        let mut map = value.into_map(what)?;
        let params = KdfParams { m_kib: map.small("m")?, t: map.small("t")?, p: map.small("p")? };
        map.finish("params of Argon2id")?;
        params.check().map(|()| params).map_err(|error| match error {
            // the one number that is sure to rise one day
            Error::TooLarge { what, found, .. } => Error::Unsupported { what, found },
            other => other,
        })
    }
}

/// What a person or a file brings to open a slot.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// UTF-8; one line end is cut off and NFC applied before it is used.
    Password(&'a [u8]),
    /// The secret of a key file ([`super::keyfile`]).
    KeyFile(&'a Secret),
}

impl Credential<'_> {
    /// The kind of slot that this may open.
    pub fn kind(&self) -> SlotKind {
        match self {
            Credential::Password(_) => SlotKind::Password,
            Credential::KeyFile(_) => SlotKind::KeyFile,
        }
    }

    fn kek(&self, params: Option<KdfParams>, salt: &[u8; 32]) -> Result<Secret> {
        match (self, params) {
            (Credential::Password(raw), Some(params)) => params.derive(normalise(raw)?.as_bytes(), salt),
            (Credential::KeyFile(secret), None) => Ok((*secret).clone()),
            _ => Err(Error::Invalid { what: WHAT, rule: "is not opened by this kind of credential" }),
        }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.kind())
    }
}

/// Cuts one line end off and applies NFC, so that the same typed password is the same bytes.
fn normalise(raw: &[u8]) -> Result<Zeroizing<String>> {
    let refuse = |rule| Error::Invalid { what: "password", rule };
    let text = std::str::from_utf8(raw).map_err(|_| refuse("is not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(refuse("is empty"));
    }
    // Canonical composition never takes more than 3 times the bytes (UAX 15), so nothing is moved.
    let mut out = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    out.extend(text.nfc());
    Ok(out)
}

/// A slot about to be written: what the caller chooses, and fresh random bytes.
#[derive(Debug, Clone)]
pub struct NewSlot<'a> {
    /// Random; the name of the object.
    pub slot_id: SlotId,
    /// Random and fresh.
    pub salt: [u8; 32],
    /// For people: at most [`limits::NAME_LEN_MAX`] bytes without control characters.
    pub label: &'a str,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Cost of a password slot; key files need none.
    pub params: KdfParams,
}

impl NewSlot<'_> {
    /// Seals a bundle into the bytes of `keys/<slot_id>`. Costs one Argon2id for a password.
    ///
    /// # Errors
    /// A label, password or cost that the format does not allow.
    pub fn seal(&self, credential: Credential<'_>, bundle: &Bundle) -> Result<Vec<u8>> {
        check_label(self.label)?;
        let kind = credential.kind();
        let params = (kind == SlotKind::Password).then_some(self.params);
        let kek = credential.kek(params, &self.salt)?;
        let derived = derive(&kek, &bundle.repo_id(), &self.slot_id, &self.salt);
        let mut map = Map::new();
        map.set("fmt", u64::from(limits::FMT))
            .set("repo_id", bundle.repo_id().as_bytes())
            .set("slot_id", self.slot_id.as_bytes())
            .set("kind", kind.to_string())
            .set("role", bundle.role().to_string())
            .set("label", self.label)
            .set("created", self.created_ms)
            .set_opt("params", params.map(KdfParams::to_value))
            .set("salt", &self.salt)
            .set("commit", &derived.commit);
        let aad = Value::Map(map.clone()).encode();
        let plain = bundle.encode();
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + cipher::TAG_LEN));
        sealed.extend_from_slice(&plain);
        if !cipher::seal_in_place(&derived.key, &cipher::ZERO_NONCE, &aad, &mut sealed, 0) {
            return Err(Error::Invalid { what: WHAT, rule: "too long for the cipher" });
        }
        map.set("box", sealed.as_slice());
        let sum = sum_of(&Value::Map(map.clone()).encode());
        map.set("sum", &sum);
        let object = Value::Map(map).encode();
        Error::check_limit(WHAT, object.len() as u64, limits::SLOT_LEN_MAX)?;
        Ok(object)
    }
}

/// A slot as it was read: what it says in clear is not authenticated before it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSlot {
    /// The repository; slots of another one than config's are ignored.
    pub repo_id: RepoId,
    /// Equal to the object's name.
    pub slot_id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// Cost of a password slot.
    pub params: Option<KdfParams>,
    /// Whose bundle it holds.
    pub role: Role,
    /// For people.
    pub label: String,
    /// Unix milliseconds; newer slots are tried first.
    pub created_ms: u64,
    salt: [u8; 32],
    commit: [u8; 32],
    sealed: Vec<u8>,
    aad: Vec<u8>,
}

impl SealedSlot {
    /// Reads the object `keys/<slot_id>`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the checksum says that it is damaged; an unknown fmt, kind or role;
    /// limits; another slot's bytes.
    pub fn parse(slot_id: SlotId, object: &[u8]) -> Result<Self> {
        Error::check_limit(WHAT, object.len() as u64, limits::SLOT_LEN_MAX)?;
        let mut map = Value::parse(object)?.into_map(WHAT)?;
        let mut fields = map.clone();
        map.remove("sum");
        // before the version: every version has a sum, so that rot is never taken for a newer one
        if sum_of(&Value::Map(map.clone()).encode()) != fields.array("sum")? {
            return Err(Error::Mismatch { what: "key slot checksum" });
        }
        let fmt = fields.uint("fmt")?;
        if fmt != u64::from(limits::FMT) {
            return Err(Error::Unsupported { what: "key slot fmt", found: fmt });
        }
        map.remove("box");
        let aad = Value::Map(map).encode();
        let slot = SealedSlot {
            repo_id: RepoId(fields.array("repo_id")?),
            slot_id: SlotId(fields.array("slot_id")?),
            kind: fields.text("kind")?.parse()?,
            params: fields.opt("params", KdfParams::from_value)?,
            role: fields.text("role")?.parse()?,
            label: fields.text("label")?,
            created_ms: fields.uint("created")?,
            salt: fields.array("salt")?,
            commit: fields.array("commit")?,
            sealed: fields.bytes("box")?,
            aad,
        };
        fields.finish(WHAT)?;
        check_label(&slot.label)?;
        if slot.slot_id != slot_id {
            let (found, expected) = (slot.slot_id.to_string(), slot_id.to_string());
            return Err(Error::Unexpected { what: "slot_id", found, expected });
        }
        if slot.params.is_some() != (slot.kind == SlotKind::Password) {
            return Err(Error::Rule { what: WHAT, rule: "params belong to password slots, and only there" });
        }
        Ok(slot)
    }

    /// Opens the box. Costs one Argon2id for a password.
    ///
    /// # Errors
    /// [`Error::WrongKey`] for another credential, found before anything is decrypted; damage if
    /// the bundle is not what the slot says.
    pub fn open(&self, credential: Credential<'_>) -> Result<Bundle> {
        if credential.kind() != self.kind {
            return Err(Error::WrongKey { what: WHAT });
        }
        let kek = credential.kek(self.params, &self.salt)?;
        let derived = derive(&kek, &self.repo_id, &self.slot_id, &self.salt);
        if !bool::from(derived.commit.ct_eq(&self.commit)) {
            return Err(Error::WrongKey { what: WHAT });
        }
        let mut plain = Zeroizing::new(self.sealed.clone());
        if !cipher::open_in_place(&derived.key, &cipher::ZERO_NONCE, &self.aad, &mut plain) {
            return Err(Error::Decrypt { what: WHAT });
        }
        let bundle = Bundle::parse(&plain)?;
        plain.zeroize();
        if bundle.repo_id() != self.repo_id || bundle.role() != self.role {
            return Err(Error::Mismatch { what: "repository or role of the key bundle" });
        }
        Ok(bundle)
    }
}

fn derive(kek: &Secret, repo_id: &RepoId, slot_id: &SlotId, salt: &[u8; 32]) -> KeyAndCommit {
    kdf::derive_committed("key slot", &[kek.expose(), repo_id.as_bytes(), slot_id.as_bytes(), salt])
}

/// The first 16 bytes of BLAKE3 of the map without its `sum`.
fn sum_of(map: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    blake3::Hasher::new().update(map).finalize_xof().fill(&mut sum);
    sum
}

fn check_label(label: &str) -> Result<()> {
    Error::check_limit("label", label.len() as u64, limits::NAME_LEN_MAX)?;
    if label.chars().any(char::is_control) {
        return Err(Error::Rule { what: "label", rule: "has control characters" });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
