#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_fuzz::{PACK, pack_context, secret};
use repo_format::pack::{PackClass, PackHeader, open_trailer, parse_tail, scrub};

// A whole pack, and the end of a longer one.
fuzz_target!(|data: &[u8]| {
    let _ = PackHeader::parse(data);
    let _ = scrub(data, PACK);
    for pack_len in [data.len() as u64, data.len() as u64 + 5000, u64::MAX] {
        let _ = parse_tail(data, pack_len);
        let _ = open_trailer(&pack_context(&secret(7), PackClass::Map), data, pack_len);
    }
});
