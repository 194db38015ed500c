//! Rolling copies of a schedule.

use super::{Decision, Entry, Reason, Status, decide, grouped, indispensable};
use crate::schedule::{SchedulePolicy, ScheduleType};

/// Keeps the newest `retain` complete backups of each group, and what is no older than those; the rest goes, failed and partial ones
/// with it. A group is a schedule and a type. The decisions come in the order of the history.
pub fn rolling(retain: u32, history: &[Entry<'_>]) -> Vec<Decision> {
    rolling_by(|_| Some(retain), history)
}

/// [`rolling`] by the numbers of a schedule policy: of the groups `SCHEDULE/TYPE` that a type of it has. All else stays; another
/// policy, or a user, has to decide on it.
pub fn rolling_by_policy(policy: &SchedulePolicy, history: &[Entry<'_>]) -> Vec<Decision> {
    let retain = |group: &str| Some(policy.retain(ScheduleType::of_group(group)?)?.get());
    rolling_by(retain, history)
}

/// `retain` says of a group how many successes stay, `None` where all is to stay.
fn rolling_by(retain: impl Fn(&str) -> Option<u32>, history: &[Entry<'_>]) -> Vec<Decision> {
    let groups = grouped(history, |entry| entry.group);
    let mut kept = vec![Vec::new(); history.len()];
    for (group, members) in &groups {
        let Some(retain) = retain(group) else {
            members.iter().for_each(|at| kept[*at].push(Reason::OtherGroup));
            continue;
        };
        let mut number: u32 = 0;
        for at in members {
            if number >= retain {
                break;
            }
            if history[*at].status == Status::Complete {
                number += 1;
                kept[*at].push(Reason::Success { number, retain });
            } else {
                kept[*at].push(Reason::Among { retain });
            }
        }
    }
    let beyond = |entry: &Entry<'_>| Reason::Beyond { retain: retain(entry.group).unwrap_or_default() };
    decide(history, kept, &indispensable(&groups, history), beyond)
}
