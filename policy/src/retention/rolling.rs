//! Rolling copies of a schedule.

use super::{Decision, Entry, Reason, Status, decide, grouped, indispensable};

/// Keeps the newest `retain` complete backups of each group, and what is no older than those; the rest goes, failed and partial ones
/// with it. A group is a schedule and a type. The decisions come in the order of the history.
pub fn rolling(retain: u32, history: &[Entry<'_>]) -> Vec<Decision> {
    let groups = grouped(history, |entry| entry.group);
    let mut kept = vec![Vec::new(); history.len()];
    for members in groups.values() {
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
    decide(history, kept, &indispensable(&groups, history), &Reason::Beyond { retain })
}
