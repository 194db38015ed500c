#![no_main]

use k8s_source::manifest::{Limits, merge, parse_within};
use libfuzzer_sys::fuzz_target;

// Canonical JSON is itself a manifest, and its own canonical form.
fuzz_target!(|data: &[u8]| {
    let limits = Limits { file_bytes: 1 << 20, alias_bytes: 1 << 16, values: 1 << 16, ..Limits::default() };
    let Ok(manifests) = parse_within("fuzz.yaml", data, &limits) else { return };
    for manifest in &manifests {
        let again = parse_within("fuzz.json", &manifest.json, &limits).expect("canonical JSON is a manifest");
        assert_eq!(again.len(), 1);
        assert_eq!((&again[0].path, &again[0].json), (&manifest.path, &manifest.json));
    }
    let _ = merge(manifests);
});
