#![no_main]

use k8s_source::manifest::parse_document;
use libfuzzer_sys::fuzz_target;
use policy::schedule::{SchedulePolicy, ScheduleType, due, next_fire};

/// 2026-11-26, in Unix milliseconds.
const NOW_MS: u64 = 1_795_651_200_000;

// What is read is written and read again as the same; slots come after the moment they are asked for.
fuzz_target!(|data: &[u8]| {
    if data.len() > 4096 {
        return;
    }
    let Ok(json) = parse_document("fuzz.yaml", data) else { return };
    let Ok(policy) = serde_json::from_slice::<SchedulePolicy>(&json) else { return };
    let written = serde_json::to_vec(&policy).expect("a policy is a document");
    let again: SchedulePolicy = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, policy);
    for kind in ScheduleType::ALL {
        assert_eq!(policy.retain(kind).is_some(), next_fire(&policy, kind, NOW_MS).is_some());
        if let Some(slot) = next_fire(&policy, kind, NOW_MS) {
            assert!(slot > NOW_MS);
        }
        if let Some(slot) = due(&policy, kind, NOW_MS - 7 * 86_400_000, NOW_MS) {
            assert!(slot > NOW_MS - 7 * 86_400_000 && slot <= NOW_MS);
        }
    }
});
