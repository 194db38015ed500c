//! Bytes that once were written, kept in `tests/golden/*.hex`: encodings must not drift.

use data_encoding::HEXLOWER;

/// Compares with the stored bytes; a mismatch prints the new ones, which nothing writes by itself.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    assert!(read(name) == bytes, "{name} is no longer what it was:\n{}", HEXLOWER.encode(bytes));
}

/// The stored bytes.
pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    HEXLOWER.decode(text.split_whitespace().collect::<String>().as_bytes()).unwrap()
}
