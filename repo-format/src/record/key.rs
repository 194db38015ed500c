//! Session keys: made by a writer, wrapped into a key row, unwrapped by who may read.

use super::RecordKey;
use crate::kdf::{self, Secret};
use crate::{Error, KeyId, RepoId, Result};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha256};
use std::convert::Infallible;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

type Kem = hpke::kem::X25519HkdfSha256;

const WHAT: &str = "session key";

/// Wrapped with HPKE to the content key: for data records.
pub const ALG_HPKE_X25519: u8 = 1;
/// Derived from the domain's structure key, nothing wrapped: for map and index records.
pub const ALG_STRUCTURE: u8 = 2;
const ENC_LEN: usize = 32;
/// enc ‖ sealed key ‖ tag.
pub(crate) const WRAP_LEN: usize = ENC_LEN + 32 + 16;

/// What a pack's trailer says of a session key: enough for who holds the right secret to open its
/// records, and moved along when records move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Random name of the session key.
    pub key_id: KeyId,
    /// How the key is wrapped: [`ALG_HPKE_X25519`], [`ALG_STRUCTURE`], or one to come.
    pub alg: u8,
    /// Epoch of the secrets it is wrapped with.
    pub epoch: u16,
    /// Commitment to the record key.
    pub commit: [u8; 32],
    /// The wrapped key; its form depends on `alg`.
    pub wrap: Vec<u8>,
}

impl KeyRow {
    /// Unwraps the key of data records with the content secret (C_sec).
    ///
    /// A secret that does not unwrap it is [`Error::WrongKey`]: the row is authenticated by the
    /// trailer, so damage was seen before.
    pub fn open_data(&self, repo_id: &RepoId, content_secret: &Secret) -> Result<RecordKey> {
        self.check_known(ALG_HPKE_X25519)?;
        let wrong = |_| Error::WrongKey { what: WHAT };
        let (enc, boxed) = self.wrap.split_at_checked(ENC_LEN).ok_or(Error::WrongKey { what: WHAT })?;
        let secret =
            <Kem as hpke::Kem>::PrivateKey::from_bytes(&content_secret.expose()[..]).map_err(wrong)?;
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(wrong)?;
        let info = info(repo_id, &self.key_id, self.epoch);
        let opened = hpke::single_shot_open::<AesGcm256, HkdfSha256, Kem>(
            &OpModeR::Base,
            &secret,
            &enc,
            &info,
            boxed,
            b"",
        );
        let k = Zeroizing::new(opened.map_err(wrong)?);
        self.record_key(repo_id, &k)
    }

    /// Derives the key of map and index records from the domain's structure key (S_d).
    pub fn open_structure(&self, repo_id: &RepoId, s_d: &Secret) -> Result<RecordKey> {
        self.check_known(ALG_STRUCTURE)?;
        self.record_key(repo_id, structure_key(s_d, self.epoch, &self.key_id).expose())
    }

    fn check_known(&self, expected: u8) -> Result<()> {
        if self.alg == expected {
            return Error::check_epoch("session key epoch", self.epoch);
        }
        if self.alg != ALG_HPKE_X25519 && self.alg != ALG_STRUCTURE {
            return Err(Error::Unsupported { what: "session key alg", found: self.alg.into() });
        }
        Err(Error::Unexpected {
            what: "session key alg",
            found: self.alg.to_string(),
            expected: expected.to_string(),
        })
    }

    fn record_key(&self, repo_id: &RepoId, k: &[u8]) -> Result<RecordKey> {
        let okm = kdf::derive_committed("record key", &[k, &repo_id.0, &self.key_id.0]);
        if !bool::from(okm.commit.ct_eq(&self.commit)) {
            return Err(Error::WrongKey { what: WHAT });
        }
        Ok(RecordKey::new(repo_id, &self.key_id, &okm.key))
    }
}

/// A key that a writer made for one session.
#[derive(Debug, Clone)]
pub struct SessionKey {
    row: KeyRow,
    key: RecordKey,
}

impl SessionKey {
    /// A key for data records, wrapped so that only the content secret opens it.
    ///
    /// `key_id`, `k` and `ephemeral_ikm` are fresh random bytes of the operating system, used for
    /// nothing else. Fails with [`Error::Invalid`] if `content_public` is no usable public key.
    pub fn data(
        repo_id: &RepoId,
        epoch: u16,
        content_public: &[u8; 32],
        key_id: KeyId,
        k: &Secret,
        ephemeral_ikm: &Secret,
    ) -> Result<Self> {
        let invalid = |_| Error::Invalid { what: "content public key", rule: "is not usable" };
        let public = <Kem as hpke::Kem>::PublicKey::from_bytes(content_public).map_err(invalid)?;
        let mut rng = OneShot { ikm: *ephemeral_ikm.expose(), used: 0 };
        let (enc, boxed) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
            &OpModeS::Base,
            &public,
            &info(repo_id, &key_id, epoch),
            k.expose(),
            b"",
            &mut rng,
        )
        .map_err(invalid)?;
        if rng.used != rng.ikm.len() {
            return Err(Error::Invalid { what: "HPKE", rule: "did not draw exactly 32 random bytes" });
        }
        let wrap = [enc.to_bytes().as_slice(), &boxed].concat();
        Self::new(repo_id, KeyRow { key_id, alg: ALG_HPKE_X25519, epoch, commit: [0; 32], wrap }, k)
    }

    /// A key for map and index records; `key_id` is fresh random bytes.
    pub fn structure(repo_id: &RepoId, epoch: u16, s_d: &Secret, key_id: KeyId) -> Result<Self> {
        let k = structure_key(s_d, epoch, &key_id);
        let row = KeyRow { key_id, alg: ALG_STRUCTURE, epoch, commit: [0; 32], wrap: Vec::new() };
        Self::new(repo_id, row, &k)
    }

    fn new(repo_id: &RepoId, mut row: KeyRow, k: &Secret) -> Result<Self> {
        let okm = kdf::derive_committed("record key", &[k.expose(), &repo_id.0, &row.key_id.0]);
        row.commit = okm.commit;
        Ok(SessionKey { key: RecordKey::new(repo_id, &row.key_id, &okm.key), row })
    }

    /// The row to put into the trailer of each pack that holds records of this key.
    pub fn row(&self) -> &KeyRow {
        &self.row
    }

    /// Seals records, and opens those of this session again.
    pub fn record_key(&self) -> &RecordKey {
        &self.key
    }
}

fn structure_key(s_d: &Secret, epoch: u16, key_id: &KeyId) -> Secret {
    kdf::derive("structure key", &[s_d.expose(), &epoch.to_le_bytes(), &key_id.0])
}

fn info(repo_id: &RepoId, key_id: &KeyId, epoch: u16) -> Vec<u8> {
    let context = kdf::CONTEXT_PREFIX.as_bytes();
    [context, WHAT.as_bytes(), &repo_id.0, &key_id.0, &epoch.to_le_bytes()].concat()
}

/// Hands the caller's 32 bytes to HPKE as its randomness, once.
struct OneShot {
    ikm: [u8; 32],
    used: usize,
}

impl TryRng for OneShot {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), Infallible> {
        let fresh = self.ikm.get(self.used..).unwrap_or_default();
        // What is drawn beyond the 32 bytes is zero; `used` then tells, and the key is refused.
        out.iter_mut().zip(fresh).for_each(|(to, from)| *to = *from);
        self.used = self.used.saturating_add(out.len());
        Ok(())
    }
}

impl TryCryptoRng for OneShot {}

impl Drop for OneShot {
    fn drop(&mut self) {
        self.ikm.zeroize();
    }
}
