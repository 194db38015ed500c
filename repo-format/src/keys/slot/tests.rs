use super::*;
use crate::ErrorKind;
use crate::keys::{MAIN_DOMAIN, RepositorySecrets};
use proptest::prelude::*;

const ID: SlotId = SlotId([4; 16]);
const CHEAP: KdfParams = KdfParams { m_kib: 16, t: 1, p: 2 };

fn bundle(role: Role) -> Bundle {
    let mut next = 0;
    let secrets = RepositorySecrets::generate(&mut |out| {
        next += 1;
        out.fill(next);
    });
    secrets.bundle_for(role, MAIN_DOMAIN, RepoId([9; 16])).unwrap()
}

fn new_slot() -> NewSlot<'static> {
    NewSlot { slot_id: ID, salt: [5; 32], label: "nightly", created_ms: 1_790_000_000_000, params: CHEAP }
}

fn key_file() -> Secret {
    Secret::new([6; 32])
}

fn key_file_slot() -> Vec<u8> {
    new_slot().seal(Credential::KeyFile(&key_file()), &bundle(Role::Backup)).unwrap()
}

fn password_slot(password: &str) -> Vec<u8> {
    new_slot().seal(Credential::Password(password.as_bytes()), &bundle(Role::Owner)).unwrap()
}

/// The slot with some fields changed and its checksum made right again.
fn forge(object: &[u8], change: impl FnOnce(&mut Map)) -> Vec<u8> {
    let mut map = Value::parse(object).unwrap().into_map(WHAT).unwrap();
    change(&mut map);
    map.remove("sum");
    let sum = sum_of(&Value::Map(map.clone()).encode());
    map.set("sum", &sum);
    Value::Map(map).encode()
}

#[test]
fn round_trips_for_every_role_and_kind() {
    for role in Role::ALL {
        let bundle = bundle(role);
        for credential in [Credential::Password(b"pass"), Credential::KeyFile(&key_file())] {
            let object = new_slot().seal(credential, &bundle).unwrap();
            let slot = SealedSlot::parse(ID, &object).unwrap();
            assert_eq!((slot.role, slot.kind, slot.label.as_str()), (role, credential.kind(), "nightly"));
            assert_eq!(slot.open(credential), Ok(bundle.clone()));
        }
    }
}

#[test]
fn another_credential_is_a_wrong_key() {
    let slot = SealedSlot::parse(ID, &password_slot("right")).unwrap();
    for credential in [Credential::Password(b"wrong"), Credential::KeyFile(&key_file())] {
        assert_eq!(slot.open(credential).unwrap_err().kind(), ErrorKind::WrongKey);
    }
    let slot = SealedSlot::parse(ID, &key_file_slot()).unwrap();
    for credential in [Credential::Password(b"right"), Credential::KeyFile(&Secret::new([7; 32]))] {
        assert_eq!(slot.open(credential).unwrap_err().kind(), ErrorKind::WrongKey);
    }
}

