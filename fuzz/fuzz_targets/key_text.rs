#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::keys::keyfile;

fuzz_target!(|text: &str| {
    if let Ok(secret) = keyfile::parse(text) {
        assert!(keyfile::encode(&secret).eq_ignore_ascii_case(text.trim()));
    }
});
