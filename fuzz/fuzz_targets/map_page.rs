#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::map::{Page, Place, parse_page};

// The first byte chooses between volume and stream, eight more are the length; the page is read at the root, and again
// at the place of each of its children.
fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let Some((len, page)) = rest.split_first_chunk::<8>() else { return };
    let len = u64::from_le_bytes(*len);
    let _ = parse_page(page);
    let place = match choice % 4 {
        0 => Place::stream_root(len),
        n => Place::volume_root(4096 * [1, 4, 131_072][usize::from(n) - 1], len),
    };
    if let Ok(place) = place {
        descend(place, page, 4);
    }
});

fn descend(place: Place, page: &[u8], depth: u32) {
    match place.parse(page) {
        Ok(Page::Leaf(entries)) => {
            let sum: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
            assert_eq!(sum, place.span());
        }
        Ok(Page::Inner(children)) => {
            assert_eq!(children.iter().map(|child| child.place.span()).sum::<u64>(), place.span());
            for child in children.iter().filter(|_| depth > 0).take(4) {
                descend(child.place, page, depth - 1);
            }
        }
        Err(_) => {}
    }
}
