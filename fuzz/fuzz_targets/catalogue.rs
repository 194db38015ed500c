#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::catalogue::{contents_range, parse_contents, parse_frame};

// The input is a whole stream.
fuzz_target!(|data: &[u8]| {
    let Some(end) = data.last_chunk::<8>() else { return };
    let Ok(range) = contents_range(data.len() as u64, *end) else { return };
    let contents = &data[range.start as usize..range.end as usize];
    let Ok(entries) = parse_contents(contents, range.start) else { return };
    for entry in &entries {
        let frame = entry.range();
        assert!(frame.end <= range.start);
        let _ = parse_frame(&data[frame.start as usize..frame.end as usize], entry);
    }
});
