use super::*;
use crate::ErrorKind;
use proptest::prelude::*;

const NAME: &str = "snapshots/0123456789abcdef0123456789abcdef";
const SNAPSHOT: Binding<'static> = Binding { repo_id: RepoId([9; 16]), class: Class::Snapshot, name: NAME };

fn key() -> Secret {
    Secret::new([5; 32])
}

fn object(body: &[u8]) -> Vec<u8> {
    seal(&key(), &SNAPSHOT, 0, [6; SALT_LEN], 3, body).unwrap()
}

/// An object over any plaintext, as an attacker with the key would make it.
fn seal_plain(plain: &[u8]) -> Vec<u8> {
    let derived = SNAPSHOT.derive(&key(), 0, &[6; SALT_LEN]);
    let header = Header { class: Class::Snapshot, epoch: 0, salt: [6; SALT_LEN], commit: derived.commit };
    let mut out = header.encode().to_vec();
    out.extend_from_slice(plain);
    let aad = SNAPSHOT.aad(&header.encode());
    assert!(cipher::seal_in_place(&derived.key, &cipher::ZERO_NONCE, &aad, &mut out, HEADER_LEN));
    with_sum(out)
}

fn with_sum(bytes: Vec<u8>) -> Vec<u8> {
    let sum = sum(&bytes);
    [bytes, sum.to_vec()].concat()
}

/// An object that somebody changed, who made the sum right again.
fn changed(object: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = object[..object.len() - SUM_LEN].to_vec();
    bytes[at] = byte;
    with_sum(bytes)
}

