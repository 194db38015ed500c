#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_fuzz::{SNAPSHOT, sealed_object, secret};
use repo_format::sealed;

// The input as an object, and as the plaintext of one.
fuzz_target!(|data: &[u8]| {
    let _ = sealed::check_sum(data);
    let _ = sealed::open(&secret(5), &SNAPSHOT, data);
    let _ = sealed::open(&secret(5), &SNAPSHOT, &sealed_object(data));
});
