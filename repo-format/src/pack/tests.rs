use super::*;
use crate::compress::{Compressor, Decompressor};
use crate::kdf::Secret;
use crate::record::{Compression, KeyRow, PlainRecord, RecordType, SessionKey};
use crate::{Error, ErrorKind, Id, KeyId, PackId, RepoId, SnapshotId, golden, limits};
use proptest::prelude::*;

const REPO: RepoId = RepoId([1; 16]);
const PACK: PackId = PackId([0xaa; 16]);
const SID: SnapshotId = SnapshotId([0xbb; 16]);

fn s_d() -> Secret {
    Secret::new([7; 32])
}

fn context<'a>(s_d: &'a Secret, class: PackClass) -> PackContext<'a> {
    PackContext { s_d, epoch: 0, repo_id: &REPO, class, pack_id: &PACK }
}

fn page_key() -> SessionKey {
    SessionKey::structure(&REPO, 0, &s_d(), KeyId([2; 16])).unwrap()
}

/// A map pack of these contents, with an extension at the first record.
fn pack_of(contents: &[Vec<u8>], level: Option<i32>) -> (Vec<u8>, Trailer) {
    let session = page_key();
    let header = PackHeader { class: PackClass::Map, pack_id: PACK };
    let (mut pack, mut rows, mut len) = (header.encode().to_vec(), Vec::new(), PackLen::new());
    len.add_key(session.row());
    let mut compressor = Compressor::new();
    for (n, content) in contents.iter().enumerate() {
        let plain = PlainRecord { record_type: RecordType::Page, id: Id([n as u8 + 1; 32]), content };
        let sealed = session.record_key().seal(&mut compressor, &plain, level, [n as u8; 12], &mut pack);
        let row = sealed.unwrap().row(RecordType::Page, 0, plain.id);
        len.add_record(row.clen);
        rows.push(row);
    }
    let ext = Ext { row: 0, kind: EXT_BASE, bytes: vec![9; 32] };
    len.add_ext(&ext);
    let trailer = Trailer::new(PackClass::Map, SID, vec![session.row().clone()], rows, vec![ext]).unwrap();
    let mut hasher = BodyHasher::new(&header);
    hasher.update(&pack[HEADER_LEN..]);
    assert_eq!(len.records_end(), pack.len() as u64);
    let end = seal_trailer(&context(&s_d(), PackClass::Map), [8; 24], hasher.finish(), &trailer).unwrap();
    pack.extend_from_slice(&end);
    assert_eq!(len.final_len(), pack.len() as u64);
    (pack, trailer)
}

fn small() -> (Vec<u8>, Trailer) {
    pack_of(&[b"first page".to_vec(), b"second page, ".repeat(9)], None)
}

/// Opens trailer and records, as a reader does that trusts nothing.
fn read_all(pack: &[u8], s_d: &Secret) -> crate::Result<Vec<Vec<u8>>> {
    let opened = open_trailer(&context(s_d, PackClass::Map), pack, pack.len() as u64)?;
    let OpenTrailer::Done(trailer, _) = opened else { panic!("the whole pack was given") };
    let (mut out, mut contents) = (Vec::new(), Vec::new());
    for (n, row) in trailer.rows().iter().enumerate() {
        let range = trailer.range(n).unwrap();
        let key = trailer.key_of(row).unwrap().open_structure(&REPO, s_d)?;
        let sealed = &pack[range.start as usize..range.end as usize];
        key.open(row, sealed, &mut Decompressor::new(), &mut out)?;
        contents.push(out.clone());
    }
    Ok(contents)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn round_trips(
        contents in prop::collection::vec(prop::collection::vec(0u8..9, 1..300), 1..20),
        level in prop::option::of(1i32..4),
    ) {
        let (pack, trailer) = pack_of(&contents, level);
        prop_assert!(scrub(&pack, PACK).is_ok());
        prop_assert_eq!(read_all(&pack, &s_d()).unwrap(), contents);
        let Ok(OpenTrailer::Done(opened, _)) =
            open_trailer(&context(&s_d(), PackClass::Map), &pack, pack.len() as u64) else { panic!() };
        prop_assert_eq!(opened, trailer);
    }

    #[test]
    fn hostile_trailers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), fill in any::<bool>()) {
        let mut plain = bytes;
        if fill && plain.len() > 20 {
            plain[16] = 0; // no keys, so that the rows are reached
        }
        for class in [PackClass::Data, PackClass::Map, PackClass::Index] {
            if let Ok(trailer) = Trailer::parse(class, &plain) {
                prop_assert_eq!(trailer.encode(), plain.clone());
            }
        }
        let _ = parse_tail(&plain, plain.len() as u64);
        let _ = PackHeader::parse(&plain);
    }
}

