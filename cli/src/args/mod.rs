//! The command line: one struct per verb. What can be refused without reading anything is refused here.

mod backup;
mod cat;
mod check;
mod filter;
mod init;
mod key;
mod prune;
mod repair;
mod restore;
mod retention;
mod size;
mod volume;

pub(crate) use backup::{BackupArgs, Compression};
pub(crate) use cat::{CatArgs, CatKind};
pub(crate) use check::{CheckArgs, Subset};
pub(crate) use filter::{DiffArgs, FilterArgs, LabelArg, LsArgs, NarrowArgs, ShowArgs};
pub(crate) use init::{Chunker, InitArgs};
pub(crate) use key::{KeyCommand, NewSecretArgs, RoleArg};
pub(crate) use prune::{PruneArgs, RetentionCommand, SessionCommand, Time, UndeleteArgs, Unused};
pub(crate) use repair::{FromArgs, RepairArgs};
pub(crate) use restore::RestoreArgs;
pub(crate) use retention::{ExplainArgs, ForgetArgs, KeepArgs};
pub(crate) use size::{Rate, Size};
pub(crate) use volume::{VolumeArg, twice};

use crate::exit::Exit;
use crate::output::to_stderr;
use crate::profile::Opener;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
A first round, on a local directory:
  export ORLOP_REPOSITORY=/srv/backups ORLOP_PASSWORD_FILE=~/.orlop-password
  orlop init
  orlop backup --volume shop/data=/var/lib/volumes/data.img --manifests shop/
  orlop snapshots
  orlop restore latest --target /srv/restored
  orlop check --read-data

On S3, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for other servers, AWS_ENDPOINT_URL:
  orlop -r s3://bucket/prefix snapshots

On Azure, with AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY:
  orlop -r azure://container/prefix snapshots

On Google Cloud Storage, with GOOGLE_APPLICATION_CREDENTIALS or on a machine that has an account:
  orlop -r gs://bucket/prefix snapshots

Exit codes: 0 done, 1 failed, 2 usage, 3 partial, 10 no repository, 11 conflict,
12 wrong key or role, 13 damage found, 130 interrupted.";

