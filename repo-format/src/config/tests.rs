use super::*;
use crate::ErrorKind;
use proptest::prelude::*;

fn config() -> Config {
    Config {
        repo_id: RepoId([1; 16]),
        n: 3,
        prev: Some([2; 32]),
        content_public: [3; 32],
        deletion_public: [4; 32],
        domains: vec!["east".into(), "main".into()],
        chunking: Chunking::blocks(),
        created_ms: 1_790_000_000_000,
        store: StoreSettings { mode: StoreMode::One, delta_ms: 60_000 },
        features: Features { compat: 5, ro_compat: 0, gc_compat: 0, incompat: 0 },
    }
}

fn parse_with(change: impl FnOnce(&mut Map)) -> Result<Config> {
    let mut map = Value::parse(&config().encode().unwrap())?.into_map(WHAT)?;
    change(&mut map);
    Config::parse(&Value::Map(map).encode())
}

#[test]
fn round_trips_and_refuses_every_cut() {
    let first = Config { n: 0, prev: None, domains: vec!["main".into()], ..config() };
    for config in [config(), first] {
        let bytes = config.encode().unwrap();
        assert_eq!(Config::parse(&bytes), Ok(config));
        for len in 0..bytes.len() {
            assert!(Config::parse(&bytes[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn bytes_are_as_ever() {
    crate::golden::check("config", &config().encode().unwrap());
}

#[test]
fn refuses_what_contradicts_itself() {
    let broken: [fn(&mut Config); 7] = [
        |config| config.prev = None,
        |config| config.n = 0,
        |config| config.domains.clear(),
        |config| config.domains.reverse(),
        |config| config.domains[0] = "main".into(),
        |config| config.domains[0] = "a\nb".into(),
        |config| config.store.delta_ms = u64::MAX,
    ];
    for (n, spoil) in broken.iter().enumerate() {
        let mut config = config();
        spoil(&mut config);
        assert!(config.encode().is_err(), "case {n}");
    }
}

#[test]
fn fields_of_the_future_are_passed_over_but_not_modes() {
    assert_eq!(parse_with(|map| _ = map.set("later", 1u64)), Ok(config()));
    let mut store = Map::new();
    store.set("mode", "few").set("delta_ms", 0u64);
    assert_eq!(parse_with(|map| _ = map.set("store", store)).unwrap_err().kind(), ErrorKind::Unsupported);
    for key in
        ["repo_id", "n", "prev", "C_pub", "G_pub", "domains", "chunking", "created", "store", "features"]
    {
        assert!(parse_with(|map| _ = map.remove(key)).is_err(), "without {key}");
    }
}

#[test]
fn chunking_tables_are_checked() {
    let row = |up_to, min, avg, max| ChunkingRow { up_to, min, avg, max };
    let all = u64::MAX;
    let bad: [&[ChunkingRow]; 10] = [
        &[],
        &[row(1 << 40, 2, 8, 32)],
        &[row(all, 0, 8, 32)],
        &[row(all, 9, 8, 32)],
        &[row(all, 2, 33, 32)],
        &[row(all, 2, 8, 1025)],
        &[row(all, 1, 1, 1)],
        &[row(all, 2, 33, 64)],
        &[row(9, 2, 8, 32), row(9, 2, 8, 32), row(all, 2, 8, 32)],
        &[row(all, 2, 8, 32), row(9, 2, 8, 32)],
    ];
    for rows in bad {
        assert!(Chunking::new(rows.to_vec()).is_err(), "{rows:?}");
    }
    assert!(Chunking::new(vec![row(all, 2, 8, 32); 65]).is_err());
    assert!(Chunking::new(vec![row(9, 2, 32, 32), row(all, 64, 1024, 1024)]).is_ok());
    assert!(Chunking::fixed(1).is_err() && Chunking::fixed(1025).is_err() && Chunking::fixed(16).is_ok());
    for numbers in [&[u64::MAX, 2, 8][..], &[u64::MAX, 2, 8, 32, 0], &[u64::MAX, 2, 8, u64::MAX]] {
        let row = Value::Array(numbers.iter().copied().map(Value::Uint).collect());
        assert!(parse_with(|map| _ = map.set("chunking", vec![row])).is_err());
    }
}

#[test]
fn features_gate_access() {
    let mut config = config();
    let access =
        |config: &Config| Config::parse(&config.encode().unwrap()).map(|read| read.features.access());
    assert_eq!(access(&config), Ok(Access::ReadWrite));
    config.features.compat = 1;
    assert_eq!(access(&config), Ok(Access::ReadWrite));
    config.features.gc_compat = 1;
    assert_eq!(access(&config), Ok(Access::AddOnly));
    config.features.ro_compat = 1;
    assert_eq!(access(&config), Ok(Access::ReadOnly));
    config.features.incompat = 1 << 63;
    assert_eq!(access(&config).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn features_are_looked_at_before_what_they_may_have_changed() {
    let other = |incompat: u64| {
        let mut features = Map::new();
        features.set("compat", 0u64).set("ro_compat", 0u64).set("incompat", incompat);
        parse_with(|map| _ = map.set("features", features).set("chunking", true).set("domains", "none"))
    };
    assert_eq!(other(1).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(other(0).unwrap_err().kind(), ErrorKind::Damage);
}

#[test]
fn the_table_picks_by_size() {
    let chunking = Chunking::blocks();
    let avg = |len| chunking.params_for(len).map(|row| row.avg);
    assert_eq!(
        [avg(0), avg(1 << 40), avg((1 << 40) + 1), avg(16 << 40), avg((16 << 40) + 1), avg(u64::MAX)],
        [Some(8), Some(8), Some(32), Some(32), Some(128), Some(128)]
    );
}

#[test]
fn the_chain_is_held_by_hashes() {
    let before = Config { n: 2, ..config() };
    let after = Config { prev: Some(*blake3::hash(b"object 2").as_bytes()), ..config() };
    assert_eq!(after.follows(&before, b"object 2"), Ok(()));
    assert!(after.follows(&before, b"object 3").is_err());
    assert!(after.follows(&Config { n: 1, ..config() }, b"object 2").is_err());
    assert!(after.follows(&Config { n: 2, repo_id: RepoId([9; 16]), ..config() }, b"object 2").is_err());
    assert!(after.follows(&Config { n: u64::MAX, ..config() }, b"object 2").is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut object = config().encode().unwrap();
        let at = at.index(object.len());
        let end = (at + bytes.len()).min(object.len());
        object.splice(at..end, bytes);
        if let Ok(config) = Config::parse(&object) {
            prop_assert!(config.encode().is_ok());
        }
    }
}
