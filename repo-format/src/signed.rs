//! Signed bodies: what only the holder of the deletion key G may write.
//!
//! CBOR `{payload, sig}`; the signature covers repository, name and payload, so that one cannot be
//! shown in the place of another.

use crate::cbor::{Map, Value};
use crate::kdf::{CONTEXT_PREFIX, Secret};
use crate::{Error, RepoId, Result};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

const WHAT: &str = "signed body";

/// The public half of a signing seed.
pub fn verifying_key(signer: &Secret) -> [u8; 32] {
    SigningKey::from_bytes(signer.expose()).verifying_key().to_bytes()
}

fn message(repo_id: &RepoId, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let name_len = u16::try_from(name.len()).map_err(|_| Error::TooLarge {
        what: "object name",
        found: name.len() as u64,
        limit: u16::MAX.into(),
    })?;
    Ok([
        CONTEXT_PREFIX.as_bytes(),
        b"signed",
        repo_id.as_bytes(),
        &name_len.to_le_bytes(),
        name.as_bytes(),
        payload,
    ]
    .concat())
}

/// Signs a payload for one name; `signer` is the Ed25519 seed (RFC 8032).
///
/// # Errors
/// A name above 65,535 bytes.
pub fn sign(signer: &Secret, repo_id: &RepoId, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let signature = SigningKey::from_bytes(signer.expose()).sign(&message(repo_id, name, payload)?);
    let mut map = Map::new();
    map.set("payload", payload).set("sig", &signature.to_bytes());
    Ok(Value::Map(map).encode())
}

/// Checks the signature (strictly: no weak keys, no second spelling) and gives the payload.
///
/// # Errors
/// Not a signed body, or [`Error::Mismatch`].
pub fn verify(verifier: &[u8; 32], repo_id: &RepoId, name: &str, body: &[u8]) -> Result<Vec<u8>> {
    let mut map = Value::parse(body)?.into_map(WHAT)?;
    let payload = map.bytes("payload")?;
    let signature = Signature::from_bytes(&map.array("sig")?);
    map.finish(WHAT)?;
    let wrong = Error::Mismatch { what: "signature" };
    let key = VerifyingKey::from_bytes(verifier).map_err(|_| wrong.clone())?;
    key.verify_strict(&message(repo_id, name, &payload)?, &signature).map_err(|_| wrong)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: RepoId = RepoId([3; 16]);

    fn golden() -> Vec<u8> {
        sign(&Secret::new([1; 32]), &REPO, "gc/x", b"payload").unwrap()
    }

    #[test]
    fn verifies_what_was_signed_and_nothing_else() {
        let signer = Secret::new([1; 32]);
        let public = verifying_key(&signer);
        let body = golden();
        assert_eq!(verify(&public, &REPO, "gc/x", &body), Ok(b"payload".to_vec()));
        assert!(verify(&public, &REPO, "gc/y", &body).is_err());
        assert!(verify(&public, &RepoId([4; 16]), "gc/x", &body).is_err());
        assert!(verify(&verifying_key(&Secret::new([2; 32])), &REPO, "gc/x", &body).is_err());
        assert!(verify(&[0; 32], &REPO, "gc/x", &body).is_err(), "weak key");
        for len in 0..body.len() {
            assert!(verify(&public, &REPO, "gc/x", &body[..len]).is_err(), "{len} bytes");
        }
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&public, &REPO, "gc/x", &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn bytes_are_as_ever() {
        crate::golden::check("signed", &golden());
    }
}
