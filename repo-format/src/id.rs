//! Identifiers, one type per meaning, so that none can stand in for another.

use crate::{Error, Result};
use std::fmt;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for b in bytes {
        let pair = [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]];
        f.write_str(std::str::from_utf8(&pair).unwrap_or("??"))?;
    }
    Ok(())
}

fn parse_hex<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N]> {
    let refuse = || Error::Unexpected {
        what,
        found: format!("{:.80}", text.escape_default().to_string()),
        expected: format!("{} lower-case hex digits", 2 * N),
    };
    let raw = text.as_bytes();
    if raw.len() != 2 * N {
        return Err(refuse());
    }
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(refuse()),
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(raw.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The identifier as bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Reads lower-case hex of exactly this length.
            pub fn parse(text: &str) -> Result<Self> {
                parse_hex(stringify!($name), text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
    };
}

id_type!(
    /// Identity of a record's plain content: a keyed hash (chunks, pages) or a position (index records).
    Id, 32
);
id_type!(
    /// Random name of a pack.
    PackId, 16
);
id_type!(
    /// A snapshot (sid): the 16 bytes of a UUIDv7, so that names sort by time.
    SnapshotId, 16
);
id_type!(
    /// A repository, drawn at `init` and bound into every sealed byte.
    RepoId, 16
);
id_type!(
    /// A session key within a pack's trailer.
    KeyId, 16
);
id_type!(
    /// A key slot.
    SlotId, 16
);
id_type!(
    /// A process, where a store without put-if-absent needs the writer in the name.
    ProcessId, 16
);

impl Id {
    /// 32 zero bytes: an all-hole page or an empty stream; never a stored record's id.
    pub const ZERO: Id = Id([0; 32]);

    /// True for [`Id::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// The 16 bytes by which an index run knows this id.
    pub fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0[..16]);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let id = PackId([0xa5; 16]);
        assert_eq!(PackId::parse(&id.to_string()), Ok(id));
        assert!(PackId::parse("a5").is_err());
        assert!(PackId::parse(&"A5".repeat(16)).is_err());
        assert!(PackId::parse(&"ä".repeat(16)).is_err());
    }
}
