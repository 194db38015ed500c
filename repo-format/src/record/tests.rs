use super::*;
use crate::ErrorKind;
use hpke::{Kem as _, Serializable};
use proptest::prelude::*;

const REPO: RepoId = RepoId([1; 16]);

fn content_pair() -> (Secret, [u8; 32]) {
    let (secret, public) = hpke::kem::X25519HkdfSha256::derive_keypair(&[9; 32]);
    let (mut s, mut p) = ([0; 32], [0; 32]);
    s.copy_from_slice(&secret.to_bytes());
    p.copy_from_slice(&public.to_bytes());
    (Secret::new(s), p)
}

fn data_key() -> SessionKey {
    let (_, public) = content_pair();
    let (k, ikm) = (Secret::new([3; 32]), Secret::new([4; 32]));
    SessionKey::data(&REPO, 0, &public, KeyId([2; 16]), &k, &ikm).unwrap()
}

fn sealed(content: &[u8], level: Option<i32>) -> (RecordKey, Row, Vec<u8>) {
    let key = data_key().record_key().clone();
    let plain = PlainRecord { record_type: RecordType::Data, id: Id([5; 32]), content };
    let mut out = Vec::new();
    let sealed = key.seal(&mut Compressor::new(), &plain, level, [6; 12], &mut out).unwrap();
    assert_eq!(sealed.clen as usize, out.len());
    (key, sealed.row(RecordType::Data, 0, plain.id), out)
}

fn open(key: &RecordKey, row: &Row, sealed: &[u8]) -> Result<Vec<u8>> {
    let (mut out, mut copy, mut other) = (vec![1; 7], sealed.to_vec(), Vec::new());
    let opened = key.open(row, sealed, &mut Decompressor::new(), &mut out);
    let again = key.open_in_place(row, &mut copy, &mut Decompressor::new(), &mut other);
    assert_eq!(opened.as_ref().err(), again.as_ref().err());
    if let Ok(again) = again {
        assert_eq!(again, out);
    } else {
        assert!(out.is_empty(), "nothing unverified is left");
    }
    opened.map(|()| out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn round_trips(content in prop::collection::vec(0u8..20, 1..6000), level in prop::option::of(-5i32..8)) {
        let (key, row, bytes) = sealed(&content, level);
        prop_assert_eq!(open(&key, &row, &bytes), Ok(content));
        prop_assert!(level.is_some() || row.comp == Compression::Raw);
    }
}

#[test]
fn appends_and_reuses_its_buffers() {
    let key = data_key().record_key().clone();
    let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
    let (mut pack, mut rows, mut out) = (b"head".to_vec(), Vec::new(), Vec::new());
    let contents: Vec<Vec<u8>> = (1..40u8).map(|n| vec![n; usize::from(n) * 100]).collect();
    for (n, content) in contents.iter().enumerate() {
        let plain = PlainRecord { record_type: RecordType::Data, id: Id([n as u8; 32]), content };
        let level = (n % 3 > 0).then_some(1);
        let done = key.seal(&mut compressor, &plain, level, [n as u8; 12], &mut pack).unwrap();
        assert_eq!(done.comp == Compression::Zstd, level.is_some());
        rows.push(done.row(RecordType::Data, 0, plain.id));
    }
    let mut at = 4;
    for (row, content) in rows.iter().zip(&contents) {
        let end = at + row.clen as usize;
        key.open(row, &pack[at..end], &mut decompressor, &mut out).unwrap();
        assert_eq!(&out, content);
        at = end;
    }
    assert_eq!(at, pack.len());
}

#[test]
fn compression_must_pay() {
    let mut noise = vec![0; 50_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    assert_eq!(sealed(&noise, Some(1)).1.comp, Compression::Raw);
    // 2 % of zeros at the end: libzstd saves something, but less than 3 %.
    noise[49_000..].fill(0);
    assert_eq!(sealed(&noise, Some(1)).1.comp, Compression::Raw);
    noise[45_000..].fill(0);
    assert_eq!(sealed(&noise, Some(1)).1.comp, Compression::Zstd);
}

#[test]
fn every_flip_and_cut_is_found() {
    for level in [None, Some(3)] {
        let (key, row, bytes) = sealed(&b"some content ".repeat(9), level);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key, &row, &flipped), Err(Error::Decrypt { what: WHAT }), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(open(&key, &row, &bytes[..len]).is_err());
            let shorter = Row { clen: len as u32, ..row };
            assert!(open(&key, &shorter, &bytes[..len]).is_err());
        }
    }
}

