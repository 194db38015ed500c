#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_fuzz::secret;
use repo_format::{RepoId, signed};

// The keys and the name are those of the golden file.
fuzz_target!(|data: &[u8]| {
    let public = signed::verifying_key(&secret(1));
    if let Ok(payload) = signed::verify(&public, &RepoId([3; 16]), "gc/x", data) {
        let again = signed::sign(&secret(1), &RepoId([3; 16]), "gc/x", &payload);
        assert_eq!(again.as_deref(), Ok(data));
    }
});
