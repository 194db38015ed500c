//! What can go wrong, by what the caller can do about it.

use crate::store::StoreError;
use repo_format::ErrorKind as FormatKind;

/// Result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Few and prescriptive: each kind is one documented exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Failed; nothing else fits.
    Failed,
    /// The request itself is wrong.
    Usage,
    /// There is no repository where one was asked for.
    NoRepository,
    /// Somebody else was there first, or fenced this session off.
    Conflict,
    /// Wrong password or key, or a role that may not do this.
    WrongKey,
    /// Stored bytes are missing or not what was written.
    Damage,
    /// Ended by the user.
    Cancelled,
}

/// An error that names the object, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No config at this place.
    #[error("{url}: no repository found; `orlop init` makes one")]
    NoRepository {
        /// Where it was looked for.
        url: String,
    },
    /// A config is there already.
    #[error("{url}: a repository exists already, nothing was changed")]
    Exists {
        /// Where.
        url: String,
    },
    /// No key slot opens with this credential.
    #[error("{url}: {reason}")]
    WrongKey {
        /// Which repository.
        url: String,
        /// What was tried.
        reason: String,
    },
    /// The role of the key that was given cannot do this.
    #[error("{action} needs the role {needed}; the key given has the role {role}")]
    Role {
        /// What was asked for.
        action: &'static str,
        /// Roles that can.
        needed: &'static str,
        /// The role there is.
        role: String,
    },
    /// A store request failed for good.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An object's bytes were refused.
    #[error("{object}: {source}")]
    Format {
        /// Name of the object.
        object: String,
        /// Why.
        source: repo_format::Error,
    },
    /// Stored data are missing or contradict each other.
    #[error("{object}: {detail}")]
    Damage {
        /// Name of the object.
        object: String,
        /// Found and expected.
        detail: String,
    },
    /// A volume or stream could not be read.
    #[error("{name}: {what} at offset {offset}: {source}")]
    Source {
        /// The volume, and its path.
        name: String,
        /// The operation.
        what: &'static str,
        /// Byte offset in the source.
        offset: u64,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A target could not be written.
    #[error("{target}: {what}: {source}")]
    Target {
        /// Path of the target.
        target: String,
        /// The operation.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The store does not keep a promise that orlop needs.
    #[error("{url}: {reason}")]
    StoreUnfit {
        /// Which store.
        url: String,
        /// The promise, and what was seen.
        reason: String,
    },
    /// Fenced off, or overtaken too often.
    #[error("{what}")]
    Conflict {
        /// What happened, and what to do.
        what: String,
    },
    /// The request is wrong.
    #[error("{what}")]
    Usage {
        /// What, and what would be right.
        what: String,
    },
    /// Ended by the user.
    #[error("interrupted")]
    Cancelled,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {source}")]
    Randomness {
        /// Its answer.
        source: std::io::Error,
    },
    /// A defect of this program.
    #[error("internal error: {what}")]
    Internal {
        /// What was assumed and does not hold.
        what: String,
    },
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NoRepository { .. } => ErrorKind::NoRepository,
            Error::Exists { .. } | Error::Conflict { .. } => ErrorKind::Conflict,
            Error::WrongKey { .. } | Error::Role { .. } => ErrorKind::WrongKey,
            Error::Format { source, .. } => match source.kind() {
                FormatKind::Damage => ErrorKind::Damage,
                FormatKind::WrongKey => ErrorKind::WrongKey,
                FormatKind::Unsupported | FormatKind::Invalid => ErrorKind::Failed,
            },
            Error::Damage { .. } => ErrorKind::Damage,
            Error::Usage { .. } => ErrorKind::Usage,
            Error::Cancelled => ErrorKind::Cancelled,
            Error::Store(_)
            | Error::Source { .. }
            | Error::Target { .. }
            | Error::StoreUnfit { .. }
            | Error::Randomness { .. }
            | Error::Internal { .. } => ErrorKind::Failed,
        }
    }

    /// Bytes that were read are of no use, whatever is wrong with them: another copy may serve.
    pub(crate) fn is_bad_copy(&self) -> bool {
        matches!(self, Error::Format { .. } | Error::Damage { .. })
    }

    /// As [`is_bad_copy`](Self::is_bad_copy), and not for being of a newer version: what is whole must not be repaired.
    pub(crate) fn is_damage(&self) -> bool {
        self.is_bad_copy() && !self.is_newer()
    }

    /// Bytes that are whole, and of a version that this one does not know.
    pub fn is_newer(&self) -> bool {
        matches!(self, Error::Format { source, .. } if source.kind() == FormatKind::Unsupported)
    }

    /// A defect of this program, as an error instead of a panic.
    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Error::Internal { what: what.into() }
    }

    /// Damage of `object`.
    pub(crate) fn damage(object: impl ToString, detail: impl Into<String>) -> Self {
        Error::Damage { object: object.to_string(), detail: detail.into() }
    }
}

/// Names the object whose bytes a codec refused.
pub(crate) trait Named<T> {
    fn named(self, object: impl ToString) -> Result<T>;
}

impl<T> Named<T> for repo_format::Result<T> {
    fn named(self, object: impl ToString) -> Result<T> {
        self.map_err(|source| Error::Format { object: object.to_string(), source })
    }
}
