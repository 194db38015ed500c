#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::Id;
use repo_format::index::{RunHead, parse_entries_block, parse_run};
use repo_format::record::RecordType;

// Records as the golden file has them: type u8, id[32], length u32, content.
fuzz_target!(|data: &[u8]| {
    let _ = RunHead::parse(data);
    let (mut rest, mut records) = (data, Vec::new());
    while let Some((head, tail)) = rest.split_first_chunk::<37>() {
        let Ok(record_type) = RecordType::parse(head[0]) else { break };
        let mut id = [0; 32];
        id.copy_from_slice(&head[1..33]);
        let len = u32::from_le_bytes([head[33], head[34], head[35], head[36]]) as usize;
        let Some((content, tail)) = tail.split_at_checked(len) else { break };
        let _ = parse_entries_block(&Id(id), content, 3, &mut Vec::new());
        records.push((record_type, Id(id), content));
        rest = tail;
    }
    if let Ok(run) = parse_run(&records) {
        assert_eq!(run.entries.len() as u64, run.head.entry_count);
        assert!(run.entries.iter().all(|entry| (entry.pack as usize) < run.packs.len()));
    }
});
