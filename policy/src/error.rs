//! The one error of this crate: a text that cannot be read.

/// Why a text given by a user was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?}: expected {expected}")]
pub struct Error {
    /// What was to be read.
    pub what: &'static str,
    /// The text that was found.
    pub found: String,
    /// What would have been accepted.
    pub expected: &'static str,
}

impl Error {
    pub(crate) fn new(what: &'static str, found: &str, expected: &'static str) -> Error {
        Error { what, found: found.to_owned(), expected }
    }
}
