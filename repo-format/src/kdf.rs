//! Key derivation: BLAKE3 `derive_key` with contexts of this format's own.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes: wiped when dropped, never printed, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// The bytes, for a cipher or a hash.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl Eq for Secret {}

/// What every context string begins with.
pub const CONTEXT_PREFIX: &str = "orlop 2026-11 v1 ";

/// `KDF(context, material)` of `docs/format.md`: fills `out` from the concatenated material.
pub fn derive_into(context: &str, material: &[&[u8]], out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("{CONTEXT_PREFIX}{context}"));
    for part in material {
        hasher.update(part);
    }
    hasher.finalize_xof().fill(out);
    hasher.zeroize();
}

/// A derived 32-byte key.
pub fn derive(context: &str, material: &[&[u8]]) -> Secret {
    let mut out = [0; 32];
    derive_into(context, material, &mut out);
    let secret = Secret(out);
    out.zeroize();
    secret
}

/// An AES-256 key and the commitment to it: 64 bytes of one derivation, key first.
pub struct KeyAndCommit {
    /// The AES-256-GCM key.
    pub key: Secret,
    /// Stored in clear; compared in constant time before anything is decrypted.
    pub commit: [u8; 32],
}

/// Derives key ‖ commit.
pub fn derive_committed(context: &str, material: &[&[u8]]) -> KeyAndCommit {
    let mut okm = [0; 64];
    derive_into(context, material, &mut okm);
    let (mut key, mut commit) = ([0; 32], [0; 32]);
    key.copy_from_slice(&okm[..32]);
    commit.copy_from_slice(&okm[32..]);
    okm.zeroize();
    let out = KeyAndCommit { key: Secret(key), commit };
    key.zeroize();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_material_matter() {
        let a = derive("block", &[b"x", b"y"]);
        assert_eq!(a, derive("block", &[b"xy"]));
        assert_ne!(a, derive("chunk", &[b"xy"]));
        assert_eq!(a.expose(), &blake3::derive_key("orlop 2026-11 v1 block", b"xy"));
        assert_eq!(format!("{a:?}"), "Secret(..)");
    }
}
