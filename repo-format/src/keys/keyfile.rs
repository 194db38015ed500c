//! The text of a key file, which is also the recovery key that `init` prints.
//!
//! `orlop-key-1-` and base32 (RFC 4648, lower case, no padding) of 32 secret bytes and a checksum:
//! the first 4 bytes of KDF("key file checksum", the 32 bytes).

use crate::kdf::{self, Secret};
use crate::{Error, Result};
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use zeroize::Zeroizing;

const PREFIX: &str = "orlop-key-1-";
const CHECKSUM_LEN: usize = 4;
const BYTES_LEN: usize = 32 + CHECKSUM_LEN;
const TEXT_LEN: usize = 58;

fn checksum(secret: &Secret) -> [u8; CHECKSUM_LEN] {
    let mut out = [0; CHECKSUM_LEN];
    kdf::derive_into("key file checksum", &[secret.expose()], &mut out);
    out
}

/// The text form, without newline.
pub fn encode(secret: &Secret) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; BYTES_LEN]);
    bytes[..32].copy_from_slice(secret.expose());
    bytes[32..].copy_from_slice(&checksum(secret));
    let mut text = Zeroizing::new([0; TEXT_LEN]);
    BASE32_NOPAD.encode_mut(&*bytes, &mut *text);
    let mut out = Zeroizing::new(String::with_capacity(PREFIX.len() + TEXT_LEN));
    out.push_str(PREFIX);
    out.extend(text.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    out
}

/// Reads the text form; white space around it and upper case are tolerated, nothing else is.
///
/// # Errors
/// [`Error::Invalid`]; it never repeats what was given.
pub fn parse(text: &str) -> Result<Secret> {
    let refuse = |rule| Error::Invalid { what: "key file", rule };
    let text = text.trim();
    let body = match text.split_at_checked(PREFIX.len()) {
        Some((prefix, body)) if prefix.eq_ignore_ascii_case(PREFIX) => body,
        _ => return Err(refuse("does not begin with orlop-key-1-")),
    };
    if body.len() != TEXT_LEN {
        return Err(refuse("has not 58 characters after orlop-key-1-"));
    }
    let mut bytes = Zeroizing::new([0; BYTES_LEN]);
    BASE32_NOPAD_NOCASE
        .decode_mut(body.as_bytes(), &mut *bytes)
        .map_err(|_| refuse("has a character that is none of a to z and 2 to 7, or a wrong last one"))?;
    let mut fixed = Zeroizing::new([0; 32]);
    fixed.copy_from_slice(&bytes[..32]);
    let secret = Secret::new(*fixed);
    if checksum(&secret) != bytes[32..] {
        return Err(refuse("checksum does not match: a character is wrong"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(bytes: [u8; 32]) {
            let text = encode(&Secret::new(bytes));
            prop_assert_eq!(text.len(), 70);
            prop_assert_eq!(parse(&text), Ok(Secret::new(bytes)));
            prop_assert_eq!(parse(&format!(" {}\r\n", text.to_uppercase())), Ok(Secret::new(bytes)));
        }

        #[test]
        fn never_panics(text in "(orlop-key-1-)?[ -~ä]{0,80}") {
            prop_assert!(parse(&text).is_err());
        }
    }

    #[test]
    fn every_wrong_character_is_refused() {
        let good = encode(&Secret::new([0xa5; 32]));
        for at in 0..good.len() {
            for c in ["a", "z", "2", "7", "0", "é", "-", " ", "1"] {
                if good[at..=at].eq_ignore_ascii_case(c) {
                    continue;
                }
                let mut bad = good.to_string();
                bad.replace_range(at..=at, c);
                let error = parse(&bad).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(!error.to_string().contains(&good[20..30]));
            }
            assert!(parse(&good[..at]).is_err());
        }
        assert!(parse(&format!("{}a", *good)).is_err());
    }

    #[test]
    fn text_is_as_ever() {
        let text = "orlop-key-1-aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaz2lb5ki";
        assert_eq!(*encode(&Secret::new([1; 32])), text);
    }
}
