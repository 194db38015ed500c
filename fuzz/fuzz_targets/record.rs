#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_fuzz::{PACK_REPO, record_key, seal, secret};
use repo_format::compress::Decompressor;
use repo_format::pack::Row;
use repo_format::record::{Compression, KeyRow, RecordType};
use repo_format::{Id, KeyId};

// Two lengths, then a plaintext that the key's holder sealed: raw and as zstd; then the bytes as they are, and as a wrap.
fuzz_target!(|data: &[u8]| {
    let Some((lens, plain)) = data.split_first_chunk::<4>() else { return };
    let rlen = u32::from_le_bytes(*lens);
    let (session, _, key) = record_key();
    let (mut tools, mut out) = (Decompressor::new(), Vec::new());
    for comp in [Compression::Raw, Compression::Zstd] {
        let id = Id([3; 32]);
        let head = [&b"ORR1"[..], &PACK_REPO.0, &[2; 16], &[RecordType::Page as u8, comp as u8]].concat();
        let aad = [&head[..], &id.0, lens].concat();
        let sealed = [&[1; 12][..], &seal(&key, [1; 12], &aad, plain)].concat();
        let row = Row { record_type: RecordType::Page, comp, key: 0, id, clen: sealed.len() as u32, rlen };
        for bytes in [&sealed[..], data] {
            if session.record_key().open(&row, bytes, &mut tools, &mut out).is_ok() {
                assert_eq!(out.len() as u64, u64::from(rlen));
            }
        }
    }
    let row = KeyRow { key_id: KeyId([2; 16]), alg: 1, epoch: 0, commit: [0; 32], wrap: plain.to_vec() };
    let _ = row.open_data(&PACK_REPO, &secret(9));
});
