//! `key add|list|remove|passwd`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

const ADD_EXAMPLES: &str = "\
The new secret comes from --new-password-file, --new-password-command or --key-file-out; without them a
password is asked for at the terminal. Only an owner can add keys.

Examples:
  orlop key add --role backup --label node-7 --key-file-out node-7.key
  orlop key add --role read --new-password-file /run/secrets/restore";

const REMOVE_EXAMPLES: &str = "\
SLOT is an id from `key list`, or a unique start of one. A key that was copied keeps what it has read.

Example:
  orlop key remove 5f0c9a31";

const PASSWD_EXAMPLES: &str = "\
Puts the keys of the slot in use under a new password or key file; the old one opens nothing any more.

Examples:
  orlop key passwd
  orlop key passwd --new-password-file /run/secrets/next";

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Write snapshots; cannot read content back or delete
    Backup,
    /// List, restore and check; cannot delete
    Read,
    /// Forget and prune; cannot read content
    Prune,
    /// Everything, and make other keys
    Owner,
}

impl RoleArg {
    /// As the format spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RoleArg::Backup => "backup",
            RoleArg::Read => "read",
            RoleArg::Prune => "prune",
            RoleArg::Owner => "owner",
        }
    }
}

/// Where a new password or key comes from or goes to.
#[derive(Args, Default)]
#[command(next_help_heading = "New secret")]
pub(crate) struct NewSecretArgs {
    /// Read the new password from this file
    #[arg(long, value_name = "FILE", group = "new_secret")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Read the new password from the standard output of a command, run by sh -c
    #[arg(long, value_name = "COMMAND", group = "new_secret")]
    pub(crate) new_password_command: Option<String>,
    /// Make a new key and write it to this file, which must not exist (mode 0600)
    #[arg(long, value_name = "FILE", group = "new_secret")]
    pub(crate) key_file_out: Option<PathBuf>,
}

/// `key`.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key or password with a role
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// What its holder may do
        #[arg(long, value_enum)]
        role: RoleArg,
        /// For people
        #[arg(long, value_name = "L", default_value = "", hide_default_value = true)]
        label: String,
        #[command(flatten)]
        secret: NewSecretArgs,
    },
    /// List keys and passwords
    #[command(after_help = "Example:\n  orlop key list")]
    List,
    /// Remove a key or password
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its slot
        slot: String,
    },
    /// Change the password or key file that is in use
    #[command(after_help = PASSWD_EXAMPLES)]
    Passwd {
        #[command(flatten)]
        secret: NewSecretArgs,
    },
}
