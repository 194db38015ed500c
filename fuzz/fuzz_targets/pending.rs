#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::snapshot::Pending;

// What parses can be written, and reads back the same. Fields that are not known are lost on the way.
fuzz_target!(|data: &[u8]| {
    if let Ok(value) = Pending::parse(data) {
        let again = value.encode().expect("what was parsed can be written");
        assert_eq!(Pending::parse(&again), Ok(value));
    }
});
