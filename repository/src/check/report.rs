//! What a check found.

use super::confidence::Confidence;
use crate::{Error, Result};
use repo_format::{Error as FormatError, ErrorKind as FormatKind, SnapshotId};

/// More findings than this are not listed.
const FINDING_COUNT_MAX: usize = 10_000;
/// What is expected of bytes whose codec says only what it found.
pub(super) const AS_WRITTEN: &str = "the object as it was written";

/// Something damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Full name of the object; of a record that no index run names: its id.
    pub object: String,
    /// `damaged`, `missing`, `slot`, `config-chain`, `gc-chain` or `index`.
    pub kind: String,
    /// What was found.
    pub found: String,
    /// What should have been there.
    pub expected: String,
    /// The checked snapshots that need it and have no other copy, rising.
    pub snapshots: Vec<SnapshotId>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// What is damaged or missing, at most 10,000 findings.
    pub errors: Vec<Finding>,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// What reading packs whole has shown; none if that was not asked for.
    pub confidence: Option<Confidence>,
    /// Snapshots whose maps were walked.
    pub snapshots_checked: u64,
    /// Packs that no run names and no snapshot misses: of sessions that never ended, or set aside by a repair.
    pub unreferenced: u64,
    /// False: content was compared with the hash of its pack only, since this key cannot open it.
    pub content_opened: bool,
}

/// Findings while they are collected.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Adds a finding and gives its number, with which snapshots are added to it.
    pub(super) fn add(
        &mut self,
        object: impl ToString,
        kind: &str,
        found: String,
        expected: String,
    ) -> usize {
        let last = FINDING_COUNT_MAX - 1;
        if self.list.len() > last {
            return last;
        }
        let (object, found, expected) = if self.list.len() == last {
            // the last one stands for all further ones, and gathers the snapshots that they hurt
            ("(further objects)".to_owned(), "more than can be listed".to_owned(), "no damage".to_owned())
        } else {
            (object.to_string(), found, expected)
        };
        let kind = kind.to_owned();
        self.list.push(Finding { object, kind, found, expected, snapshots: Vec::new() });
        self.list.len() - 1
    }

    /// Adds what an error says of `object`, if it is damage; other errors are given back.
    pub(super) fn add_error(&mut self, object: impl ToString, kind: &str, error: Error) -> Result<usize> {
        let (found, expected) = describe(error)?;
        Ok(self.add(object, kind, found, expected))
    }

    /// Finding `n` hurts a snapshot.
    pub(super) fn hurt(&mut self, n: usize, sid: SnapshotId) {
        if let Some(finding) = self.list.get_mut(n)
            && !finding.snapshots.contains(&sid)
        {
            finding.snapshots.push(sid);
        }
    }

    /// True if any finding hurts a snapshot.
    pub(super) fn is_hurt(&self, sid: SnapshotId) -> bool {
        self.list.iter().any(|finding| finding.snapshots.contains(&sid))
    }

    pub(super) fn finish(mut self) -> Vec<Finding> {
        for finding in &mut self.list {
            finding.snapshots.sort_unstable();
            finding.snapshots.dedup();
        }
        self.list
    }
}

/// Found and expected of a damage; any other error is given back.
pub(super) fn describe(error: Error) -> Result<(String, String)> {
    match error {
        Error::Format { source, .. } => Ok(describe_format(&source)),
        Error::Damage { detail, .. } => Ok((detail, AS_WRITTEN.to_owned())),
        other => Err(other),
    }
}

/// Found and expected of what a codec refused.
pub(super) fn describe_format(error: &FormatError) -> (String, String) {
    match error {
        FormatError::Unexpected { what, found, expected } => (format!("{what} {found}"), expected.clone()),
        FormatError::WrongKey { what } => {
            (format!("{what} under a key that is not this repository's"), AS_WRITTEN.to_owned())
        }
        other if other.kind() == FormatKind::Unsupported => (
            other.to_string(),
            "what this version knows: the bytes are whole, a newer orlop may read them".into(),
        ),
        other => (other.to_string(), AS_WRITTEN.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_damage_is_given_back() {
        let mut findings = Findings::default();
        assert!(findings.add_error("x", "damaged", Error::Cancelled).is_err());
        assert_eq!(findings.add_error("x", "damaged", Error::damage("x", "is gone")).ok(), Some(0));
        let source = FormatError::Unexpected { what: "class", found: "1".into(), expected: "2".into() };
        let error = Error::Format { object: "y".into(), source };
        assert!(error.is_bad_copy());
        assert_eq!(describe(error).ok(), Some(("class 1".into(), "2".into())));
    }

    #[test]
    fn findings_and_snapshots_are_bounded_and_sorted() {
        let mut findings = Findings::default();
        for n in 0..FINDING_COUNT_MAX + 5 {
            let number = findings.add(n, "damaged", String::new(), String::new());
            findings.hurt(number, SnapshotId([2; 16]));
            findings.hurt(number, SnapshotId([1; 16]));
            findings.hurt(number, SnapshotId([2; 16]));
        }
        assert!(findings.is_hurt(SnapshotId([1; 16])) && !findings.is_hurt(SnapshotId([3; 16])));
        let list = findings.finish();
        assert_eq!(list.len(), FINDING_COUNT_MAX);
        assert!(list.iter().all(|f| f.snapshots == [SnapshotId([1; 16]), SnapshotId([2; 16])]));
    }
}
