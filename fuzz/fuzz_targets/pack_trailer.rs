#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_fuzz::{pack_context, pack_tail, secret};
use repo_format::pack::{OpenTrailer, PackClass, open_trailer};

// The first byte is the class, the rest the table without its padding.
fuzz_target!(|data: &[u8]| {
    let Some((first, table)) = data.split_first() else { return };
    let Ok(class) = PackClass::parse(first % 3 + 1) else { return };
    let (tail, s_d) = (pack_tail(class, table), secret(7));
    // the pack is as long as its rows say, if they are read at all
    let guess = 32 + clen_sum(table) + tail.len() as u64;
    for pack_len in [tail.len() as u64, guess] {
        let opened = open_trailer(&pack_context(&s_d, class), &tail, pack_len);
        let Ok(OpenTrailer::Done(trailer, _)) = opened else { continue };
        for n in 0..trailer.rows().len() {
            let range = trailer.range(n).expect("every row has a range");
            assert!(range.start < range.end && range.end <= pack_len);
        }
    }
});

/// The sum of all clen of a table without keys or with keys of no wrap, as the golden ones are.
fn clen_sum(table: &[u8]) -> u64 {
    let keys = usize::from(*table.get(16).unwrap_or(&0));
    let rows = table.get(17 + keys * 53 + 4..).unwrap_or_default();
    let clen =
        |row: &[u8]| row.get(35..39).map_or(0, |b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    let count =
        table.get(17 + keys * 53..).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_le_bytes(*b));
    rows.chunks_exact(43).take(count as usize).map(clen).sum()
}