#[test]
fn golden_pack() {
    let (pack, _) = small();
    golden::check("pack_map", &pack);
    let contents = read_all(&golden::read("pack_map"), &s_d()).unwrap();
    assert_eq!(contents, [b"first page".to_vec(), b"second page, ".repeat(9)]);
}

#[test]
fn every_flip_is_found_by_scrub_and_by_the_reader() {
    let (pack, _) = small();
    let hash_covered = HEADER_LEN * 8;
    for bit in 0..pack.len() * 8 {
        let mut flipped = pack.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // never taken for a newer version
        assert_eq!(scrub(&flipped, PACK).unwrap_err().kind(), ErrorKind::Damage, "scrub, bit {bit}");
        // Readers do not fetch the header; nothing that they use stands there.
        assert_eq!(read_all(&flipped, &s_d()).is_err(), bit >= hash_covered, "reader, bit {bit}");
    }
}

#[test]
fn whole_packs_of_a_later_version_are_newer() {
    let (pack, trailer) = small();
    let tail_at = trailer.records_end() as usize;
    let footer_at = pack.len() - FOOTER_LEN;
    // fmt, class, flags, epoch, reserved
    for (at, byte) in [(37, 0x81), (38, 9), (39, 1), (40, 1), (43, 1)] {
        let mut changed = pack.clone();
        changed[footer_at + at] = byte;
        let crc = crc32c::crc32c(&changed[tail_at..footer_at + 44]);
        changed[footer_at + 44..footer_at + 48].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(scrub(&changed, PACK).unwrap_err().kind(), ErrorKind::Unsupported, "byte {at}");
        assert_eq!(read_all(&changed, &s_d()).unwrap_err().kind(), ErrorKind::Unsupported, "byte {at}");
    }
}

#[test]
fn every_cut_is_found() {
    let (pack, _) = small();
    for len in 0..pack.len() {
        assert!(scrub(&pack[..len], PACK).is_err(), "front {len}");
        assert!(scrub(&pack[pack.len() - len..], PACK).is_err(), "back {len}");
        assert!(read_all(&pack[..len], &s_d()).is_err(), "front {len}");
        assert!(read_all(&pack[pack.len() - len..], &s_d()).is_err(), "back {len}");
    }
    assert!(scrub(&[&pack[..], b"x"].concat(), PACK).is_err());
}

#[test]
fn a_tail_that_is_too_short_says_what_it_needs() {
    let (pack, trailer) = small();
    let pack_len = pack.len() as u64;
    let ask = |len: u64| parse_tail(&pack[(pack_len - len) as usize..], pack_len).unwrap();
    assert_eq!(ask(0), TailParse::NeedTail(56));
    assert_eq!(ask(55), TailParse::NeedTail(56));
    let TailParse::NeedTail(needed) = ask(56) else { panic!() };
    assert_eq!(needed, pack_len - trailer.records_end());
    assert_eq!(ask(needed - 1), TailParse::NeedTail(needed));
    assert!(matches!(ask(needed), TailParse::Footer(_)));
    assert!(matches!(ask(pack_len), TailParse::Footer(_)));
    assert!(parse_tail(&pack, pack_len - 1).is_err());
    assert!(parse_tail(&pack, limits::PACK_LEN_MAX + 1).is_err());
}

