#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::compress::{decompress_frame, looks_compressible};

// The first bytes are the length that is said outside: up to 16 MiB, so that memory does not hide other findings.
fuzz_target!(|data: &[u8]| {
    let Some((len, frame)) = data.split_first_chunk::<3>() else { return };
    let raw_len = u64::from(u32::from_le_bytes([len[0], len[1], len[2], 0]));
    let mut out = Vec::new();
    if decompress_frame(frame, raw_len, &mut out).is_ok() {
        assert_eq!(out.len() as u64, raw_len);
    }
    let _ = looks_compressible(data);
});