fn plain_of(raw_len: u32, z_len: u32, frame: &[u8], padding: &[u8]) -> Vec<u8> {
    [&raw_len.to_le_bytes(), &z_len.to_le_bytes(), frame, padding].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn round_trips(body in prop::collection::vec(0u8..20, 0..3000), salt: [u8; 22], level in -5i32..20) {
        let object = seal(&key(), &SNAPSHOT, limits::EPOCH, salt, level, &body).unwrap();
        let plain_len = (object.len() - HEADER_LEN - cipher::TAG_LEN - SUM_LEN) as u64;
        prop_assert_eq!(padme::padded_len(plain_len), plain_len);
        let (header, _) = check_sum(&object).unwrap();
        prop_assert_eq!((header.class, header.epoch, header.salt), (Class::Snapshot, limits::EPOCH, salt));
        prop_assert_eq!(open(&key(), &SNAPSHOT, &object).unwrap(), body);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool, summed: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(&[b'O', b'R', b'O', b'1', 3, 0, 0x01, 0x00]);
        }
        let bytes = if summed { with_sum(bytes) } else { bytes };
        prop_assert!(open(&key(), &SNAPSHOT, &bytes).is_err());
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = object(b"the body of a snapshot");
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = open(&key(), &SNAPSHOT, &flipped).unwrap_err();
        // neither another domain's object nor a newer version's
        assert_eq!(error.kind(), ErrorKind::Damage, "bit {bit}: {error}");
        if bit / 8 < good.len() - SUM_LEN {
            let made_right = changed(&good, bit / 8, good[bit / 8] ^ 1 << (bit % 8));
            assert!(open(&key(), &SNAPSHOT, &made_right).is_err(), "bit {bit} with its sum");
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    let good = object(b"the body of a snapshot");
    for len in 0..good.len() {
        assert!(open(&key(), &SNAPSHOT, &good[..len]).is_err(), "{len} bytes");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(open(&key(), &SNAPSHOT, &longer), Err(Error::Mismatch { what: "sealed object sum" }));
    let longer = with_sum([&good[..good.len() - SUM_LEN], &[0]].concat());
    assert_eq!(open(&key(), &SNAPSHOT, &longer), Err(Error::Decrypt { what: WHAT }));
    for len in 0..good.len() - SUM_LEN {
        assert!(open(&key(), &SNAPSHOT, &with_sum(good[..len].to_vec())).is_err(), "{len} bytes and a sum");
    }
}

#[test]
fn key_name_repository_and_class_are_bound() {
    let good = object(b"body");
    let wrong_key = open(&Secret::new([1; 32]), &SNAPSHOT, &good).unwrap_err();
    assert_eq!(wrong_key.kind(), ErrorKind::WrongKey);
    let moved = Binding { name: "snapshots/00", ..SNAPSHOT };
    assert_eq!(open(&key(), &moved, &good).unwrap_err().kind(), ErrorKind::WrongKey);
    let foreign = Binding { repo_id: RepoId([8; 16]), ..SNAPSHOT };
    assert_eq!(open(&key(), &foreign, &good).unwrap_err().kind(), ErrorKind::WrongKey);
    let other = Binding { class: Class::Tombstone, ..SNAPSHOT };
    assert_eq!(open(&key(), &other, &good).unwrap_err().kind(), ErrorKind::Damage);
    let relabelled = changed(&good, 4, Class::Tombstone as u8);
    assert_eq!(open(&key(), &other, &relabelled).unwrap_err().kind(), ErrorKind::WrongKey);
}

#[test]
fn header_fields_have_errors_of_their_own() {
    let with =
        |at: usize, byte: u8| open(&key(), &SNAPSHOT, &changed(&object(b"body"), at, byte)).unwrap_err();
    assert_eq!(with(0, b'X').kind(), ErrorKind::Damage);
    assert_eq!(with(4, 10), Error::Unsupported { what: "object class", found: 10 });
    assert_eq!(with(5, 1), Error::Unsupported { what: "sealed object reserved byte", found: 1 });
    assert_eq!(with(6, 2), Error::Unsupported { what: "sealed object fmt", found: 2 });
    assert_eq!(with(8, 1), Error::Unsupported { what: "sealed object epoch", found: 1 });
    assert_eq!(with(40, 0).kind(), ErrorKind::WrongKey, "commit");
}

#[test]
fn padding_and_lengths_are_checked() {
    let mut frame = Vec::new();
    compress::compress_frame(3, b"0123456789", &mut frame).unwrap();
    let z_len = frame.len() as u32;
    let pad = padme::padded_len(8 + u64::from(z_len)) as usize - 8 - frame.len();
    assert!(pad > 0, "a frame whose length needs padding");
    let zeros = vec![0; pad];
    let open = |plain: &[u8]| open(&key(), &SNAPSHOT, &seal_plain(plain));
    assert_eq!(open(&plain_of(10, z_len, &frame, &zeros)), Ok(b"0123456789".to_vec()));
    let mut dirty = zeros.clone();
    dirty[pad - 1] = 1;
    assert!(matches!(open(&plain_of(10, z_len, &frame, &dirty)), Err(Error::Trailing { .. })));
    assert!(open(&plain_of(10, z_len, &frame, &[])).is_err(), "no padding");
    assert!(open(&plain_of(10, z_len, &frame, &vec![0; pad + 2])).is_err(), "too much");
    assert!(open(&plain_of(9, z_len, &frame, &zeros)).is_err(), "other raw_len");
    assert!(open(&plain_of(10, z_len + 1, &frame, &zeros)).is_err(), "other z_len");
    assert!(matches!(open(&plain_of(10, u32::MAX, &frame, &zeros)), Err(Error::Truncated { .. })));
    assert!(matches!(open(&plain_of(u32::MAX, z_len, &frame, &zeros)), Err(Error::TooLarge { .. })));
    assert!(matches!(open(&[0; 7]), Err(Error::Truncated { .. })));
    assert!(open(&[]).is_err());
}

#[test]
fn signed_objects_need_the_signature() {
    let plan = Binding { class: Class::Plan, name: "gc/0000000000000000.plan", ..SNAPSHOT };
    let signer = Secret::new([2; 32]);
    let public = signed::verifying_key(&signer);
    let good = seal_signed(&key(), &signer, &plan, 0, [0; SALT_LEN], 3, b"payload").unwrap();
    assert_eq!(open_signed(&key(), &public, &plan, &good), Ok(b"payload".to_vec()));
    let forger = Secret::new([3; 32]);
    let forged = seal_signed(&key(), &forger, &plan, 0, [0; SALT_LEN], 3, b"payload").unwrap();
    assert_eq!(open_signed(&key(), &public, &plan, &forged), Err(Error::Mismatch { what: "signature" }));
    let refused = seal_signed(&key(), &signer, &SNAPSHOT, 0, [0; SALT_LEN], 3, b"payload").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[test]
fn bytes_are_as_ever() {
    crate::golden::check("sealed", &object(b"golden"));
    assert_eq!(open(&key(), &SNAPSHOT, &crate::golden::read("sealed")), Ok(b"golden".to_vec()));
}
