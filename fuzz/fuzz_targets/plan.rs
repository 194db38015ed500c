#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::gc_record::Plan;

// What parses can be written, and reads back the same. Fields that are not known are lost on the way.
fuzz_target!(|data: &[u8]| {
    if let Ok(value) = Plan::parse(data) {
        let again = value.encode().expect("what was parsed can be written");
        assert_eq!(Plan::parse(&again), Ok(value));
    }
});
