#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::gc_record::{Damage, ForgetMarker, Owner, Tombstone};

fuzz_target!(|data: &[u8]| {
    if let Ok(marker) = ForgetMarker::parse(data) {
        assert_eq!(ForgetMarker::parse(&marker.encode()), Ok(marker));
    }
    if let Ok(tombstone) = Tombstone::parse(data) {
        assert_eq!(Tombstone::parse(&tombstone.encode()), Ok(tombstone));
    }
    if let Ok(owner) = Owner::parse(data) {
        let again = owner.encode().expect("what was parsed can be written");
        assert_eq!(Owner::parse(&again), Ok(owner));
    }
    if let Ok(damage) = Damage::parse(data) {
        let again = damage.encode().expect("what was parsed can be written");
        assert_eq!(Damage::parse(&again), Ok(damage));
    }
});