#[test]
fn what_the_row_says_is_authenticated() {
    let (key, row, bytes) = sealed(&[7; 500], Some(3));
    let other = if row.comp == Compression::Raw { Compression::Zstd } else { Compression::Raw };
    let mut rows = vec![
        Row { record_type: RecordType::Page, ..row },
        Row { comp: other, ..row },
        Row { rlen: row.rlen + 1, ..row },
        Row { rlen: limits::RECORD_PLAIN_LEN_MAX + 1, ..row },
        Row { rlen: 0, ..row },
    ];
    rows.extend((0..32).map(|at| {
        let mut id = row.id;
        id.0[at] ^= 1;
        Row { id, ..row }
    }));
    for bad in rows {
        assert!(open(&key, &bad, &bytes).is_err(), "{bad:?}");
    }
    assert!(open(&key, &Row { key: 9, ..row }, &bytes).is_ok(), "the key's number is no identity");
}

#[test]
fn keys_open_only_their_own_rows() {
    let (secret, _) = content_pair();
    let session = data_key();
    assert!(session.row().open_data(&REPO, &secret).is_ok());
    let wrong = Secret::new([8; 32]);
    let kind = |opened: Result<RecordKey>| opened.unwrap_err().kind();
    assert_eq!(kind(session.row().open_data(&REPO, &wrong)), ErrorKind::WrongKey);
    assert_eq!(kind(session.row().open_data(&RepoId([2; 16]), &secret)), ErrorKind::WrongKey);
    assert_eq!(kind(session.row().open_structure(&REPO, &wrong)), ErrorKind::Damage, "alg");
    let unknown = KeyRow { alg: 3, ..session.row().clone() };
    assert_eq!(kind(unknown.open_data(&REPO, &secret)), ErrorKind::Unsupported);

    let s_d = Secret::new([7; 32]);
    let session = SessionKey::structure(&REPO, 0, &s_d, KeyId([2; 16])).unwrap();
    assert!(session.row().wrap.is_empty());
    assert!(session.row().open_structure(&REPO, &s_d).is_ok());
    assert_eq!(kind(session.row().open_structure(&REPO, &wrong)), ErrorKind::WrongKey);
    let later = SessionKey::structure(&REPO, 2, &s_d, KeyId([2; 16])).unwrap();
    assert_eq!(kind(later.row().open_structure(&REPO, &s_d)), ErrorKind::Unsupported);
}

#[test]
fn every_flip_of_a_key_row_is_found() {
    let (secret, _) = content_pair();
    let good = data_key().row().clone();
    for bit in 0..good.wrap.len() * 8 {
        let mut row = good.clone();
        row.wrap[bit / 8] ^= 1 << (bit % 8);
        // X25519 ignores the top bit of a public key, but HPKE hashes the key's bytes.
        assert!(row.open_data(&REPO, &secret).is_err(), "bit {bit}");
    }
    for bit in 0..256 {
        let mut row = good.clone();
        row.commit[bit / 8] ^= 1 << (bit % 8);
        assert!(row.open_data(&REPO, &secret).is_err(), "bit {bit}");
    }
}

#[test]
fn refuses_what_cannot_be_written() {
    let (k, ikm) = (Secret::new([3; 32]), Secret::new([4; 32]));
    let zero = SessionKey::data(&REPO, 0, &[0; 32], KeyId([2; 16]), &k, &ikm);
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::Invalid, "a point of low order");
    let key = data_key().record_key().clone();
    let long = vec![0; limits::RECORD_PLAIN_LEN_MAX as usize + 1];
    let mut out = b"kept".to_vec();
    for content in [&[][..], &long] {
        let plain = PlainRecord { record_type: RecordType::Data, id: Id([5; 32]), content };
        assert!(key.seal(&mut Compressor::new(), &plain, None, [6; 12], &mut out).is_err());
        assert_eq!(out, b"kept");
    }
}

#[test]
fn debug_shows_no_secret() {
    let session = data_key();
    assert_eq!(format!("{:?}", session.record_key()), "RecordKey(..)");
    let text = format!("{session:?}");
    assert!(!text.contains("[3, 3, 3") && text.contains("RecordKey(..)"), "{text}");
}

#[test]
fn golden_record() {
    let (secret, _) = content_pair();
    let (_, row, sealed) = sealed(b"a chunk", None);
    let session = data_key();
    let key = session.row();
    crate::golden::check("record_data", &[&key.commit, key.wrap.as_slice(), &sealed].concat());
    let stored = crate::golden::read("record_data");
    let (commit, rest) = stored.split_first_chunk::<32>().unwrap();
    let key = KeyRow { commit: *commit, wrap: rest[..80].to_vec(), ..key.clone() };
    assert_eq!(open(&key.open_data(&REPO, &secret).unwrap(), &row, &rest[80..]), Ok(b"a chunk".to_vec()));
}