#[test]
fn keys_names_and_classes_are_bound() {
    let (pack, _) = small();
    let (right, wrong) = (s_d(), Secret::new([8; 32]));
    let kind =
        |context: &PackContext<'_>| open_trailer(context, &pack, pack.len() as u64).unwrap_err().kind();
    assert_eq!(kind(&context(&wrong, PackClass::Map)), ErrorKind::WrongKey);
    assert_eq!(kind(&context(&right, PackClass::Index)), ErrorKind::Damage);
    let base = context(&right, PackClass::Map);
    assert_eq!(kind(&PackContext { pack_id: &PackId([1; 16]), ..base }), ErrorKind::WrongKey);
    assert_eq!(kind(&PackContext { repo_id: &RepoId([2; 16]), ..base }), ErrorKind::WrongKey);
    assert!(scrub(&pack, PackId([1; 16])).is_err());
    let grown = open_trailer(&base, &pack, pack.len() as u64 + 1);
    assert!(matches!(grown, Err(Error::Unexpected { what: "pack length", .. })), "{grown:?}");
}

#[test]
fn tables_that_do_not_add_up_are_refused() {
    let (_, good) = small();
    let (keys, row) = (good.keys().to_vec(), good.rows()[0]);
    let make = |keys: Vec<KeyRow>, row: Row, exts| Trailer::new(PackClass::Map, SID, keys, vec![row], exts);
    assert!(make(keys.clone(), row, vec![]).is_ok());
    let zstd = Row { comp: Compression::Zstd, ..row };
    let rows = [
        Row { record_type: RecordType::Data, ..row },
        Row { record_type: RecordType::Entries, ..row },
        Row { key: 1, ..row },
        Row { rlen: 0, ..row },
        Row { rlen: row.rlen + 1, ..row },
        Row { clen: row.clen + 1, ..row },
        zstd,
        Row { clen: 28, ..zstd },
        Row { clen: u32::MAX, rlen: limits::RECORD_PLAIN_LEN_MAX + 1, ..row },
    ];
    for bad in rows {
        assert!(make(keys.clone(), bad, vec![]).is_err(), "{bad:?}");
    }
    let ext = |row, kind, len| vec![Ext { row, kind, bytes: vec![0; len] }];
    assert!(make(keys.clone(), row, ext(0, 2, 5)).is_ok());
    for bad in [ext(1, 2, 5), ext(0, 128, 5), ext(0, EXT_BASE, 5), ext(0, 2, 65_536)] {
        assert!(make(keys.clone(), row, bad).is_err());
    }
    let twice = vec![keys[0].clone(), keys[0].clone()];
    assert!(make(twice, row, vec![]).is_err());
    let foreign = KeyRow { alg: 1, wrap: vec![0; 80], ..keys[0].clone() };
    assert!(make(vec![foreign], row, vec![]).is_err());
    let long = KeyRow { wrap: vec![0; 1], ..keys[0].clone() };
    assert!(make(vec![long], row, vec![]).is_err());
    assert!(Trailer::new(PackClass::Map, SID, keys.clone(), vec![], vec![]).is_err());
    let huge = Row { rlen: 4 << 20, clen: (4 << 20) + 28, ..row };
    assert!(Trailer::new(PackClass::Map, SID, keys.clone(), vec![huge; 16], vec![]).is_err());
    assert!(Trailer::new(PackClass::Map, SID, keys, vec![row; 65_537], vec![]).is_err());
}

#[test]
fn a_pack_is_closed_before_it_passes_its_target() {
    let session = page_key();
    let mut len = PackLen::new();
    assert!(len.fits(1000, Some(session.row()), 10), "an empty pack takes any record");
    len.add_key(session.row());
    while len.fits(1000, None, 100_000) {
        len.add_record(1000);
    }
    assert!(len.final_len() <= 100_000);
    len.add_record(1000);
    assert!(len.final_len() > 100_000);
    let mut many = PackLen::new();
    (0..limits::PACK_ROW_COUNT_MAX).for_each(|_| many.add_record(29));
    assert!(!many.fits(29, None, u64::MAX));
}

#[test]
fn scrub_takes_parts() {
    let (pack, _) = small();
    let Ok(TailParse::Footer(footer)) = parse_tail(&pack, pack.len() as u64) else { panic!() };
    for step in [1, 7, 31, 32, 33, 1000] {
        let mut scrubber = Scrubber::new(footer, pack.len() as u64, PACK).unwrap();
        let body_len = scrubber.body_len() as usize;
        pack[..body_len].chunks(step).for_each(|part| scrubber.update(part));
        assert!(scrubber.finish().is_ok());
    }
}
