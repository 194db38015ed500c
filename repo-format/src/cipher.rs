//! AES-256-GCM over buffers; the one place that calls the cipher.

use crate::kdf::Secret;
use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};

/// Length of the tag that sealing appends.
pub(crate) const TAG_LEN: usize = 16;

/// The nonce of keys that are derived for one message only.
pub(crate) const ZERO_NONCE: [u8; 12] = [0; 12];

/// Encrypts `buffer[from..]` in place and appends the tag. False only beyond the cipher's 64 GiB.
#[must_use]
pub(crate) fn seal_in_place(
    key: &Secret,
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut Vec<u8>,
    from: usize,
) -> bool {
    let cipher = Aes256Gcm::new(&(*key.expose()).into());
    let Some(plain) = buffer.get_mut(from..) else { return false };
    match cipher.encrypt_inout_detached(&(*nonce).into(), aad, plain.into()) {
        Ok(tag) => {
            buffer.extend_from_slice(&tag);
            true
        }
        Err(_) => false,
    }
}

/// Decrypts `ciphertext ‖ tag` in place and cuts the tag off. False: not sealed so, or too short;
/// the buffer's content is then of no use.
#[must_use]
pub(crate) fn open_in_place(key: &Secret, nonce: &[u8; 12], aad: &[u8], buffer: &mut Vec<u8>) -> bool {
    let cipher = Aes256Gcm::new(&(*key.expose()).into());
    let Some(len) = buffer.len().checked_sub(TAG_LEN) else { return false };
    let (body, tag) = buffer.split_at_mut(len);
    let Ok(tag) = <[u8; TAG_LEN]>::try_from(&*tag) else { return false };
    let opened = cipher.decrypt_inout_detached(&(*nonce).into(), aad, body.into(), &tag.into()).is_ok();
    buffer.truncate(len);
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed() {
        let key = Secret::new([7; 32]);
        let mut sealed = b"head".to_vec();
        sealed.extend_from_slice(b"plain");
        assert!(seal_in_place(&key, &[1; 12], b"aad", &mut sealed, 4));
        assert_eq!(sealed.len(), 4 + 5 + TAG_LEN);
        let body = sealed.split_off(4);
        let mut opened = body.clone();
        assert!(open_in_place(&key, &[1; 12], b"aad", &mut opened));
        assert_eq!(opened, b"plain");
        for (nonce, aad) in [([2; 12], &b"aad"[..]), ([1; 12], b"bad")] {
            assert!(!open_in_place(&key, &nonce, aad, &mut body.clone()));
        }
        assert!(!open_in_place(&key, &[1; 12], b"aad", &mut vec![0; TAG_LEN - 1]));
    }
}
