//! What can be wrong with a manifest file, one line each.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::Limits;

/// Why manifest files cannot be read. `at` is `file:line`; no variant holds a value of a file, which may be secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A file or folder that the system does not give us.
    #[error("{path}: cannot be read: {cause}")]
    Read {
        /// The file or folder.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// A manifest's name on something that holds no text, such as a socket.
    #[error("{path}: found a special file, expected a regular one")]
    NotRegular {
        /// The file.
        path: String,
    },
    /// Text that is neither YAML nor JSON.
    #[error("{at}: not valid {format}: {found}")]
    Syntax {
        /// The place.
        at: String,
        /// What it was read as.
        format: &'static str,
        /// What is wrong there.
        found: String,
    },
    /// Valid text that is no Kubernetes object.
    #[error("{at}: found {found}, expected {expected}")]
    Invalid {
        /// The place.
        at: String,
        /// What is there.
        found: String,
        /// What an object has there.
        expected: &'static str,
    },
    /// More than [`Limits`](super::Limits) allow.
    #[error("{at}: {what}: found {found}, at most {allowed} allowed")]
    Limit {
        /// The place.
        at: String,
        /// What is counted, with its unit.
        what: &'static str,
        /// The count.
        found: u64,
        /// The limit.
        allowed: u64,
    },
    /// One object in two places; versions of one group do not make it two objects.
    #[error("{second}: object {path} was already given at {first}")]
    Duplicate {
        /// The catalogue path.
        path: String,
        /// Where it was found first.
        first: String,
        /// Where it was found again.
        second: String,
    },
    /// A path that is not `group/kind/namespace/name`.
    #[error("catalogue path {path}: found {found}, expected {expected}")]
    Path {
        /// The path, escaped.
        path: String,
        /// What is there.
        found: String,
        /// What a path has.
        expected: &'static str,
    },
}

/// The file that is read: makes the errors about it.
pub(super) struct File<'a> {
    name: &'a str,
}

impl<'a> File<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self { name }
    }

    /// Whether its name says that it is JSON and nothing else.
    pub(super) fn is_json(&self) -> bool {
        Path::new(self.name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
    }

    /// `file:line`, on one line whatever the file is called.
    pub(super) fn at(&self, line: usize) -> String {
        format!("{}:{line}", one_line(self.name))
    }

    pub(super) fn syntax(&self, line: usize, format: &'static str, found: String) -> ManifestError {
        ManifestError::Syntax { at: self.at(line), format, found }
    }

    pub(super) fn invalid(
        &self,
        line: usize,
        found: impl Into<String>,
        expected: &'static str,
    ) -> ManifestError {
        ManifestError::Invalid { at: self.at(line), found: found.into(), expected }
    }

    pub(super) fn limit(&self, line: usize, what: &'static str, found: u64, allowed: u64) -> ManifestError {
        ManifestError::Limit { at: self.at(line), what, found, allowed }
    }

    /// Checks the number of values of a document so far.
    pub(super) fn count(&self, line: usize, values: u64, limits: &Limits) -> Result<(), ManifestError> {
        if values > limits.values {
            return Err(self.limit(line, "values of a document", values, limits.values));
        }
        Ok(())
    }

    /// Names the key, shortened: keys are names, not secrets.
    pub(super) fn duplicate_key(&self, line: usize, key: &str) -> ManifestError {
        let short: String = key.chars().take(64).collect();
        self.invalid(line, format!("key {short:?} for the second time"), "each key once")
    }
}

/// Escapes control characters, so that a name cannot break an error's line.
pub(super) fn one_line(name: &str) -> String {
    if !name.chars().any(char::is_control) {
        return name.to_owned();
    }
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The line on which a text that starts with `before` goes on.
pub(super) fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
}
