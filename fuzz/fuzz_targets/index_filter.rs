#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::Id;
use repo_format::index::{FilterPart, id_range};

// The record's id[32], then its content. What parses has its first and last id, whatever else it has.
fuzz_target!(|data: &[u8]| {
    let Some((id, content)) = data.split_first_chunk::<32>() else { return };
    let id = Id(*id);
    if let Ok(part) = FilterPart::parse(&id, content) {
        let (first, last) = id_range(&id);
        assert!(part.may_have(&first) && part.may_have(&last));
        let mut middle = first;
        for n in 0..=255 {
            middle[0] = n;
            let _ = part.may_have(&middle);
        }
    }
});
