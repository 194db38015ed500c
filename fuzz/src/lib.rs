//! What the targets share: keys that never change, and seals around bytes that a fuzzer chose.
//!
//! A parser behind a cipher is fuzzed with plaintexts: the input is sealed here as somebody with the key would, so
//! that every mutation reaches the parser instead of failing at a tag. The keys are those of the golden files.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use repo_format::kdf::{Secret, derive_committed};
use repo_format::pack::{FOOTER_LEN, PackClass, PackContext};
use repo_format::padme::padded_len;
use repo_format::record::{KeyRow, SessionKey};
use repo_format::sealed::{Binding, Class};
use repo_format::{KeyId, PackId, RepoId};

/// The repository of the golden packs.
pub const PACK_REPO: RepoId = RepoId([1; 16]);
/// The golden pack.
pub const PACK: PackId = PackId([0xaa; 16]);
/// What the golden sealed object is.
pub const SNAPSHOT: Binding<'static> = Binding {
    repo_id: RepoId([9; 16]),
    class: Class::Snapshot,
    name: "snapshots/0123456789abcdef0123456789abcdef",
};

/// A key of 32 equal bytes.
pub fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

/// `plain` and its tag under a key, as one buffer.
pub fn seal(key: &Secret, nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = plain.to_vec();
    let cipher = Aes256Gcm::new(&(*key.expose()).into());
    let tag = cipher.encrypt_inout_detached(&nonce.into(), aad, out.as_mut_slice().into());
    out.extend_from_slice(&tag.expect("fuzz inputs are short"));
    out
}

/// A sealed object over any plaintext, lengths and padding included.
pub fn sealed_object(plain: &[u8]) -> Vec<u8> {
    let (salt, epoch) = ([6; 22], 0u16.to_le_bytes());
    let Binding { repo_id, class, name } = SNAPSHOT;
    let key = secret(5);
    let material: [&[u8]; 6] =
        [key.expose(), &epoch, &[class as u8], repo_id.as_bytes(), &salt, name.as_bytes()];
    let okm = derive_committed("sealed object", &material);
    let mut object = b"ORO1\x03\x00\x01\x80\x00\x00".to_vec();
    object.extend_from_slice(&salt);
    object.extend_from_slice(&okm.commit);
    let aad = [&object[..], repo_id.as_bytes(), name.as_bytes()].concat();
    object.extend(seal(&okm.key, [0; 12], &aad, plain));
    object
}

/// Where the golden pack lies.
pub fn pack_context(s_d: &Secret, class: PackClass) -> PackContext<'_> {
    PackContext { s_d, epoch: 0, repo_id: &PACK_REPO, class, pack_id: &PACK }
}

/// The trailer and footer of a pack, over any table; the padding is added.
pub fn pack_tail(class: PackClass, table: &[u8]) -> Vec<u8> {
    let (salt, s_d) = ([8; 24], secret(7));
    let mut plain = table.to_vec();
    plain.resize(padded_len(plain.len() as u64) as usize, 0);
    let trailer_len = (plain.len() + 24 + 32 + 16) as u32;
    let mut footer = vec![0; 32];
    footer.extend_from_slice(&trailer_len.to_le_bytes());
    footer.extend_from_slice(&[0x01, 0x00, class as u8, 0, 0, 0, 0, 0]);
    let epoch = 0u16.to_le_bytes();
    let material: [&[u8]; 6] = [s_d.expose(), &epoch, &[class as u8], &PACK_REPO.0, &salt, &PACK.0];
    let okm = derive_committed("pack trailer", &material);
    let aad = [&b"ORT1"[..], &PACK_REPO.0, &PACK.0, &footer].concat();
    let mut out = salt.to_vec();
    out.extend_from_slice(&okm.commit);
    out.extend(seal(&okm.key, [0; 12], &aad, &plain));
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), &footer);
    out.extend(footer);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(b"ORLEND1\0");
    debug_assert_eq!(out.len(), trailer_len as usize + FOOTER_LEN);
    out
}

/// A session key of map records, its row, and the bare AES key of both.
pub fn record_key() -> (SessionKey, KeyRow, Secret) {
    let (s_d, key_id) = (secret(7), KeyId([2; 16]));
    let session = SessionKey::structure(&PACK_REPO, 0, &s_d, key_id).expect("a constant key");
    let row = session.row().clone();
    let epoch = 0u16.to_le_bytes();
    let k = repo_format::kdf::derive("structure key", &[s_d.expose(), &epoch, &key_id.0]);
    let okm = derive_committed("record key", &[k.expose(), &PACK_REPO.0, &key_id.0]);
    assert_eq!(okm.commit, row.commit);
    (session, row, okm.key)
}
