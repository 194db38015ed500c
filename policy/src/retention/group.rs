//! What is counted together.

use std::collections::BTreeMap;
use std::fmt::Write;

/// By which traits backups are told apart before rules count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The group that the backup was made for.
    pub group: bool,
    /// The name.
    pub name: bool,
    /// The names of the volumes, in any order.
    pub volumes: bool,
    /// The labels.
    pub labels: bool,
}

/// What [`GroupBy`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Traits<'a> {
    /// The group that the backup was made for.
    pub group: &'a str,
    /// The name, if there is one.
    pub name: Option<&'a str>,
    /// The names of the volumes.
    pub volumes: &'a [&'a str],
    /// The user's labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl GroupBy {
    /// All backups together.
    pub const NONE: GroupBy = GroupBy { group: false, name: false, volumes: false, labels: false };

    /// What is counted together has the same key, what is not has another. Fit to be printed; `group` alone is the group itself.
    pub fn key(self, of: &Traits<'_>) -> String {
        if self == GroupBy::default() {
            return of.group.to_owned();
        }
        let mut key = String::new();
        // quoted and escaped, so that no trait can look like two; writing to a string does not fail
        if self.group {
            let _ = write!(key, "group {:?} ", of.group);
        }
        if let (true, Some(name)) = (self.name, of.name) {
            let _ = write!(key, "name {name:?} ");
        }
        if self.volumes {
            let mut volumes = of.volumes.to_vec();
            volumes.sort_unstable();
            let _ = write!(key, "volumes {volumes:?} ");
        }
        if self.labels {
            let _ = write!(key, "labels {:?}", of.labels);
        }
        key.trim_end().to_owned()
    }
}

impl Default for GroupBy {
    /// By group.
    fn default() -> GroupBy {
        GroupBy { group: true, ..GroupBy::NONE }
    }
}
