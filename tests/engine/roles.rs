//! The role table: each role can do what its row says, and nothing else with any bytes it can get.

use repo_format::kdf::Secret;
use repo_format::keys::Role;
use repo_format::layout::ObjectName;
use repo_format::sealed::Class;
use repository::backup::{BackupRequest, backup};
use repository::check::check;
use repository::progress::Progress;
use repository::{Credential, Error, ErrorKind, Repository, Result, key};
use std::sync::Arc;
use tests::engine::{Bench, all_data, manifest, run, volume};

const ROLES: [Role; 4] = [Role::Backup, Role::Read, Role::Prune, Role::Owner];

fn credential(role: Role) -> Credential {
    Credential::KeyFile(Secret::new([0x40 + role as u8; 32]))
}

/// A repository with one backup and a key file for each role.
fn with_roles() -> Bench {
    let bench = Bench::new(31);
    let owner = bench.open();
    for role in ROLES {
        run(key::add(&owner, role, &credential(role), &role.to_string())).unwrap();
    }
    let request = BackupRequest {
        volumes: vec![volume("shop/data", &tests::data::mixed(1, 100_000))],
        manifests: [manifest("a", "{}")].into(),
        ..Default::default()
    };
    bench.backup(request).unwrap();
    bench
}

type Verb = fn(&Bench, &Repository) -> Result<()>;

fn do_backup(_: &Bench, repository: &Repository) -> Result<()> {
    let request = BackupRequest { volumes: vec![volume("new/one", &[1; 9000])], ..Default::default() };
    run(backup(repository, request, &Arc::new(Progress::default()))).map(|_| ())
}

fn do_list(_: &Bench, repository: &Repository) -> Result<()> {
    let (entries, problems) = run(repository::snapshots::list(repository))?;
    assert!(!entries.is_empty() && problems.is_empty());
    Ok(())
}

fn do_restore(bench: &Bench, repository: &Repository) -> Result<()> {
    let role = repository.role();
    let entry = bench.snapshots().remove(0);
    let as_role = Bench { owner: credential(role), ..bench.fork() };
    as_role.restore(&entry, "shop/data").map(|data| assert_eq!(data, tests::data::mixed(1, 100_000)))
}

/// Succeeds only if content was opened, too.
fn do_check_content(_: &Bench, repository: &Repository) -> Result<()> {
    let report = run(check(repository, all_data(), &Arc::new(Progress::default())))?;
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    if report.content_opened {
        return Ok(());
    }
    Err(Error::Role { action: "check content", needed: "read", role: repository.role().to_string() })
}

fn do_check_structure(_: &Bench, repository: &Repository) -> Result<()> {
    let report = run(check(repository, all_data(), &Arc::new(Progress::default())))?;
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    Ok(())
}

fn do_sign_deletion(bench: &Bench, repository: &Repository) -> Result<()> {
    let sid = bench.snapshots()[0].id;
    repository.seal_signed(Class::Forget, &ObjectName::Forget { sid, last: false }, b"payload").map(|_| ())
}

fn do_add_key(_: &Bench, repository: &Repository) -> Result<()> {
    run(key::add(repository, Role::Backup, &Credential::KeyFile(Secret::new([9; 32])), "x")).map(|_| ())
}

#[test]
fn the_matrix() {
    use Role::{Backup, Owner, Prune, Read};
    let rows: [(&str, Verb, &[Role]); 7] = [
        ("backup", do_backup, &[Backup, Owner]),
        ("list", do_list, &ROLES),
        ("restore", do_restore, &[Read, Owner]),
        ("check content", do_check_content, &[Read, Owner]),
        ("check structure", do_check_structure, &ROLES),
        ("sign deletions", do_sign_deletion, &[Prune, Owner]),
        ("add keys", do_add_key, &[Owner]),
    ];
    let bench = with_roles();
    for (name, verb, allowed) in rows {
        for role in ROLES {
            let fork = bench.fork();
            let repository = fork.open_on(Arc::new(fork.store.clone()), &credential(role)).unwrap();
            assert_eq!(repository.role(), role);
            match (verb(&fork, &repository), allowed.contains(&role)) {
                (Ok(()), true) => {}
                (Err(error), false) => {
                    assert_eq!(error.kind(), ErrorKind::WrongKey, "{name} as {role}: {error}")
                }
                (result, _) => panic!("{name} as {role}: {result:?}"),
            }
        }
    }
}

/// A deletion record that a role without G has sealed with the keys it holds is not believed.
#[test]
fn a_plan_signed_by_nobody_is_refused() {
    let bench = with_roles();
    let stranger = Bench::new(32);
    let name = ObjectName::Plan(0);
    let forged = stranger.open().seal_signed(Class::Plan, &name, b"anything").unwrap();
    bench.store.tamper(&name.to_string(), forged);
    let request = BackupRequest { volumes: vec![volume("a/b", &[1; 100])], ..Default::default() };
    let error = bench.backup(request).unwrap_err();
    assert!(error.to_string().contains("gc/0000000000000000.plan"), "{error}");
}

#[test]
fn a_wrong_key_opens_nothing() {
    let bench = with_roles();
    for wrong in [Credential::KeyFile(Secret::new([1; 32])), Credential::Password(b"guess".to_vec().into())] {
        let error = bench.open_on(Arc::new(bench.store.clone()), &wrong).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::WrongKey, "{error}");
    }
}
