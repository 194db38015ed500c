//! What stays: keep rules, as restic's users know them.

use super::FilterArgs;
use clap::Args;
use policy::retention::{Count, GroupBy, KeepRules, LabelSet, Span};
use policy::{Zone, parse};
use std::path::PathBuf;

pub(super) const FORGET_EXAMPLES: &str = "\
With SNAPSHOT these are forgotten; with keep rules, all that no rule keeps. The last successful backup of a
group always stays, unless it is named and --allow-last is given. Space comes back by `orlop prune`; until
its window ends, `orlop undelete` brings a snapshot back.

Examples:
  orlop forget --dry-run --keep-daily 7 --keep-weekly 4
  orlop forget --keep-last 10 --keep-monthly 12 --prune
  orlop forget 5f0c9a31";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Prints every snapshot with keep or drop and the reasons, and changes nothing.

Examples:
  orlop retention explain --keep-daily 7 --keep-weekly 4
  orlop retention explain --policy nightly.yaml
  orlop retention explain --rolling 10 --json";

/// Keep rules.
#[derive(Args, Clone)]
#[command(next_help_heading = "Keep rules")]
pub(crate) struct KeepArgs {
    /// Keep the newest N of each group; `unlimited` for all
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) keep_last: Option<Count>,
    /// Keep the newest of each of the last N hours that have any
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) keep_hourly: Option<Count>,
    /// The same for days
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) keep_daily: Option<Count>,
    /// The same for ISO weeks
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) keep_weekly: Option<Count>,
    /// The same for months
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) keep_monthly: Option<Count>,
    /// The same for years
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub(crate) keep_yearly: Option<Count>,
    /// Keep all younger than this, seen from the newest of the group, such as 1y5m7d2h
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub(crate) keep_within: Option<Span>,
    /// Keep the newest of each hour within this
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub(crate) keep_within_hourly: Option<Span>,
    /// The same for days
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub(crate) keep_within_daily: Option<Span>,
    /// The same for ISO weeks
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub(crate) keep_within_weekly: Option<Span>,
    /// The same for months
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub(crate) keep_within_monthly: Option<Span>,
    /// The same for years
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub(crate) keep_within_yearly: Option<Span>,
    /// Keep all with these labels; given again: with any of them
    #[arg(long, value_name = "K=V[,K=V]", value_parser = parse::labels)]
    pub(crate) keep_label: Vec<LabelSet>,
    /// Keep the N newest successful ones of each group, as a schedule does; instead of other rules
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = [
        "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within",
        "keep_within_hourly", "keep_within_daily", "keep_within_weekly", "keep_within_monthly",
        "keep_within_yearly", "keep_label", "group_by"])]
    pub(crate) rolling: Option<u32>,
    /// Keep what a schedule policy (YAML or JSON) says, in the groups SCHEDULE/TYPE of its types; instead of other rules
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within",
        "keep_within_hourly", "keep_within_daily", "keep_within_weekly", "keep_within_monthly",
        "keep_within_yearly", "keep_label", "rolling", "group_by", "time_zone"])]
    pub(crate) policy: Option<PathBuf>,
    /// What rules count together: group, name, volumes, labels, joined by commas, or none
    #[arg(long, value_name = "WHAT", value_parser = parse::group_by)]
    pub(crate) group_by: Option<GroupBy>,
    /// Where days and weeks begin: an IANA time zone
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = Zone::parse)]
    pub(crate) time_zone: Zone,
}

impl KeepArgs {
    /// The rules, but for rolling copies.
    pub(crate) fn rules(&self) -> KeepRules {
        KeepRules {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            labels: self.keep_label.clone(),
        }
    }

    /// Whether any rule was given.
    pub(crate) fn is_given(&self) -> bool {
        self.rolling.is_some() || self.policy.is_some() || self.rules() != KeepRules::default()
    }
}

/// `forget`.
#[derive(Args)]
pub(crate) struct ForgetArgs {
    /// These, whatever rules say: id, or a unique start or end of one
    #[arg(conflicts_with_all = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "rolling", "policy"])]
    pub(crate) snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    /// Named snapshots may be the last successful ones of their groups
    #[arg(long, requires = "snapshots")]
    pub(crate) allow_last: bool,
    /// Print what would be kept and dropped, and why, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Prune afterwards, with its defaults
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// `retention explain`.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}
