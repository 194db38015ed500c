//! What a user gives to open a repository.

use repo_format::kdf::Secret;
use repo_format::keys::slot;
use zeroize::Zeroizing;

/// A password or a key file's secret. Wiped when dropped, never printed.
#[derive(Clone)]
pub enum Credential {
    /// UTF-8; one line end is cut off and NFC applied before it is used.
    Password(Zeroizing<Vec<u8>>),
    /// The 32 bytes behind a key file's line of text.
    KeyFile(Secret),
}

impl Credential {
    pub(crate) fn borrow(&self) -> slot::Credential<'_> {
        match self {
            Credential::Password(password) => slot::Credential::Password(password),
            Credential::KeyFile(secret) => slot::Credential::KeyFile(secret),
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Credential::Password(_) => "password",
            Credential::KeyFile(_) => "key file",
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential::{}(..)", self.describe())
    }
}
