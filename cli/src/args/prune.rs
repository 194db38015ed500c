//! `prune`, `undelete`, `session`.

use super::Size;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub(super) const PRUNE_EXAMPLES: &str = "\
Condemns what no snapshot needs, and deletes it once the undelete window is over: run it regularly. Backups
and other prunes may run meanwhile.

On a store of mode one (it ignores put-if-absent, as init has said) one prune runs at a time, and others step
back with exit code 11. A prune that was killed may leave a plan: the next one stops and prints the command
that takes it over. Run that only when the process has been dead for 15 minutes: until then a request of it
may still arrive. Nothing is lost meanwhile, and backups go on.

Examples:
  orlop prune --dry-run
  orlop prune
  orlop prune --max-unused 10% --max-repack-bytes 50G
  orlop prune --undelete-window 0";

pub(super) const UNDELETE_EXAMPLES: &str = "\
The new snapshot has the content, time and name of the forgotten one.

Example:
  orlop undelete 5f0c9a31";

pub(super) const DROP_EXAMPLES: &str = "\
On a store of mode one nothing stops a backup that is still alive from committing what was dropped: the
machine that ran it must be known to be dead, for 15 minutes at least. Elsewhere it notices, and starts anew.

Example:
  orlop session drop 5f0c9a31";

/// How much unused data may stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unused {
    /// Percent of what the packs hold.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// All of it.
    Unlimited,
}

impl FromStr for Unused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "a percentage such as 5%, a size such as 10G, or unlimited expected".to_owned();
        if text == "unlimited" {
            return Ok(Unused::Unlimited);
        }
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(|Size(bytes)| Unused::Bytes(bytes)).map_err(|_| expected());
        };
        let percent = percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(Unused::Percent).ok_or_else(expected)
    }
}

/// A length of time: `0`, `90s`, `15m`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "a time such as 0, 90s, 15m, 24h or 7d expected".to_owned();
        if text == "0" {
            return Ok(Time(Duration::ZERO));
        }
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(expected()),
        };
        let is_number = !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| is_number).ok_or_else(expected)?;
        // ten years and more are a mistake
        let total = number.checked_mul(seconds).filter(|total| *total <= 3660 * 86_400);
        total.map(|total| Time(Duration::from_secs(total))).ok_or_else(|| "more than ten years".to_owned())
    }
}

/// `prune`.
#[derive(Args)]
pub(crate) struct PruneArgs {
    /// Plan and print, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How much that nothing needs may stay in packs that are needed: a share, a size or unlimited
    #[arg(long, value_name = "P|SIZE", default_value = "5%")]
    pub(crate) max_unused: Unused,
    /// Copy this much at most; the rest waits for the next prune
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_repack_bytes: Option<Size>,
    /// Begin no repacking after this time
    #[arg(long, value_name = "TIME")]
    pub(crate) max_time: Option<Time>,
    /// How long condemned packs can be brought back; with 0 they are deleted at once
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) undelete_window: Time,
    /// Merge the index only
    #[arg(long)]
    pub(crate) index_only: bool,
    /// On a store of mode one: withdraw the unfinished plan of this process, dead for 15 minutes at least
    #[arg(long, value_name = "PROC")]
    pub(crate) take_over: Vec<String>,
    /// Where large sets are sorted; the system's temporary directory by default
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_dir: Option<PathBuf>,
}

/// `undelete`.
#[derive(Args)]
pub(crate) struct UndeleteArgs {
    /// A forgotten snapshot: id, or a unique start or end of one
    pub(crate) snapshot: String,
}

/// `session`.
#[derive(Subcommand)]
pub(crate) enum SessionCommand {
    /// List backups that have announced a snapshot and not committed it
    #[command(after_help = "Example:\n  orlop session list")]
    List,
    /// End a backup that will not come back: what only it needs may then be pruned
    #[command(after_help = super::prune::DROP_EXAMPLES)]
    Drop {
        /// Id, or a unique start or end of one
        session: String,
    },
}

/// `retention`.
#[derive(Subcommand)]
pub(crate) enum RetentionCommand {
    /// Say which snapshots rules would keep or drop, and why
    #[command(after_help = super::retention::EXPLAIN_EXAMPLES)]
    Explain(super::ExplainArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_shares_and_times() {
        assert_eq!("5%".parse(), Ok(Unused::Percent(5.0)));
        assert_eq!("0%".parse(), Ok(Unused::Percent(0.0)));
        assert_eq!("1G".parse(), Ok(Unused::Bytes(1 << 30)));
        assert_eq!("unlimited".parse(), Ok(Unused::Unlimited));
        for bad in ["", "%", "-1%", "101%", "NaN%", "x"] {
            assert!(bad.parse::<Unused>().is_err(), "{bad}");
        }
        assert_eq!("0".parse(), Ok(Time(Duration::ZERO)));
        assert_eq!("24h".parse(), Ok(Time(Duration::from_secs(86_400))));
        assert_eq!("7d".parse(), Ok(Time(Duration::from_secs(604_800))));
        for bad in ["", "h", "24", "1.5h", "-1h", "+1h", "1w", "99999999999999999999d", "9999d", "ä"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }
}
