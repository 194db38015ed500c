//! The chunker of streams: FastCDC 2020 with a keyed gear table, for bytes without a grid.
//!
//! # The rule
//! With `b` the bytes not yet cut, as far as the stream goes, and `n` the smaller of their count and 262,144:
//! if n <= 16,384, all n are the chunk. Else let h = 0 and, for i = 16,384, 16,385, ... while i is below n
//! rounded down to an even number: h = 2 h + `gear[b[i]]` mod 2^64; if h & mask = 0 the chunk is the first i bytes
//! (byte i, although hashed, begins the next one), where mask is [`MASK_SMALL`] for i < 65,536 and
//! [`MASK_LARGE`] from there. If no i matches, the chunk is the first n bytes.
//!
//! This is what `fastcdc::v2020::cut_gear` computes two bytes at a time; the tests hold it to the rule above.
//! Unlike those of volumes these cuts are no pseudo-random function of the key: who sees many chunk lengths
//! of known content could learn the table. Lengths are kept sealed for that reason.

use core::fmt;

use fastcdc::v2020::cut_gear;
use zeroize::ZeroizeOnDrop;

/// Bytes of the shortest chunk but a stream's last.
pub const MIN_LEN: usize = 16 * 1024;

/// Bytes from which on cuts are more likely (one byte in 2^14 instead of 2^18): lengths gather around it.
pub const AVG_LEN: usize = 64 * 1024;

/// Bytes of the longest chunk, and how many a caller must offer before the stream's end.
pub const MAX_LEN: usize = 256 * 1024;

/// Bytes of key material that make the gear table: 256 little-endian u64.
pub const GEAR_LEN: usize = 2048;

/// The bits that must be zero for a cut before [`AVG_LEN`].
pub const MASK_SMALL: u64 = 0x0000_d907_0753_7000;

/// The bits that must be zero for a cut from [`AVG_LEN`] on.
pub const MASK_LARGE: u64 = 0x0000_d903_1353_0000;

/// Cuts one domain's streams; it keeps no state from one cut to the next, so one serves all threads.
#[derive(Clone, ZeroizeOnDrop)]
pub struct StreamChunker {
    gear: Box<[u64; 256]>,
    /// Each entry of `gear` shifted left by one, as `cut_gear` wants it.
    gear_shifted: Box<[u64; 256]>,
}

impl StreamChunker {
    /// Makes the table from key bytes of the domain; who knows it can predict cuts.
    pub fn new(gear: &[u8; GEAR_LEN]) -> Self {
        let mut table = Box::new([0; 256]);
        let mut shifted = Box::new([0; 256]);
        for (i, bytes) in gear.as_chunks().0.iter().enumerate() {
            table[i] = u64::from_le_bytes(*bytes);
            shifted[i] = table[i] << 1;
        }
        Self { gear: table, gear_shifted: shifted }
    }

    /// The length of the chunk at the start of `buf`, which holds the bytes after the last cut.
    ///
    /// `None` asks for more bytes: before the stream's end (`eof`) it takes [`MAX_LEN`] of them to decide, so
    /// that the sizes of reads never move a cut; bytes beyond that are not looked at. At the stream's end
    /// `None` means that nothing is left.
    pub fn next_cut(&self, buf: &[u8], eof: bool) -> Option<usize> {
        if buf.is_empty() || (buf.len() < MAX_LEN && !eof) {
            return None;
        }
        let (_, len) = cut_gear(
            buf,
            MIN_LEN,
            AVG_LEN,
            MAX_LEN,
            MASK_SMALL,
            MASK_LARGE,
            MASK_SMALL << 1,
            MASK_LARGE << 1,
            self.gear.as_slice(),
            self.gear_shifted.as_slice(),
        );
        Some(len)
    }
}

impl fmt::Debug for StreamChunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamChunker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::{Normalization, select_masks};

    #[test]
    fn masks_are_those_of_level_2_at_64_kib() {
        let masks = select_masks(AVG_LEN, Normalization::Level2);
        assert_eq!(masks, (MASK_SMALL, MASK_LARGE));
    }

    #[test]
    fn asks_for_bytes_until_it_can_decide() {
        let chunker = StreamChunker::new(&[0x5a; GEAR_LEN]);
        let bytes = vec![1; MAX_LEN + 1];
        assert_eq!(chunker.next_cut(&[], false), None);
        assert_eq!(chunker.next_cut(&[], true), None);
        assert_eq!(chunker.next_cut(&bytes[..MAX_LEN - 1], false), None);
        assert_eq!(chunker.next_cut(&bytes[..MIN_LEN], true), Some(MIN_LEN));
        assert_eq!(chunker.next_cut(&bytes[..1], true), Some(1));
        let cut = chunker.next_cut(&bytes[..MAX_LEN], false);
        assert!(cut.is_some());
        assert_eq!(chunker.next_cut(&bytes, false), cut);
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", StreamChunker::new(&[0x5a; GEAR_LEN]));
        assert_eq!(text, "StreamChunker { .. }");
    }
}
