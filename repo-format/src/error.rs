//! One error type for the whole crate: what was parsed, what was found, what is allowed.

use crate::limits;

/// Result of the codecs.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller may conclude from an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are not what was once written: damage, or forgery.
    Damage,
    /// The bytes are whole but were sealed under another key (commitment differs).
    WrongKey,
    /// Written by a newer version: a version, feature or kind that this build does not know.
    Unsupported,
    /// The caller asked for what the format cannot hold.
    Invalid,
}

/// Why bytes were refused, or a value could not be encoded. `what` names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the field needs.
    #[error("{what}: {found} bytes, {expected} expected")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Bytes there are.
        found: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// A number above its limit; checked before anything is computed or allocated with it.
    #[error("{what}: {found} exceeds {limit}")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// What the bytes say.
        found: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// A value that differs from the only one allowed here.
    #[error("{what}: {found} found, {expected} expected")]
    Unexpected {
        /// The field.
        what: &'static str,
        /// What was found, in short.
        found: String,
        /// What is allowed, in short.
        expected: String,
    },
    /// Bytes after the end, or padding and reserved fields that are not zero.
    #[error("{what}: not zero or not at its end")]
    Trailing {
        /// The field.
        what: &'static str,
    },
    /// A checksum, hash or signature that does not match.
    #[error("{what}: does not match")]
    Mismatch {
        /// What was compared.
        what: &'static str,
    },
    /// The key commitment differs: sealed with another key.
    #[error("{what}: sealed under another key")]
    WrongKey {
        /// The object.
        what: &'static str,
    },
    /// Authenticated decryption failed although the key is the right one.
    #[error("{what}: authentication failed")]
    Decrypt {
        /// The object.
        what: &'static str,
    },
    /// A structure rule (order, uniqueness, determinism) does not hold.
    #[error("{what}: {rule}")]
    Rule {
        /// The object.
        what: &'static str,
        /// The rule that was broken.
        rule: &'static str,
    },
    /// Written by something newer than this build.
    #[error("{what}: {found} is not known to this version")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// What was found.
        found: u64,
    },
    /// A name (of a kind, role, mode) that only something newer than this build can have written.
    #[error("{what}: \"{found}\" is not known to this version")]
    UnknownName {
        /// The field.
        what: &'static str,
        /// What was found, escaped and cut.
        found: String,
    },
    /// The caller's value cannot be written in this format.
    #[error("{what}: {rule}")]
    Invalid {
        /// The value.
        what: &'static str,
        /// Why not.
        rule: &'static str,
    },
}

impl Error {
    /// What the caller may conclude.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::WrongKey { .. } => ErrorKind::WrongKey,
            Error::Unsupported { .. } | Error::UnknownName { .. } => ErrorKind::Unsupported,
            Error::Invalid { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Damage,
        }
    }

    /// Refuses an epoch other than the only one that this version knows.
    pub(crate) fn check_epoch(what: &'static str, found: u16) -> Result<()> {
        if found == limits::EPOCH { Ok(()) } else { Err(Error::Unsupported { what, found: found.into() }) }
    }

    /// A name that is not among the known ones.
    pub(crate) fn unknown_name(what: &'static str, found: &str) -> Error {
        Error::UnknownName { what, found: format!("{:.80}", found.escape_default().to_string()) }
    }

    /// `found > limit` as an error.
    pub(crate) fn check_limit(what: &'static str, found: u64, limit: u64) -> Result<()> {
        if found > limit { Err(Error::TooLarge { what, found, limit }) } else { Ok(()) }
    }
}
