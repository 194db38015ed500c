#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::keys::Bundle;

fuzz_target!(|data: &[u8]| {
    if let Ok(bundle) = Bundle::parse(data) {
        assert_eq!(&bundle.encode()[..], data);
    }
});
