//! Secrets, who holds which of them, and the slots that keep them.
//!
//! Four secrets: *structure* S (seals what says where things are), *identity* I (block hashes and
//! chunk ids), *content* C (X25519: the public half writes data, the secret one reads it) and
//! *deletion* G (Ed25519: signs config and everything that may drop data). A [`Role`] is a choice
//! of them, a [`Bundle`] their bytes, a [`slot`] the object that holds a bundle.

mod bundle;
pub mod keyfile;
mod role;
pub mod slot;

pub use bundle::{Bundle, RepositorySecrets};
pub use role::Role;

use crate::kdf::{self, Secret};
use crate::{Error, Result, limits};
use hpke::{Deserializable, Kem, Serializable, kem::X25519HkdfSha256};

/// The domain that every repository has.
pub const MAIN_DOMAIN: &str = "main";

/// Checks a domain's label: 1 to 64 bytes of UTF-8 without control characters.
pub fn check_domain(label: &str) -> Result<()> {
    Error::check_limit("domain", label.len() as u64, limits::DOMAIN_LEN_MAX)?;
    if label.is_empty() || label.chars().any(char::is_control) {
        return Err(Error::Rule { what: "domain", rule: "empty, or with control characters" });
    }
    Ok(())
}

/// S_c, which seals config and gc records of all domains.
fn common_key(structure: &Secret) -> Secret {
    kdf::derive("common", &[structure.expose()])
}

/// S_d, which seals all else of domain d.
fn domain_structure(structure: &Secret, domain: &str) -> Secret {
    kdf::derive("domain structure", &[structure.expose(), domain.as_bytes()])
}

/// I_d, from which domain d computes hashes, ids and cuts.
fn domain_identity(identity: &Secret, domain: &str) -> Secret {
    kdf::derive("domain identity", &[identity.expose(), domain.as_bytes()])
}

/// The X25519 public key of a content secret (32 bytes, clamped where they are used).
pub fn content_public_of(secret: &Secret) -> Result<[u8; 32]> {
    let refused = |_| Error::Invalid { what: "content key", rule: "not an X25519 key" };
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret.expose()).map_err(refused)?;
    Ok(X25519HkdfSha256::sk_to_pk(&private).to_bytes().into())
}

/// The Ed25519 public key of a deletion secret (the seed of RFC 8032).
pub fn deletion_public_of(secret: &Secret) -> [u8; 32] {
    crate::signed::verifying_key(secret)
}
