#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::layout::ObjectName;

// What parses is spelt exactly so.
fuzz_target!(|text: &str| {
    if let Ok(name) = ObjectName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
});
