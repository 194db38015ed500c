//! Plans and sweeps: signed, dense where it counts, each naming the one before.

use super::Check;
use super::report::is_damage;
use crate::error::Named;
use crate::{Repository, Result};
use bytes::Bytes;
use repo_format::gc_record::{Plan, Sweep};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::{Class, object_hash};
use std::collections::BTreeMap;

/// Hash of a record and what it says of the one before; none if it does not open.
type Records = BTreeMap<u64, ([u8; 32], Option<Option<[u8; 32]>>)>;

const KIND: &str = "gc-chain";

/// Every deletion record there is, and the newest ones that should be.
pub(super) async fn check(check: &mut Check<'_>) -> Result<()> {
    let (mut plans, mut sweeps) = (Records::new(), Records::new());
    let listed = check.repository.store().list(GC_PREFIX).await?;
    for (name, _) in listed {
        check.objects += 1;
        let object = match check.repository.store().get(&name).await {
            // removed since the listing: a newer one counts
            Ok(None) => continue,
            Ok(Some(object)) => object,
            Err(error) if is_damage(&error) => Bytes::new(),
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
        match name {
            ObjectName::Plan(g) => drop(plans.insert(g, record)),
            ObjectName::Sweep(g) => drop(sweeps.insert(g, record)),
            _ => {}
        }
    }
    for (name, found, expected) in breaks(&plans, &sweeps) {
        let finding = check.findings.add(name, KIND, found, expected);
        check.hurt_all.push(finding);
    }
    Ok(())
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
