use super::*;
use crate::ProcessId;
use proptest::prelude::*;

fn packs(range: std::ops::Range<u8>) -> Vec<PackId> {
    range.map(|n| PackId([n; 16])).collect()
}

fn sids(range: std::ops::Range<u8>) -> Vec<SnapshotId> {
    range.map(|n| SnapshotId([n; 16])).collect()
}

fn plan() -> Plan {
    let forgotten = vec![Forgotten { g: 0, sids: sids(1..3) }, Forgotten { g: 7, sids: sids(0..1) }];
    Plan { candidates: packs(0..9), forgotten, floor: 3, prev: Some([9; 32]) }
}

fn sweep() -> Sweep {
    let dead = vec![Dead { g: 1, at: 5, packs: packs(3..5) }, Dead { g: 2, at: 6, packs: packs(0..3) }];
    Sweep { condemned: packs(0..3), dead, floor: 1, prev: [8; 32] }
}

fn owner() -> Owner {
    Owner { proc: ProcessId([1; 16]), label: "prune-0".into(), created_ms: 7 }
}

fn damage() -> Damage {
    let lost = |name: &str, ranges: &[(u64, u64)]| LostVolume { name: name.into(), ranges: ranges.to_vec() };
    Damage {
        sid: SnapshotId([2; 16]),
        created_ms: 9,
        volumes: vec![lost("shop/data", &[(0, 4096), (8192, 1 << 40)]), lost("shop/logs", &[])],
        manifests: vec!["/ConfigMap/shop/a".into(), "apps/Deployment/shop/web".into()],
    }
}

#[test]
fn round_trips_and_refuses_every_cut() {
    fn all<T: PartialEq + std::fmt::Debug>(value: T, bytes: Vec<u8>, parse: fn(&[u8]) -> Result<T>) {
        assert_eq!(parse(&bytes), Ok(value));
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
    let sid = SnapshotId([1; 16]);
    all(plan(), plan().encode().unwrap(), Plan::parse);
    all(Plan::default(), Plan::default().encode().unwrap(), Plan::parse);
    all(sweep(), sweep().encode().unwrap(), Sweep::parse);
    all(Sweep::default(), Sweep::default().encode().unwrap(), Sweep::parse);
    all(owner(), owner().encode().unwrap(), Owner::parse);
    all(damage(), damage().encode().unwrap(), Damage::parse);
    let tombstone = Tombstone { sid, created_ms: 4 };
    all(tombstone, tombstone.encode(), Tombstone::parse);
    let marker = ForgetMarker { sid, created_ms: 4 };
    all(marker, marker.encode(), ForgetMarker::parse);
}

#[test]
fn plan_and_sweep_keep_their_rules() {
    let broken_plans: [fn(&mut Plan); 5] = [
        |plan| plan.candidates.reverse(),
        |plan| plan.candidates.push(PackId([8; 16])),
        |plan| plan.forgotten.reverse(),
        |plan| plan.forgotten[0].sids.reverse(),
        |plan| plan.forgotten[1].sids = sids(2..4),
    ];
    for (n, spoil) in broken_plans.iter().enumerate() {
        let mut plan = plan();
        spoil(&mut plan);
        assert!(plan.encode().is_err(), "plan {n}");
    }
    let broken_sweeps: [fn(&mut Sweep); 6] = [
        |sweep| sweep.dead[0].g = 2,
        |sweep| sweep.dead[0].packs.reverse(),
        |sweep| sweep.dead[0].packs = packs(2..5),
        |sweep| sweep.dead.truncate(1),
        |sweep| sweep.dead.clear(),
        |sweep| sweep.condemned.truncate(2),
    ];
    for (n, spoil) in broken_sweeps.iter().enumerate() {
        let mut sweep = sweep();
        spoil(&mut sweep);
        assert!(sweep.encode().is_err(), "sweep {n}");
    }
    let empty = Sweep { condemned: vec![], ..sweep() };
    assert_eq!(Sweep::parse(&empty.encode().unwrap()), Ok(empty));
}

#[test]
fn damage_keeps_its_rules() {
    let broken: [fn(&mut Damage); 7] = [
        |damage| damage.volumes.reverse(),
        |damage| damage.manifests.reverse(),
        |damage| damage.volumes[0].ranges.reverse(),
        |damage| damage.volumes[0].ranges[1].0 = 4096,
        |damage| damage.volumes[0].ranges[0].1 = 0,
        |damage| damage.volumes[0].ranges[1].1 = u64::MAX,
        |damage| damage.volumes[0].name = "n".repeat(1025),
    ];
    for (n, spoil) in broken.iter().enumerate() {
        let mut damage = damage();
        spoil(&mut damage);
        assert!(damage.encode().is_err(), "case {n}");
    }
}

#[test]
fn lists_are_limited_and_whole() {
    assert!(parse_rising::<16>("x", &[0; 17], 10).is_err());
    assert!(parse_rising::<16>("x", &[0; 32], 10).is_err());
    assert!(parse_rising::<1>("x", &[0, 1, 2], 2).is_err());
    assert_eq!(parse_rising::<1>("x", &[0, 1, 2], 3), Ok(vec![[0], [1], [2]]));
    assert!(check_disjoint("x", 2, &[&[1, 2], &[3]]).is_err());
}

#[test]
fn bytes_are_as_ever() {
    crate::golden::check("plan", &plan().encode().unwrap());
    crate::golden::check("sweep", &sweep().encode().unwrap());
    crate::golden::check("owner", &owner().encode().unwrap());
    crate::golden::check("damage", &damage().encode().unwrap());
    crate::golden::check("tombstone", &Tombstone { sid: SnapshotId([1; 16]), created_ms: 4 }.encode());
}

/// Parses and encodes again.
type Reencode = fn(&[u8]) -> Result<Vec<u8>>;

proptest! {
    #[test]
    fn any_lists_round_trip(
        packs in prop::collection::btree_set(any::<[u8; 16]>(), 0..60),
        cut in any::<prop::sample::Index>(),
        floor: u64,
        prev: Option<[u8; 32]>,
    ) {
        let packs: Vec<_> = packs.into_iter().map(PackId).collect();
        let plan = Plan { candidates: packs.clone(), forgotten: vec![], floor, prev };
        prop_assert_eq!(Plan::parse(&plan.encode().unwrap()), Ok(plan));
        let (old, new) = packs.split_at(cut.index(packs.len() + 1));
        let dead = vec![
            Dead { g: 0, at: floor, packs: old.to_vec() },
            Dead { g: u64::MAX, at: 0, packs: new.to_vec() },
        ];
        let sweep = Sweep { condemned: new.to_vec(), dead, floor, prev: prev.unwrap_or_default() };
        prop_assert_eq!(Sweep::parse(&sweep.encode().unwrap()), Ok(sweep));
    }

    #[test]
    fn hostile_bytes_never_panic(
        which in 0u8..4,
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let (mut object, reencode): (_, Reencode) = match which {
            0 => (plan().encode().unwrap(), |bytes| Plan::parse(bytes)?.encode()),
            1 => (sweep().encode().unwrap(), |bytes| Sweep::parse(bytes)?.encode()),
            2 => (owner().encode().unwrap(), |bytes| Owner::parse(bytes)?.encode()),
            _ => (damage().encode().unwrap(), |bytes| Damage::parse(bytes)?.encode()),
        };
        let at = at.index(object.len());
        let end = (at + bytes.len()).min(object.len());
        object.splice(at..end, bytes);
        if let Ok(again) = reencode(&object) {
            prop_assert!(again.len() <= object.len());
        }
    }
}
