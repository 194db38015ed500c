#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::cbor::Value;

// What parses is the only encoding of its value.
fuzz_target!(|data: &[u8]| {
    if let Ok(value) = Value::parse(data) {
        assert_eq!(value.encode(), data);
    }
});
