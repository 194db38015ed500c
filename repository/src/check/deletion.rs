//! Plans and sweeps: signed, dense where it counts, each naming the one before.

use super::Check;
use crate::error::Named;
use crate::gc::{plan_of, sweep_of};
use crate::{Repository, Result};
use bytes::Bytes;
use repo_format::config::StoreMode;
use repo_format::gc_record::{Plan, Sweep};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::{Class, object_hash};
use std::collections::BTreeMap;

/// Hash of a record and what it says of the one before; none if it does not open.
type Record = ([u8; 32], Option<Option<[u8; 32]>>);
type Records = BTreeMap<u64, Record>;

const KIND: &str = "gc-chain";

/// Every deletion record there is, and the newest ones that should be.
pub(super) async fn check(check: &mut Check<'_>) -> Result<()> {
    let (mut plans, mut sweeps) = (Vec::new(), Records::new());
    let is_one = check.repository.config().store.mode == StoreMode::One;
    let listed = check.repository.store().list(GC_PREFIX).await?;
    for (name, _) in listed {
        check.objects += 1;
        let object = match check.repository.store().get(&name).await {
            // removed since the listing: a newer one counts
            Ok(None) => continue,
            Ok(Some(object)) => object,
            Err(error) if error.is_bad_copy() => Bytes::new(),
            Err(error) => return Err(error),
        };
        let prev = match open(check.repository, &name, &object) {
            Ok(prev) => Some(prev),
            Err(error) => {
                let finding = check.findings.add_error(name, "damaged", error)?;
                // whom it hurts: what is deleted is unknown until the record is mended
                check.hurt_all.push(finding);
                None
            }
        };
        let record = (object_hash(&object), prev);
        // records of the other mode are nobody's; of two sweeps by mistake the first name counts
        match (plan_of(&name), sweep_of(&name)) {
            (Some((g, proc)), _) if proc.is_some() == is_one => plans.push((g, record)),
            (_, Some((g, proc))) if proc.is_some() == is_one => drop(sweeps.entry(g).or_insert(record)),
            _ => {}
        }
    }
    let plans = with_sweeps(plans, &sweeps);
    for (name, found, expected) in breaks(&plans, &sweeps) {
        let finding = check.findings.add(name, KIND, found, expected);
        check.hurt_all.push(finding);
    }
    Ok(())
}

/// One plan of each generation: that of its sweep, where several were written by mistake (mode one).
fn with_sweeps(all: Vec<(u64, Record)>, sweeps: &Records) -> Records {
    let mut plans = Records::new();
    for (g, record) in all {
        let is_named = sweeps.get(&g).is_some_and(|(_, prev)| *prev == Some(Some(record.0)));
        if is_named || !plans.contains_key(&g) {
            plans.insert(g, record);
        }
    }
    plans
}

/// Opens and parses a record; what it says of the one before.
fn open(repository: &Repository, name: &ObjectName, object: &[u8]) -> Result<Option<[u8; 32]>> {
    let class = match name {
        ObjectName::Plan(_) | ObjectName::ProcPlan { .. } => Class::Plan,
        ObjectName::Sweep(_) | ObjectName::ProcSweep { .. } => Class::Sweep,
        _ => Class::Owner,
    };
    let payload = repository.open_signed(class, name, object)?;
    match class {
        Class::Plan => Ok(Plan::parse(&payload).named(name)?.prev),
        Class::Sweep => Ok(Some(Sweep::parse(&payload).named(name)?.prev)),
        _ => Ok(None),
    }
}

/// Records that must be there beside the newest ones, and links that do not hold. Older records
/// may be removed at any time.
fn breaks(plans: &Records, sweeps: &Records) -> Vec<(ObjectName, String, String)> {
    let mut found = Vec::new();
    let gone = |name: ObjectName, because: String| (name, "no object".to_owned(), because);
    let (plan, sweep) = (plans.last_key_value(), sweeps.last_key_value());
    let (plan_g, sweep_g) = (plan.map(|(g, _)| *g), sweep.map(|(g, _)| *g));
    if let Some(g) = sweep_g
        && plan_g < Some(g)
    {
        found.push(gone(ObjectName::Plan(g), format!("the plan of sweep {g}")));
    }
    if let Some(before) = plan_g.and_then(|g| g.checked_sub(1))
        && sweep_g < Some(before)
    {
        found.push(gone(ObjectName::Sweep(before), format!("the sweep before plan {}", before + 1)));
    }
    let wrong = |name: ObjectName, of: String| (name, "another hash of the record before".to_owned(), of);
    for (g, (_, prev)) in plans {
        let before = g.checked_sub(1).and_then(|before| sweeps.get(&before));
        if let (Some(prev), Some((hash, Some(_)))) = (prev, before)
            && *prev != Some(*hash)
        {
            found.push(wrong(ObjectName::Plan(*g), format!("that of sweep {}", g.saturating_sub(1))));
        }
    }
    for (g, (_, prev)) in sweeps {
        if let (Some(prev), Some((hash, Some(_)))) = (prev, plans.get(g))
            && *prev != Some(*hash)
        {
            found.push(wrong(ObjectName::Sweep(*g), format!("that of plan {g}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(list: &[(u64, u8, u8)]) -> Records {
        list.iter().map(|(g, hash, prev)| (*g, ([*hash; 32], Some(Some([*prev; 32]))))).collect()
    }

    #[test]
    fn the_plan_of_the_sweep_counts() {
        let record = |hash: u8| ([hash; 32], Some(Some([0; 32])));
        let sweeps = records(&[(1, 9, 5)]);
        for plans in [[4, 5, 6], [5, 4, 6], [6, 4, 5]] {
            let plans = with_sweeps(plans.map(|hash| (1, record(hash))).to_vec(), &sweeps);
            assert_eq!(plans.get(&1).map(|(hash, _)| hash[0]), Some(5));
        }
    }

    const NONE: [ObjectName; 0] = [];

    fn broken(plans: &[(u64, u8, u8)], sweeps: &[(u64, u8, u8)]) -> Vec<ObjectName> {
        breaks(&records(plans), &records(sweeps)).into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn the_newest_records_are_whole_and_linked() {
        assert_eq!(broken(&[], &[]), NONE);
        assert_eq!(broken(&[(0, 1, 0)], &[]), NONE, "unfinished");
        assert_eq!(broken(&[(0, 1, 0), (1, 3, 2)], &[(0, 2, 1), (1, 4, 3)]), NONE);
        assert_eq!(broken(&[(7, 3, 2)], &[(7, 4, 3)]), NONE, "older ones were removed");
        assert_eq!(broken(&[(7, 3, 2)], &[]), [ObjectName::Sweep(6)]);
        assert_eq!(broken(&[(6, 1, 0)], &[(7, 4, 3)]), [ObjectName::Plan(7)]);
        assert_eq!(broken(&[(0, 1, 0)], &[(0, 2, 9)]), [ObjectName::Sweep(0)], "another plan");
        assert_eq!(broken(&[(0, 1, 0), (1, 3, 9)], &[(0, 2, 1)]), [ObjectName::Plan(1)], "another sweep");
    }
}