#[test]
fn passwords_are_normalised() {
    let slot = SealedSlot::parse(ID, &password_slot("Gr\u{fc}n")).unwrap();
    for same in ["Gr\u{fc}n", "Gru\u{308}n", "Gr\u{fc}n\n", "Gr\u{fc}n\r\n"] {
        assert!(slot.open(Credential::Password(same.as_bytes())).is_ok(), "{same:?}");
    }
    for other in ["Gr\u{fc}n\n\n", " Gr\u{fc}n", "Gr\u{fc}n\r", "gr\u{fc}n"] {
        let error = slot.open(Credential::Password(other.as_bytes())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey, "{other:?}");
    }
    for invalid in [&b""[..], b"\n", b"\r\n", b"\xff"] {
        let error = new_slot().seal(Credential::Password(invalid), &bundle(Role::Read)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    for good in [key_file_slot(), password_slot("pass")] {
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SealedSlot::parse(ID, &flipped).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(SealedSlot::parse(ID, &good[..len]).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn a_forger_who_mends_the_checksum_gains_nothing() {
    let good = key_file_slot();
    let without_sum = forge(&good, |_| ());
    assert_eq!(without_sum, good);
    let sum_at = good.windows(4).position(|window| window == b"csum").unwrap();
    for bit in (0..good.len() * 8).filter(|bit| !(sum_at..sum_at + 21).contains(&(bit / 8))) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(Value::Map(mut map)) = Value::parse(&flipped) else { continue };
        map.remove("sum");
        let sum = sum_of(&Value::Map(map.clone()).encode());
        map.set("sum", &sum);
        let opened = SealedSlot::parse(ID, &Value::Map(map).encode())
            .and_then(|slot| slot.open(Credential::KeyFile(&key_file())));
        assert!(opened.is_err(), "bit {bit}");
    }
}

#[test]
fn the_clear_fields_are_checked() {
    let good = password_slot("pass");
    let with = |change: fn(&mut Map)| SealedSlot::parse(ID, &forge(&good, change)).unwrap_err();
    assert_eq!(with(|map| _ = map.set("fmt", 2u64)).kind(), ErrorKind::Unsupported);
    assert_eq!(with(|map| _ = map.set("kind", "age")).kind(), ErrorKind::Unsupported);
    assert_eq!(with(|map| _ = map.set("role", "admin")).kind(), ErrorKind::Unsupported);
    assert!(matches!(with(|map| _ = map.set("kind", "keyfile")), Error::Rule { .. }));
    assert!(matches!(with(|map| _ = map.remove("params")), Error::Rule { .. }));
    assert!(matches!(with(|map| _ = map.set("more", 1u64)), Error::Rule { .. }));
    assert!(matches!(with(|map| _ = map.set("label", "\u{1b}[2J")), Error::Rule { .. }));
    assert!(matches!(with(|map| _ = map.set("label", "x".repeat(1025))), Error::TooLarge { .. }));
    assert!(matches!(with(|map| _ = map.set("box", vec![0; 17_000])), Error::TooLarge { .. }));
    assert!(SealedSlot::parse(SlotId([5; 16]), &good).is_err(), "another name");
    for (m_kib, t, p) in [(15, 1, 2), (1 << 21, 1, 1), (16, 0, 1), (16, 17, 1), (16, 1, 0), (256, 1, 17)] {
        let params = KdfParams { m_kib, t, p };
        let bad = forge(&good, |map| _ = map.set("params", params.to_value()));
        assert!(SealedSlot::parse(ID, &bad).is_err(), "{params:?}");
        let slot = NewSlot { params, ..new_slot() };
        assert!(slot.seal(Credential::Password(b"pass"), &bundle(Role::Read)).is_err());
    }
}

#[test]
fn the_bundle_must_be_the_slots() {
    let plain = bundle(Role::Read).encode();
    let object = key_file_slot();
    let derived = derive(&key_file(), &RepoId([9; 16]), &ID, &[5; 32]);
    let forged = forge(&object, |map| {
        map.remove("box");
        map.remove("sum");
        let aad = Value::Map(map.clone()).encode();
        let mut sealed = plain.to_vec();
        assert!(cipher::seal_in_place(&derived.key, &cipher::ZERO_NONCE, &aad, &mut sealed, 0));
        map.set("box", sealed);
    });
    let slot = SealedSlot::parse(ID, &forged).unwrap();
    assert_eq!(slot.role, Role::Backup);
    let error = slot.open(Credential::KeyFile(&key_file())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage);
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", Credential::Password(b"hunter2")), "password(..)");
    assert_eq!(format!("{:?}", Credential::KeyFile(&key_file())), "keyfile(..)");
}

#[test]
fn bytes_are_as_ever() {
    crate::golden::check("slot-keyfile", &key_file_slot());
    crate::golden::check("slot-password", &password_slot("pass"));
    let stored = SealedSlot::parse(ID, &crate::golden::read("slot-password")).unwrap();
    assert_eq!(stored.open(Credential::Password(b"pass")), Ok(bundle(Role::Owner)));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(SealedSlot::parse(ID, &bytes).is_err());
    }
}
