//! `check` and `scrub`.

use super::{FilterArgs, Size};
use clap::Args;
use std::str::FromStr;

pub(super) const EXAMPLES: &str = "\
Without options the structure is verified: every pack, run and page that a snapshot needs is there and
says the right thing. --read-data reads all content too and compares it with its ids.
Damage leaves exit code 13 and one line per finding, with the snapshots that it hurts.

Examples:
  orlop check
  orlop check --read-data
  orlop check --read-data-subset 5%
  orlop check --read-data latest";

pub(super) const SCRUB_EXAMPLES: &str = "\
Reads every object and compares it with its own checksum. Needs no password and no key, so the machine
that holds the store can run it; what is missing altogether only `check` can tell.

Example:
  orlop -r /srv/backups scrub";

/// A part of the content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Subset {
    /// Of all packs, above 0 to 100.
    Percent(f64),
    /// Bytes of packs.
    Bytes(u64),
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "a percentage above 0 such as 5% or 0.5%, or a size such as 10G expected".to_owned();
        let Some(percent) = text.strip_suffix('%') else {
            return text
                .parse()
                .ok()
                .filter(|Size(bytes)| *bytes > 0)
                .map(|Size(bytes)| Subset::Bytes(bytes))
                .ok_or_else(expected);
        };
        let percent = percent.parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
        percent.map(Subset::Percent).ok_or_else(expected)
    }
}

/// `check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Read all content as well
    #[arg(long, conflicts_with = "read_data_subset")]
    pub(crate) read_data: bool,
    /// Read a random part of the packs: a percentage or a size
    #[arg(long, value_name = "N%|SIZE")]
    pub(crate) read_data_subset: Option<Subset>,
    /// Only these snapshots: id, unique start or end of one, or latest
    pub(crate) snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_parts() {
        assert_eq!("5%".parse(), Ok(Subset::Percent(5.0)));
        assert_eq!("0.5%".parse(), Ok(Subset::Percent(0.5)));
        assert_eq!("1G".parse(), Ok(Subset::Bytes(1 << 30)));
        for bad in ["", "%", "0%", "-1%", "101%", "NaN%", "inf%", "5 %", "0", "x"] {
            assert!(bad.parse::<Subset>().is_err(), "{bad}");
        }
    }
}
