use super::*;
use crate::pack::PackClass;
use crate::record::RecordType;
use crate::{Id, PackId, Result, SnapshotId, golden, limits};
use proptest::prelude::*;

type Records = Vec<(RecordType, Id, Vec<u8>)>;

fn id(n: u64) -> Id {
    Id(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn pack(n: u32) -> PackRow {
    let mut pack_id = PackId([0x11; 16]);
    pack_id.0[..4].copy_from_slice(&n.to_le_bytes());
    let class = if n.is_multiple_of(3) { PackClass::Map } else { PackClass::Data };
    PackRow { pack_id, size: 5000 + n, trailer_len: 300, class, sid: SnapshotId([0x22; 16]) }
}

fn builder(packs: u32, entries: u64) -> RunBuilder {
    let mut builder = RunBuilder::new();
    (0..packs).for_each(|n| assert_eq!(builder.add_pack(pack(n)).unwrap(), n));
    for n in 0..entries {
        builder.add_entry(&id(n), (n % u64::from(packs)) as u32, 29 + n as u32).unwrap();
    }
    builder
}

fn records(builder: RunBuilder) -> Records {
    let plain = builder.encode(3).unwrap();
    plain.into_iter().map(|record| (record.record_type, record.id, record.content)).collect()
}

#[test]
fn round_trips() {
    for (packs, entries) in [(1, 1), (2, 178), (3, 179), (1024, 5000), (1025, 2000), (2500, 2500)] {
        let run = parse_run(&records(builder(packs, entries))).unwrap();
        assert_eq!((run.head.built, run.head.entry_count, run.head.pack_count), (3, entries, packs));
        assert!(run.packs.iter().copied().eq((0..packs).map(pack)));
        assert!(run.entries.is_sorted());
        for n in 0..entries {
            let want = Entry { id: id(n).short(), pack: (n % u64::from(packs)) as u32, clen: 29 + n as u32 };
            assert_eq!(run.find(&id(n)), [want]);
        }
        assert_eq!(run.find(&id(entries)), []);
    }
}

/// All records of a run given to [`RunBlocks`] one after the other; how many entries it appended at once at most.
fn read_blocks(records: &Records) -> Result<(RunBlocks, Vec<Entry>, usize)> {
    let (_, head_id, head) = records.last().unwrap();
    let of = |wanted| records.iter().filter(move |(record_type, _, _)| *record_type == wanted);
    let parts = of(RecordType::PackTable).map(|(_, id, part)| (id, part.as_slice()));
    let mut blocks = RunBlocks::new(records.iter().map(|(t, _, _)| *t), (head_id, head), parts)?;
    let (mut entries, mut part, mut most) = (Vec::new(), Vec::new(), 0);
    for (_, id, block) in of(RecordType::Entries) {
        blocks.read(id, block, &mut part)?;
        most = most.max(part.len());
        entries.append(&mut part);
    }
    blocks.finish()?;
    Ok((blocks, entries, most))
}

#[test]
fn runs_are_read_block_by_block() {
    for entries in [1, 178, 179, 5000] {
        let records = records(builder(3, entries));
        let whole = parse_run(&records).unwrap();
        let (blocks, found, most) = read_blocks(&records).unwrap();
        assert_eq!((blocks.head(), blocks.packs(), found), (&whole.head, &whole.packs[..], whole.entries));
        assert!(most <= ENTRIES_PER_BLOCK);
    }
}

#[test]
fn a_run_that_ends_early_is_not_whole() {
    let run = records(builder(3, 5000));
    for missing in [0, 14, 28] {
        let mut run = run.clone();
        run.remove(missing);
        assert!(read_blocks(&run).is_err(), "block {missing} of 29");
    }
    let (mut blocks, mut entries) = (read_blocks(&run).unwrap().0, Vec::new());
    assert!(blocks.read(&run[0].1, &run[0].2, &mut entries).is_err(), "more than the head promises");
    assert_eq!(entries, []);
}

#[test]
fn several_locations_are_kept_and_repetitions_are_not() {
    let mut builder = builder(3, 5);
    for pack in [2, 0, 2, 1] {
        builder.add_entry(&id(99), pack, 77).unwrap();
    }
    let run = parse_run(&records(builder)).unwrap();
    assert_eq!(run.find(&id(99)).iter().map(|entry| entry.pack).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn golden_run() {
    let mut bytes = Vec::new();
    for (record_type, id, content) in records(builder(2, 180)) {
        bytes.push(record_type as u8);
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&content);
    }
    golden::check("index_run", &bytes);
}

fn refused(change: impl FnOnce(&mut Records)) -> bool {
    let mut run = records(builder(1025, 400));
    assert!(parse_run(&run).is_ok());
    change(&mut run);
    parse_run(&run).is_err()
}

#[test]
fn runs_that_do_not_add_up_are_refused() {
    // 3 blocks, filter, 2 parts, head
    assert!(refused(|run| run.swap(0, 1)), "blocks not sorted");
    assert!(refused(|run| run.swap(2, 4)), "order of types");
    assert!(refused(|run| run.swap(4, 5)), "order of parts");
    for at in [0, 1, 2, 4, 5, 6] {
        assert!(refused(|run| drop(run.remove(at))), "record {at} missing");
        assert!(refused(|run| run.insert(at, run[at].clone())), "record {at} twice");
        assert!(refused(|run| run[at].1.0[20] ^= 1), "id of record {at}");
        assert!(refused(|run| run[at].2.push(0)), "record {at} longer");
        assert!(refused(|run| assert!(run[at].2.pop().is_some())), "record {at} shorter");
        assert!(refused(|run| run[at].2.clear()), "record {at} empty");
    }
    assert!(refused(|run| run[0].0 = RecordType::Data));
    assert!(refused(|run| run[0].2[16..20].copy_from_slice(&1025u32.to_le_bytes())), "pack number");
    assert!(refused(|run| run[0].2[20..23].copy_from_slice(&[28, 0, 0])), "clen");
    assert!(refused(|run| run[0].2[20..23].copy_from_slice(&[255, 255, 255])), "clen");
    assert!(refused(|run| run[4].2.copy_within(0..16, 40)), "a pack twice");
    assert!(refused(|run| run[4].2[23] = 3), "a run as pack");
    assert!(refused(|run| run[4].2[16..20].fill(0xff)), "size");
    assert!(refused(|run| run[6].2[20] ^= 1), "lowest");
    assert!(refused(|run| run[6].2[8..16].fill(0xff)), "entry count");
    assert!(refused(|run| run[6].2[16..20].fill(0xff)), "pack count");
    assert!(parse_run::<Vec<u8>>(&[]).is_err());
}

#[test]
fn filters_are_skipped_in_their_place() {
    let mut run = records(builder(2, 400));
    let whole = parse_run(&run).unwrap();
    assert_eq!(run[3].0, RecordType::Filter);
    let filter = run.remove(3);
    assert_eq!(parse_run(&run), Ok(whole), "a run of an older writer has none");
    assert!(refused(|run| run.insert(1, filter.clone())));
    assert!(refused(|run| run.insert(6, filter)));
}

/// What a part says of an id, which it must say, too, if its codes lie elsewhere.
fn may_have(part: &FilterPart, id: &[u8; 16]) -> bool {
    let (frame, codes) = part.split();
    let elsewhere = frame.codes_of(id).is_some_and(|one| one.may_have(&codes[one.range.clone()]));
    assert_eq!(elsewhere, part.may_have(id));
    elsewhere
}

/// Filter parts of a run.
fn filter(records: &Records) -> Vec<(Id, Vec<u8>)> {
    let parts = records.iter().filter(|(record_type, ..)| *record_type == RecordType::Filter);
    parts.map(|(_, id, part)| (*id, part.clone())).collect()
}

/// The filter of entries that come a thousand at a time.
fn rebuilt(entries: &[Entry]) -> Vec<(Id, Vec<u8>)> {
    let (mut parts, mut held, mut rest) = (Vec::new(), Vec::new(), entries);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(1000));
        held.extend_from_slice(now);
        rest = later;
        while let Some((part, used)) = next_filter_part(&held, rest.is_empty()) {
            parts.push(part);
            held.drain(..used);
        }
    }
    parts
}

#[test]
fn filters_know_every_id_and_hardly_another() {
    let part_max = limits::FILTER_PART_ID_COUNT_MAX as u64;
    for count in [1, 2, 63, 64, 65, 1000, part_max, part_max + 1, 3 * part_max] {
        let records = records(builder(1, count));
        let parts = filter(&records);
        assert_eq!(parts.len() as u64, count.div_ceil(part_max));
        assert_eq!(parts, rebuilt(&parse_run(&records).unwrap().entries));
        let parsed: Vec<_> =
            parts.iter().map(|(id, part)| (FilterPart::parse(id, part).unwrap(), id_range(id))).collect();
        let passes = |id: &Id| {
            let in_range = parsed.iter().find(|(_, (first, last))| (first..=last).contains(&&id.short()));
            in_range.is_some_and(|(part, _)| may_have(part, &id.short()))
        };
        assert!((0..count).all(|n| passes(&id(n))), "of {count}");
        let wrong = (count..count + 200_000).filter(|n| passes(&id(*n))).count();
        // 781 expected; a part of few ids covers little of the space
        assert!(wrong < 950 && (count < part_max || wrong > 600), "{wrong} of 200,000 pass by mistake");
        let len: usize = parts.iter().map(|(_, part)| part.len()).sum();
        assert!(count < 1000 || (len * 8) as f64 / (count as f64) < 9.8, "{len} bytes for {count}");
    }
}

#[test]
fn filters_cover_an_id_in_several_packs_once() {
    let mut builder = builder(3, 0);
    let count = limits::FILTER_PART_ID_COUNT_MAX as u64 + 5;
    for (n, pack) in (0..count).flat_map(|n| (0..3).map(move |pack| (n, pack))) {
        builder.add_entry(&id(n), pack, 50).unwrap();
    }
    let records = records(builder);
    let parts = filter(&records);
    let counts: Vec<u32> =
        parts.iter().map(|(id, part)| FilterPart::parse(id, part).unwrap().id_count()).collect();
    assert_eq!(counts, [limits::FILTER_PART_ID_COUNT_MAX as u32, 5]);
    assert_eq!(parts, rebuilt(&parse_run(&records).unwrap().entries));
}

#[test]
fn filters_that_do_not_add_up_are_refused() {
    let records = records(builder(1, 500));
    let (id, part) = filter(&records).remove(0);
    assert!(FilterPart::parse(&id, &part).is_ok());
    for at in 0..20 {
        let mut other = part.clone();
        other[at] ^= 1;
        assert!(FilterPart::parse(&id, &other).is_err(), "byte {at}");
    }
    let mut first = part.clone();
    first[20] ^= 1;
    let long = [part.as_slice(), &[0]].concat();
    for other in [&first, &long, &part[..part.len() - 1].to_vec(), &part[..20].to_vec(), &Vec::new()] {
        assert!(FilterPart::parse(&id, other).is_err());
    }
    let mut none = part[..20].to_vec();
    none[..4].fill(0);
    assert!(FilterPart::parse(&id, &none).is_err(), "no ids");
    none[..4].fill(0xff);
    assert!(FilterPart::parse(&id, &none).is_err(), "too many ids");
    assert!(FilterPart::parse(&Id([7; 32]), &part).is_err());
}

#[test]
fn builders_refuse_what_cannot_be_written() {
    let mut builder = builder(1, 1);
    assert!(builder.add_entry(&id(1), 1, 100).is_err());
    assert!(builder.add_entry(&id(1), 0, 28).is_err());
    assert!(builder.add_pack(PackRow { class: PackClass::Index, ..pack(1) }).is_err());
    assert!(builder.add_pack(PackRow { size: 300, ..pack(1) }).is_err());
    builder.add_pack(pack(0)).unwrap();
    assert!(builder.encode(0).is_err(), "a pack twice");
    assert!(RunBuilder::new().encode(0).is_err(), "empty");
    assert!(RunBuilder::new().fits(limits::RUN_ENTRY_COUNT_MAX as usize));
    assert!(!RunBuilder::new().fits(limits::RUN_ENTRY_COUNT_MAX as usize + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Ids close together, far apart, equal in their first 8 bytes.
    #[test]
    fn filters_of_any_ids_miss_none(ids in prop::collection::btree_set((0u64..40, 0u8..3, 0u32..64), 1..200)) {
        let id = |(a, b, shift): &(u64, u8, u32)| {
            let mut id = Id([*b; 32]);
            id.0[..8].copy_from_slice(&(a << shift).to_be_bytes());
            id
        };
        let mut builder = builder(1, 0);
        for n in &ids {
            builder.add_entry(&id(n), 0, 50).unwrap();
        }
        for (of, part) in filter(&records(builder)) {
            let parsed = FilterPart::parse(&of, &part).unwrap();
            prop_assert!(ids.iter().all(|n| may_have(&parsed, &id(n).short())));
            // and whatever lies there instead of its codes
            let (frame, codes) = parsed.split();
            for one in ids.iter().filter_map(|n| frame.codes_of(&id(n).short())) {
                one.may_have(&vec![0xff; codes.len()]);
                one.may_have(&[]);
            }
            for n in 0..2000u64 {
                may_have(&parsed, &id(&(n, 1, 20)).short());
            }
        }
    }

    #[test]
    fn hostile_filters_never_panic(
        count in 0u32..70_000, low in any::<u64>(), range in any::<u64>(), bits in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let mut of = Id::ZERO;
        of.0[..8].copy_from_slice(&low.to_be_bytes());
        of.0[16..24].copy_from_slice(&low.wrapping_add(range).to_be_bytes());
        for count in [count, (bits.len() * 8 / 10) as u32] {
            let part = [&count.to_le_bytes()[..], &low.to_le_bytes(), &range.to_le_bytes(), &bits].concat();
            if let Ok(part) = FilterPart::parse(&of, &part) {
                prop_assert!(part.may_have(&id_range(&of).0) && part.may_have(&id_range(&of).1));
            }
        }
    }

    #[test]
    fn hostile_records_never_panic(
        records in prop::collection::vec(
            (prop_oneof![Just(RecordType::Entries), Just(RecordType::PackTable), Just(RecordType::RunHead)],
             any::<u8>(), prop::collection::vec(any::<u8>(), 0..120)), 0..4),
    ) {
        let records: Records =
            records.into_iter().map(|(kind, n, content)| (kind, Id([n; 32]), content)).collect();
        let parsed: Result<Run> = parse_run(&records);
        prop_assert!(parsed.is_err());
        for (_, id, content) in &records {
            let _ = FilterPart::parse(id, content);
            let mut out = vec![];
            let _ = parse_entries_block(id, content, u32::MAX, &mut out);
        }
    }
}
