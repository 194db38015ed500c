//! What a newer version has written is neither damage nor ignored.

use super::repair::{below, repaired_by, two};
use super::repair_sources::pruned;
use repo_format::config::{Config, Features};
use repo_format::kdf::Secret;
use repo_format::keys::Role;
use repo_format::layout::ObjectName;
use repo_format::sealed::{Class, object_hash};
use repository::forget::forget;
use repository::repair::RepairOptions;
use repository::{Credential, Error, ErrorKind, Repository, Result, key};
use std::sync::Arc;
use std::time::Duration;
use tests::engine::{Bench, run};

const NEWEST: ObjectName = ObjectName::Config(1);

/// Config 1, signed by the owner and otherwise as config 0.
fn put_config(bench: &Bench, change: impl FnOnce(&mut Config)) {
    let owner = bench.open();
    let first = bench.store.bytes(&ObjectName::Config(0).to_string()).unwrap();
    let mut config = Config { n: 1, prev: Some(object_hash(&first)), ..owner.config().clone() };
    change(&mut config);
    let object = owner.seal_signed(Class::Config, &NEWEST, &config.encode().unwrap()).unwrap();
    bench.store.tamper(&NEWEST.to_string(), object);
}

fn put_features(bench: &Bench, features: Features) {
    put_config(bench, |config| config.features = features);
}

fn opened(bench: &Bench, credential: &Credential) -> Result<Repository> {
    bench.open_on(Arc::new(bench.store.clone()), credential)
}

fn deletions(owner: &Repository) -> [Result<()>; 3] {
    let pending = repo_format::SnapshotId([9; 16]);
    [
        pruned(owner, Duration::ZERO).map(drop),
        repaired_by(owner, RepairOptions::default()).map(drop),
        run(repository::pending::drop_session(owner, pending)),
    ]
}

#[test]
fn features_that_forbid_reading_are_not_dodged_by_an_older_config() {
    let (bench, _) = two(301);
    put_features(&bench, Features { incompat: 1, ..Features::default() });
    let error = opened(&bench, &bench.owner).err().unwrap();
    assert!(error.is_newer() && error.to_string().contains("config/"), "{error}");
}

#[test]
fn features_forbid_writing_or_only_deletion() {
    let (bench, _) = two(302);
    put_features(&bench, Features { gc_compat: 1, ..Features::default() });
    let owner = bench.open();
    bench.backup(super::repair::request(b"more")).unwrap();
    for refused in deletions(&owner) {
        assert!(matches!(refused, Err(Error::StoreUnfit { .. })), "{refused:?}");
    }
    put_features(&bench, Features { ro_compat: 1, ..Features::default() });
    assert_eq!(bench.snapshots().len(), 3);
    let refused = bench.backup(super::repair::request(b"and more"));
    assert!(matches!(refused, Err(Error::StoreUnfit { .. })), "{refused:?}");
}

#[test]
fn nothing_is_written_by_an_older_config_than_the_newest() {
    let (bench, _) = two(303);
    put_config(&bench, |config| config.created_ms += 1);
    let mut rotten = bench.store.bytes(&NEWEST.to_string()).unwrap().to_vec();
    rotten[70] ^= 1;
    bench.store.tamper(&NEWEST.to_string(), rotten);
    let owner = bench.open();
    assert_eq!(owner.config().n, 0, "what is there can be read");
    let all = deletions(&owner).into_iter().chain([bench.backup(super::repair::request(b"more")).map(drop)]);
    for refused in all {
        let error = refused.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Damage && error.to_string().contains(&NEWEST.to_string()),
            "{error}"
        );
    }
}

#[test]
fn a_slot_works_in_a_domain_of_the_config() {
    let (bench, _) = two(304);
    let writer = Credential::KeyFile(Secret::new([0x41; 32]));
    run(key::add(&bench.open(), Role::Backup, &writer, "writer")).unwrap();
    opened(&bench, &writer).unwrap();
    put_config(&bench, |config| config.domains = vec!["other".into()]);
    let opened = opened(&bench, &writer).unwrap();
    assert_eq!(opened.config().n, 0, "the newest one contradicts the key");
    let error = opened.require_writable().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
}

/// Whole, and of an epoch to come: repair must not take it for rot and remove it.
#[test]
fn repair_removes_nothing_that_is_newer() {
    let (bench, _) = two(305);
    let sid = bench.snapshots()[0].id;
    run(forget(&bench.open(), &[sid], false)).unwrap();
    let name = below(&bench, "forget/").remove(0);
    let whole = bench.store.bytes(&name).unwrap();
    let mut later = whole[..whole.len() - 16].to_vec();
    later[8] = 1;
    let sum = blake3::hash(&later);
    later.extend_from_slice(&sum.as_bytes()[..16]);
    bench.store.tamper(&name, later.clone());
    let error = repaired_by(&bench.open(), RepairOptions::default()).unwrap_err();
    assert!(error.is_newer() && error.to_string().contains(&name), "{error}");
    assert_eq!(bench.store.bytes(&name).unwrap(), later);
    let report = bench.check().unwrap();
    let finding = report.errors.iter().find(|finding| finding.object == name).unwrap();
    assert!(format!("{finding:?}").contains("newer"), "{finding:?}");
}