/// Encrypted, deduplicating backups of Kubernetes volumes and manifests
#[derive(Parser)]
#[command(name = "orlop", version, after_help = EXAMPLES, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every verb.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Take what neither an option nor a variable says from this profile of ~/.config/orlop/config.toml, or of the file
    /// that ORLOP_CONFIG names
    #[arg(long, global = true, value_name = "NAME", env = "ORLOP_PROFILE", hide_env_values = true)]
    pub(crate) profile: Option<String>,
    /// Where the repository is: a path, file:///path, s3://bucket/prefix, azure://container/prefix or gs://bucket/prefix
    #[arg(short, long, global = true, value_name = "URL", env = "ORLOP_REPOSITORY", hide_env_values = true)]
    pub(crate) repo: Option<String>,
    /// Answer in JSON: an array for listings, else lines with a message_type, the last one "summary"
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but answers and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more, on standard error
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Keep nothing of the repository on this machine
    #[arg(long, global = true, conflicts_with = "cache_dir")]
    pub(crate) no_cache: bool,
    /// Keep sealed copies of index and trailers below this folder, up to 1 GiB a repository; orlop in $XDG_CACHE_HOME
    /// or ~/.cache by default
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Threads that compute; as many as there are CPUs by default
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory to use for data in flight, such as 96MiB or 1G
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Send at most this much a second: KiB, or a size such as 4M; 0 is no bound
    #[arg(long, global = true, value_name = "RATE")]
    pub(crate) limit_upload: Option<Rate>,
    /// Read at most this much a second from the store: KiB, or a size such as 4M; 0 is no bound
    #[arg(long, global = true, value_name = "RATE")]
    pub(crate) limit_download: Option<Rate>,
    /// Read the password from this file
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_file")]
    pub(crate) password_file: Option<PathBuf>,
    /// Open with the key in this file, one line that begins with orlop-key-1-
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// What the profile opens the repository with.
    #[arg(skip)]
    pub(crate) opener: Opener,
}

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a new repository and print its recovery key
    #[command(after_help = init::EXAMPLES)]
    Init(InitArgs),
    /// Save volumes and manifests as one snapshot
    #[command(after_help = backup::EXAMPLES)]
    Backup(BackupArgs),
    /// List snapshots
    #[command(after_help = filter::SNAPSHOTS_EXAMPLES)]
    Snapshots(FilterArgs),
    /// Show one snapshot in full
    #[command(after_help = filter::SHOW_EXAMPLES)]
    Show(filter::ShowArgs),
    /// List the volumes and manifests of a snapshot
    #[command(after_help = filter::LS_EXAMPLES)]
    Ls(filter::LsArgs),
    /// Show what differs between two snapshots: ranges of volumes, manifests
    #[command(after_help = filter::DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Show what the repository holds and how much it takes
    #[command(after_help = "Example:\n  orlop stats --json")]
    Stats,
    /// Print one object of the repository: JSON for structure, plain bytes for content
    #[command(after_help = cat::EXAMPLES)]
    Cat(CatArgs),
    /// Bring volumes and manifests of a snapshot back
    #[command(after_help = restore::EXAMPLES)]
    Restore(RestoreArgs),
    /// Verify the repository: that all is there and, if asked, that all content is as it was
    #[command(after_help = check::EXAMPLES)]
    Check(CheckArgs),
    /// Make the index anew from the packs, bring lost records back from where they still are, mark the rest
    #[command(after_help = repair::EXAMPLES)]
    Repair(RepairArgs),
    /// Verify the checksums of all packs, without a key
    #[command(after_help = check::SCRUB_EXAMPLES)]
    Scrub,
    /// Drop snapshots, by name or by rules that say which stay
    #[command(after_help = retention::FORGET_EXAMPLES)]
    Forget(Box<ForgetArgs>),
    /// Get the space back that no snapshot needs
    #[command(after_help = prune::PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// Bring a forgotten snapshot back, as a new one
    #[command(after_help = prune::UNDELETE_EXAMPLES)]
    Undelete(UndeleteArgs),
    /// Look at rules that say which snapshots stay
    #[command(subcommand)]
    Retention(Box<RetentionCommand>),
    /// Look at backups that have not ended
    #[command(subcommand)]
    Session(SessionCommand),
    /// Manage who may open the repository
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  orlop completions bash > /etc/bash_completion.d/orlop")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Reads the command line. What is wrong with it, or help, is printed; the exit code is given back.
pub(crate) fn parse() -> Result<Cli, Exit> {
    Cli::try_parse().map_err(|error| {
        if !error.use_stderr() {
            let _ = error.print();
            return Exit::Done;
        }
        if std::env::args_os().any(|arg| arg == "--json") {
            let text = error.to_string();
            // the first paragraph says it all, usage and hints follow
            let lines =
                text.trim_start_matches("error: ").lines().map(str::trim).take_while(|line| !line.is_empty());
            let said = lines.collect::<Vec<_>>().join(" ");
            let code = Exit::Usage.code();
            let line = serde_json::json!({"message_type": "error", "error": said, "exit_code": code});
            to_stderr(&line.to_string());
        } else {
            let _ = error.print();
        }
        Exit::Usage
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_teaches_by_example() {
        fn walk(command: &clap::Command) {
            for verb in command.get_subcommands() {
                if verb.has_subcommands() {
                    walk(verb);
                } else {
                    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("  orlop "), "{} has no example", verb.get_name());
                }
            }
        }
        walk(&Cli::command());
    }

    #[test]
    fn options_stand_before_and_after_the_verb() {
        for line in [["orlop", "-r", "/x", "--json", "stats"], ["orlop", "stats", "--json", "-r", "/x"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert!(cli.global.json && cli.global.repo.as_deref() == Some("/x"));
        }
    }
}
