use super::page::{encode_inner, encode_leaf};
use super::*;
use crate::{Id, Result, golden, kdf::Secret};
use proptest::prelude::*;
use std::collections::HashMap;

const SEGMENT_LEN: u64 = 16384;

fn key() -> PageKey {
    PageKey::new(&Secret::new([7; 32]))
}

fn chunk_id(n: u64) -> Id {
    Id(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// Stored pages, by id; storing one twice is fine.
#[derive(Default)]
struct Store(HashMap<Id, Vec<u8>>);

impl Store {
    fn put(&mut self, pages: Vec<EncodedPage>) {
        for page in pages {
            assert_eq!(page.id, key().page_id(&page.bytes));
            self.0.insert(page.id, page.bytes);
        }
    }

    /// Reads a whole map back, every page checked against its place.
    fn walk(&self, root: Id, place: &Place, out: &mut Vec<LeafEntry>) -> Result<()> {
        if root.is_zero() {
            out.push(LeafEntry { len: u32::try_from(place.span()).unwrap(), id: None });
            return Ok(());
        }
        match place.parse(&self.0[&root])? {
            Page::Leaf(entries) => out.extend(entries),
            Page::Inner(children) => {
                children.iter().try_for_each(|child| self.walk(child.id, &child.place, out))?;
            }
        }
        Ok(())
    }
}

/// The rule of the format, literally: level by level over the whole list.
fn naive_volume(mut level: Vec<InnerEntry>, pages: &mut Store) -> Id {
    let mut number = 0;
    while level.len() > 1 {
        number += 1;
        level = level
            .chunks(64)
            .map(|group| {
                let span = group.iter().map(|child| child.span).sum();
                if group.iter().all(|child| child.id.is_zero()) {
                    return InnerEntry { span, id: Id::ZERO };
                }
                let bytes = encode_inner(number, group).unwrap();
                let id = key().page_id(&bytes);
                pages.put(vec![EncodedPage { id, bytes }]);
                InnerEntry { span, id }
            })
            .collect();
    }
    level.first().map_or(Id::ZERO, |root| root.id)
}

/// One segment: a hole, or two chunks around a hole, or a chunk.
fn segment(kind: u8, span: u64, seed: u64) -> Vec<LeafEntry> {
    let span = span as u32;
    let chunk = |len, n| LeafEntry { len, id: Some(chunk_id(seed * 4 + n)) };
    match kind {
        0 => vec![LeafEntry { len: span, id: None }],
        1 if span > 12288 => {
            vec![chunk(4096, 1), LeafEntry { len: 8192, id: None }, chunk(span - 12288, 2)]
        }
        _ => vec![chunk(span, 3)],
    }
}

fn build_volume(kinds: &[u8], volume_len: u64, reuse: bool) -> (Id, Store, Vec<LeafEntry>) {
    let (mut store, mut all, mut leaves) = (Store::default(), Vec::new(), Vec::new());
    let mut builder = VolumeMapBuilder::new(key(), SEGMENT_LEN, volume_len).unwrap();
    for (n, kind) in kinds.iter().enumerate() {
        let span = builder.next_span();
        let entries = segment(*kind, span, n as u64);
        let bytes = encode_leaf(&entries).unwrap();
        let id = if *kind == 0 { Id::ZERO } else { key().page_id(&bytes) };
        leaves.push(InnerEntry { span, id });
        if reuse && n % 3 == 0 {
            store.put(builder.push_page(id).unwrap());
            store.put(if *kind == 0 { vec![] } else { vec![EncodedPage { id, bytes }] });
        } else {
            store.put(builder.push_segment(&entries).unwrap());
        }
        all.extend(entries);
    }
    assert_eq!(builder.next_span(), 0);
    let (root, rest) = builder.finish().unwrap();
    store.put(rest);
    let mut naive = Store::default();
    assert_eq!(naive_volume(leaves, &mut naive), root);
    assert!(naive.0.iter().all(|(id, page)| store.0.get(id) == Some(page)), "every inner page came out");
    (root, store, all)
}

/// Builds a map again from its subtrees, going down where the hash of `seed` and the place says so.
fn again(store: &Store, root: Id, place: Place, seed: u64) -> (Id, Vec<EncodedPage>) {
    let mut builder = VolumeMapBuilder::new(key(), SEGMENT_LEN, place.span()).unwrap();
    let (mut open, mut offset, mut pages) = (vec![Child { id: root, place }], 0, Vec::new());
    while let Some(Child { id, place }) = open.pop() {
        let level = place.level().unwrap();
        let goes_down = chunk_id(seed ^ (offset << 8) ^ u64::from(level)).0[0] < 160;
        if !goes_down || level == 0 {
            offset += place.span();
            pages.extend(builder.push_subtree(level, place.span(), id).unwrap());
            continue;
        }
        let children = match store.0.get(&id).map(|page| place.parse(page).unwrap()) {
            None => place.under_hole(),
            Some(Page::Inner(children)) => children,
            Some(Page::Leaf(_)) => panic!("a leaf of level {level}"),
        };
        assert_eq!(children.iter().map(|child| child.place.span()).sum::<u64>(), place.span());
        open.extend(children.into_iter().rev());
    }
    let (root, last) = builder.finish().unwrap();
    pages.extend(last);
    (root, pages)
}

fn merged_holes(entries: &[LeafEntry]) -> Vec<(u64, Option<Id>)> {
    let mut out: Vec<(u64, Option<Id>)> = Vec::new();
    for entry in entries {
        match (out.last_mut(), entry.id) {
            (Some((len, None)), None) => *len += u64::from(entry.len),
            _ => out.push((entry.len.into(), entry.id)),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn volume_maps_are_those_of_the_rule(
        count in prop_oneof![0usize..4, 60usize..70, 120usize..135, 4090usize..4200],
        hole_runs in prop::collection::vec((0usize..4200, 1usize..300), 0..4),
        short in 0u64..SEGMENT_LEN,
        reuse in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut kinds: Vec<u8> = (0..count).map(|n| 1 + (n % 2) as u8).collect();
        for (at, len) in hole_runs {
            kinds.iter_mut().skip(at).take(len).for_each(|kind| *kind = 0);
        }
        let volume_len = (count as u64 * SEGMENT_LEN).saturating_sub(short);
        let (root, store, all) = build_volume(&kinds, volume_len, reuse);
        if count == 0 || kinds.iter().all(|kind| *kind == 0) {
            prop_assert!(root.is_zero() && store.0.is_empty());
        } else {
            let mut read = Vec::new();
            store.walk(root, &Place::volume_root(SEGMENT_LEN, volume_len).unwrap(), &mut read).unwrap();
            prop_assert_eq!(merged_holes(&read), merged_holes(&all));
        }
        prop_assert_eq!(root, build_volume(&kinds, volume_len, !reuse).0);
        if volume_len > 0 {
            let place = Place::volume_root(SEGMENT_LEN, volume_len).unwrap();
            let (same, pages) = again(&store, root, place, seed);
            prop_assert_eq!(same, root);
            prop_assert!(pages.iter().all(|page| store.0.get(&page.id) == Some(&page.bytes)));
        }
    }

    #[test]
    fn hostile_pages_never_panic(
        first in 0u8..18, count in 0u16..4, rest in prop::collection::vec(any::<u8>(), 0..200), span in 0u64..1 << 40,
    ) {
        let page = [&[first][..], &count.to_le_bytes(), &rest].concat();
        let _ = parse_page(&page);
        if let Ok(place) = Place::stream_root(span) { let _ = place.parse(&page); }
        if let Ok(place) = Place::volume_root(SEGMENT_LEN, span) { let _ = place.parse(&page); }
    }
}

fn build_stream(ids: &[Id]) -> (Id, Store) {
    let mut store = Store::default();
    let mut builder = StreamMapBuilder::new(key());
    for id in ids {
        store.put(builder.push_chunk(10, *id).unwrap());
    }
    let (root, rest) = builder.finish().unwrap();
    store.put(rest);
    if !ids.is_empty() {
        let mut read = Vec::new();
        let place = Place::stream_root(ids.len() as u64 * 10).unwrap();
        store.walk(root, &place, &mut read).unwrap();
        assert!(read.iter().map(|entry| entry.id).eq(ids.iter().map(|id| Some(*id))));
    }
    (root, store)
}

/// The rule of the format, literally.
fn naive_stream(ids: &[Id]) -> Id {
    fn cut<T: Copy>(entries: &[T], id: impl Fn(&T) -> Id) -> Vec<Vec<T>> {
        let mut pages = vec![Vec::new()];
        for entry in entries {
            let page = pages.last_mut().unwrap();
            page.push(*entry);
            if page.len() == 256 || page.len() >= 16 && id(entry).0[31] < 4 {
                pages.push(Vec::new());
            }
        }
        pages.retain(|page| !page.is_empty());
        pages
    }
    let leaves: Vec<_> = ids.iter().map(|id| LeafEntry { len: 10, id: Some(*id) }).collect();
    let inner = |bytes: Vec<u8>, span| InnerEntry { span, id: key().page_id(&bytes) };
    let mut level: Vec<_> = cut(&leaves, |leaf| leaf.id.unwrap())
        .iter()
        .map(|page| inner(encode_leaf(page).unwrap(), 10 * page.len() as u64))
        .collect();
    let mut number = 0;
    while level.len() > 1 {
        number += 1;
        level = cut(&level, |entry| entry.id)
            .iter()
            .map(|page| inner(encode_inner(number, page).unwrap(), page.iter().map(|e| e.span).sum()))
            .collect();
    }
    level.first().map_or(Id::ZERO, |root| root.id)
}

#[test]
fn stream_maps_are_those_of_the_rule() {
    for count in (0..40).chain([255, 256, 257, 700, 5000, 30_000]) {
        let ids: Vec<Id> = (0..count).map(chunk_id).collect();
        let (root, _) = build_stream(&ids);
        assert_eq!(root, naive_stream(&ids), "{count} chunks");
        assert_eq!(root.is_zero(), count == 0);
    }
    // No id closes early, and every id does: the two extremes of the rule.
    for last in [255, 0] {
        let ids: Vec<Id> = (0..5000u64)
            .map(|n| {
                let mut id = chunk_id(n);
                id.0[31] = last;
                id
            })
            .collect();
        assert_eq!(build_stream(&ids).0, naive_stream(&ids));
    }
}

#[test]
fn an_insertion_changes_few_pages_of_a_stream() {
    let mut ids: Vec<Id> = (0..20_000).map(chunk_id).collect();
    let (_, before) = build_stream(&ids);
    ids.insert(5, chunk_id(1 << 40));
    let (_, after) = build_stream(&ids);
    let new = after.0.keys().filter(|id| !before.0.contains_key(id)).count();
    assert!(before.0.len() > 200 && new <= 12, "{new} new of {} pages", after.0.len());
}

#[test]
fn golden_maps() {
    let kinds: Vec<u8> = (0..66).map(|n| (n % 3) as u8).collect();
    let (root, store, _) = build_volume(&kinds, 66 * SEGMENT_LEN - 5000, false);
    golden::check("map_volume_root", &[&root.0[..], &store.0[&root]].concat());
    let (leaf, leaf_store, _) = build_volume(&[1], SEGMENT_LEN - 1, false);
    golden::check("map_volume_leaf", &[&leaf.0[..], &leaf_store.0[&leaf]].concat());
    let ids: Vec<Id> = (0..300).map(chunk_id).collect();
    let (root, store) = build_stream(&ids);
    golden::check("map_stream_root", &[&root.0[..], &store.0[&root]].concat());
}

#[test]
fn pages_that_do_not_fit_their_place_are_refused() {
    let place = Place::volume_root(SEGMENT_LEN, 2 * SEGMENT_LEN).unwrap();
    let id = chunk_id(1);
    let entry = |span, id| InnerEntry { span, id };
    let good = [entry(SEGMENT_LEN, id), entry(SEGMENT_LEN, Id::ZERO)];
    assert!(place.parse(&encode_inner(1, &good).unwrap()).is_ok());
    let bad: [&[InnerEntry]; 5] = [
        &good[..1],
        &[],
        &[entry(SEGMENT_LEN, Id::ZERO), entry(SEGMENT_LEN, Id::ZERO)],
        &[entry(SEGMENT_LEN - 1, id), entry(SEGMENT_LEN + 1, id)],
        &[entry(u64::MAX, id), entry(u64::MAX, id)],
    ];
    for entries in bad {
        assert!(place.parse(&encode_inner(1, entries).unwrap()).is_err(), "{entries:?}");
    }
    assert!(place.parse(&encode_inner(2, &good).unwrap()).is_err(), "level");
    let mut page = encode_inner(1, &good).unwrap();
    assert!(place.parse(&page[..page.len() - 1]).is_err());
    page.push(0);
    assert!(place.parse(&page).is_err());
    page[0] |= 0x10;
    assert_eq!(place.parse(&page).unwrap_err().kind(), crate::ErrorKind::Unsupported);

    let leaf = Place::volume_root(SEGMENT_LEN, SEGMENT_LEN).unwrap();
    let chunk = |len, n: Option<u64>| LeafEntry { len, id: n.map(chunk_id) };
    assert!(leaf.parse(&encode_leaf(&[chunk(16384, Some(1))]).unwrap()).is_ok());
    for entries in [
        vec![chunk(16384, None)],
        vec![chunk(16383, Some(1))],
        vec![chunk(100, Some(1)), chunk(16284, Some(2))],
        vec![],
    ] {
        assert!(leaf.parse(&encode_leaf(&entries).unwrap()).is_err(), "{entries:?}");
    }
    assert!(encode_leaf(&[chunk(0, Some(1))]).is_err());
    assert!(encode_leaf(&[LeafEntry { len: 5, id: Some(Id::ZERO) }]).is_err());
    assert!(encode_leaf(&[chunk((4 << 20) + 1, Some(1))]).is_err());
    assert!(encode_leaf(&[chunk(1 << 31, None)]).is_err());
    assert!(Place::volume_root(SEGMENT_LEN, 0).is_err() && Place::stream_root(0).is_err());
    assert!(Place::volume_root(4096, u64::MAX).is_err(), "too many segments");
    assert!(Place::volume_root(100, 100).is_err());

    let stream = Place::stream_root(20).unwrap();
    assert!(stream.parse(&encode_leaf(&[chunk(10, Some(1)), chunk(10, None)]).unwrap()).is_err(), "hole");
    assert!(stream.parse(&encode_inner(1, &[entry(20, id)]).unwrap()).is_err(), "one child");
    let late = vec![chunk(1, Some(1)); 257];
    assert!(Place::stream_root(257).unwrap().parse(&encode_leaf(&late).unwrap()).is_err());
}

#[test]
fn builders_refuse_what_does_not_fit() {
    let mut builder = VolumeMapBuilder::new(key(), SEGMENT_LEN, SEGMENT_LEN + 1).unwrap();
    assert!(builder.push_segment(&[LeafEntry { len: 5, id: None }]).is_err());
    builder.push_page(Id::ZERO).unwrap();
    assert_eq!(builder.next_span(), 1);
    builder.push_segment(&[LeafEntry { len: 1, id: Some(chunk_id(1)) }]).unwrap();
    assert!(builder.push_page(Id::ZERO).is_err());
    let mut builder = VolumeMapBuilder::new(key(), SEGMENT_LEN, 130 * SEGMENT_LEN).unwrap();
    assert!(builder.push_subtree(1, 63 * SEGMENT_LEN, chunk_id(1)).is_err(), "not all of it");
    assert!(
        builder.push_subtree(0, 0, chunk_id(1)).is_err() && builder.push_subtree(15, 1, chunk_id(1)).is_err()
    );
    builder.push_subtree(1, 64 * SEGMENT_LEN, chunk_id(1)).unwrap();
    builder.push_page(chunk_id(2)).unwrap();
    assert!(builder.push_subtree(1, 64 * SEGMENT_LEN, chunk_id(3)).is_err(), "begins elsewhere");
    let mut builder = VolumeMapBuilder::new(key(), SEGMENT_LEN, SEGMENT_LEN + 1).unwrap();
    builder.push_page(Id::ZERO).unwrap();
    builder.push_page(Id::ZERO).unwrap();
    assert!(builder.finish().is_ok());
    assert!(VolumeMapBuilder::new(key(), SEGMENT_LEN, 1).unwrap().finish().is_err());
    assert!(StreamMapBuilder::new(key()).push_chunk(0, chunk_id(1)).is_err());
    assert_eq!(format!("{:?}", key()), "PageKey(Secret(..))");
}
