use super::*;
use crate::keys::MAIN_DOMAIN;
use proptest::prelude::*;

const REPO: RepoId = RepoId([9; 16]);

fn secrets() -> RepositorySecrets {
    let mut next = 0;
    RepositorySecrets::generate(&mut |out| {
        next += 1;
        out.fill(next);
    })
}

fn bundle(role: Role) -> Bundle {
    secrets().bundle_for(role, MAIN_DOMAIN, REPO).unwrap()
}

fn map_of(role: Role) -> Map {
    Value::parse(&bundle(role).encode()).unwrap().into_map("bundle").unwrap()
}

fn parse(map: &Map) -> Result<Bundle> {
    Bundle::parse(&Value::Map(map.clone()).encode())
}

#[test]
fn every_role_round_trips() {
    for role in Role::ALL {
        let bundle = bundle(role);
        let bytes = bundle.encode();
        assert!(bytes.len() <= BUNDLE_CAPACITY);
        assert_eq!(Bundle::parse(&bytes), Ok(bundle), "{role}");
    }
    let long = "d".repeat(64);
    let bundle = secrets().bundle_for(Role::Backup, &long, REPO).unwrap();
    assert!(bundle.encode().len() <= BUNDLE_CAPACITY);
    assert_eq!(bundle.domain(), Some(long.as_str()));
}

#[test]
fn roles_hold_exactly_their_secrets() {
    let expected = [
        (Role::Backup, "role,C_pub,G_pub,domain,epochs,repo_id,identity"),
        (Role::Read, "role,C_sec,G_pub,domain,epochs,repo_id,identity"),
        (Role::Prune, "role,G_pub,G_sec,epochs,repo_id"),
        (Role::Owner, "role,C_sec,G_pub,G_sec,epochs,repo_id,identity"),
    ];
    let secrets = secrets();
    let never = |role: Role, bytes: &Secret| {
        let encoded = bundle(role).encode();
        assert!(!encoded.windows(32).any(|window| window == bytes.expose()), "{role}");
    };
    for (role, keys) in expected {
        let map = map_of(role);
        let mut found: Vec<_> = map.entries().iter().map(|(key, _)| key.as_str()).collect();
        let mut keys: Vec<_> = keys.split(',').collect();
        found.sort_unstable();
        keys.sort_unstable();
        assert_eq!(found, keys, "{role}");
        if !role.can_read_content() {
            never(role, &secrets.content);
        }
        if !role.can_delete() {
            never(role, &secrets.deletion);
        }
        if role != Role::Owner {
            never(role, &secrets.identity);
        }
        if role.is_of_one_domain() {
            never(role, &secrets.structure);
        }
    }
}

#[test]
fn fields_of_another_role_are_refused() {
    for role in Role::ALL {
        for other in Role::ALL {
            for (key, value) in map_of(other).entries() {
                let mut map = map_of(role);
                let foreign = map.remove(key).is_none();
                assert!(parse(&map).is_err() || foreign, "{role} without {key}");
                map.set(key, value.clone());
                assert!(parse(&map).is_err() || !foreign, "{role} with {key} of {other}");
            }
            let mut map = map_of(role);
            map.set("role", other.to_string());
            assert_eq!(parse(&map).is_ok(), role == other, "{role} as {other}");
            let mut map = map_of(role);
            if let Some(epochs) = map_of(other).remove("epochs") {
                map.set("epochs", epochs);
                assert_eq!(parse(&map).is_ok(), role.is_of_one_domain() == other.is_of_one_domain());
            }
        }
        let mut map = map_of(role);
        map.set("extra", 1u64);
        assert!(parse(&map).is_err());
    }
}

#[test]
fn epochs_lengths_and_pairs_are_checked() {
    let with = |key: &str, value: Value| {
        let mut map = map_of(Role::Owner);
        map.set(key, value);
        parse(&map).map(|_| ()).unwrap_err()
    };
    let row = |epoch: u64, secret: &[u8]| Value::Array(vec![epoch.into(), secret.into()]);
    let unsupported = crate::ErrorKind::Unsupported;
    assert_eq!(with("epochs", vec![row(1, &[1; 32])].into()).kind(), unsupported);
    assert_eq!(with("epochs", vec![row(0, &[1; 32]), row(1, &[1; 32])].into()).kind(), unsupported);
    assert!(matches!(with("epochs", Value::Array(vec![])), Error::Rule { .. }));
    assert!(matches!(with("epochs", vec![Value::Array(vec![])].into()), Error::Rule { .. }));
    assert!(matches!(with("epochs", vec![row(0, &[1; 31])].into()), Error::Unexpected { .. }));
    assert!(matches!(with("identity", Value::Bytes(vec![1; 33])), Error::Unexpected { .. }));
    assert_eq!(with("G_pub", Value::Bytes(vec![1; 32])), Error::Mismatch { what: "deletion key pair" });
    assert_eq!(with("role", "admin".into()).kind(), unsupported);
    let mut map = map_of(Role::Backup);
    for label in [String::new(), "a\nb".into(), "d".repeat(65)] {
        map.set("domain", label);
        assert!(parse(&map).is_err());
    }
}

#[test]
fn roles_derive_the_same_keys_and_only_their_own() {
    let (owner, backup) = (bundle(Role::Owner), bundle(Role::Backup));
    let (read, prune) = (bundle(Role::Read), bundle(Role::Prune));
    for role in Role::ALL {
        let bundle = bundle(role);
        assert_eq!((bundle.role(), bundle.repo_id()), (role, REPO));
        assert_eq!(bundle.common(), owner.common());
        assert_eq!(bundle.structure(MAIN_DOMAIN), owner.structure(MAIN_DOMAIN));
        assert_eq!(bundle.structure("other").is_ok(), !role.is_of_one_domain());
        assert_eq!(bundle.deletion_public(), owner.deletion_public());
        assert_eq!(bundle.deletion_secret().is_some(), role.can_delete());
        assert_eq!(bundle.content_secret().is_some(), role.can_read_content());
        assert_eq!(bundle.identity(MAIN_DOMAIN).is_some(), role.can_compute_ids());
        assert_eq!(bundle.repository_secrets().is_some(), role.can_make_roles());
    }
    assert_eq!(owner.repository_secrets(), Some(secrets()));
    assert_eq!(backup.identity(MAIN_DOMAIN), owner.identity(MAIN_DOMAIN));
    assert_eq!(backup.identity("other"), None);
    assert_ne!(owner.identity("other"), owner.identity(MAIN_DOMAIN));
    assert_ne!(owner.structure("other"), owner.structure(MAIN_DOMAIN));
    assert_eq!(read.content_public(), backup.content_public());
    assert_eq!(prune.content_public(), None);
}

#[test]
fn debug_shows_no_secret() {
    let hex = "09".repeat(16);
    let text = format!("{:?}", bundle(Role::Backup));
    assert_eq!(text, format!("Bundle {{ repo_id: {hex}, role: Backup, domain: Some(\"main\"), .. }}"));
    assert!(format!("{:?}", secrets()).split("Secret(..)").all(|part| !part.contains(['[', '1'])));
}

#[test]
fn bytes_are_as_ever() {
    for role in Role::ALL {
        crate::golden::check(&format!("bundle-{role}"), &bundle(role).encode());
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(Bundle::parse(&bytes).is_err());
    }

    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = bundle(Role::Backup).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Bundle::parse(&bytes);
    }
}
