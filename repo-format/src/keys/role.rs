//! The four roles: what a holder of a bundle can do, by which secrets are in it.

use crate::Error;
use std::{fmt, str::FromStr};

/// Which of the secrets a bundle holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Writes snapshots of one domain; cannot read content back, nor delete.
    Backup,
    /// Restores snapshots of one domain; cannot delete.
    Read,
    /// Forgets and prunes in all domains; cannot read content, nor compute ids.
    Prune,
    /// Everything, and makes the other roles.
    Owner,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Backup, Role::Read, Role::Prune, Role::Owner];

    /// Holds the keys of one domain only.
    pub fn is_of_one_domain(self) -> bool {
        matches!(self, Role::Backup | Role::Read)
    }

    /// May write data records and snapshots.
    pub fn can_write_data(self) -> bool {
        matches!(self, Role::Backup | Role::Owner)
    }

    /// Can open data records: restore, mount, check of content.
    pub fn can_read_content(self) -> bool {
        matches!(self, Role::Read | Role::Owner)
    }

    /// Can compute block hashes and chunk ids.
    pub fn can_compute_ids(self) -> bool {
        self != Role::Prune
    }

    /// Can sign forget markers, plans, sweeps and config.
    pub fn can_delete(self) -> bool {
        matches!(self, Role::Prune | Role::Owner)
    }

    /// Can make bundles of all roles.
    pub fn can_make_roles(self) -> bool {
        self == Role::Owner
    }

    fn name(self) -> &'static str {
        match self {
            Role::Backup => "backup",
            Role::Read => "read",
            Role::Prune => "prune",
            Role::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Role::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| Error::unknown_name("role", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("Owner".parse::<Role>().is_err());
    }
}
