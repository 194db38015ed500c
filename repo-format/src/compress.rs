//! zstd frames in the one shape the format allows, and the probe that decides whether to try.
//!
//! One frame, no dictionary, no checksum (the seal authenticates), content size present and equal
//! to the length stated outside, window at most 8 MiB, nothing after it. The frame header is read
//! here (RFC 8878 section 3.1.1.1) before libzstd sees a byte.

use crate::{Error, Result, limits};
use std::io::Cursor;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx};

const WHAT: &str = "zstd frame";
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Levels above this ask for a window that the format does not allow.
const LEVEL_UNBOUNDED_WINDOW: i32 = 19;
/// Levels are clamped to this range: below is hardly faster, above does not exist.
const LEVEL_MIN: i32 = -7;
const LEVEL_MAX: i32 = 22;

/// A reusable compression context; making one costs far more than compressing a small chunk.
pub struct Compressor {
    context: CCtx<'static>,
    level: Option<i32>,
}

impl Compressor {
    /// A context with no level set yet.
    pub fn new() -> Self {
        Compressor { context: CCtx::create(), level: None }
    }

    /// Appends one frame of `plain` to `out`; levels are clamped to -7 ..= 22.
    ///
    /// Fails with [`Error::TooLarge`] above [`limits::BODY_LEN_MAX`].
    pub fn compress_frame(&mut self, level: i32, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        Error::check_limit(WHAT, plain.len() as u64, limits::BODY_LEN_MAX)?;
        self.set_level(level.clamp(LEVEL_MIN, LEVEL_MAX))?;
        let start = out.len();
        // With the full bound libzstd never has to fall back for want of room.
        out.reserve(zstd_safe::compress_bound(plain.len()));
        let mut cursor = Cursor::new(&mut *out);
        cursor.set_position(start as u64);
        match self.context.compress2(&mut cursor, plain) {
            Ok(_) => Ok(()),
            Err(_) => {
                out.truncate(start);
                Err(Error::Invalid { what: WHAT, rule: "libzstd could not compress" })
            }
        }
    }

    fn set_level(&mut self, level: i32) -> Result<()> {
        if self.level == Some(level) {
            return Ok(());
        }
        let window = if level > LEVEL_UNBOUNDED_WINDOW { limits::ZSTD_WINDOW_LOG_MAX } else { 0 };
        let parameters = [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(window),
            CParameter::ContentSizeFlag(true),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ];
        self.level = None;
        for parameter in parameters {
            if self.context.set_parameter(parameter).is_err() {
                return Err(Error::Invalid { what: WHAT, rule: "libzstd refused a parameter" });
            }
        }
        self.level = Some(level);
        Ok(())
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("level", &self.level).finish_non_exhaustive()
    }
}

/// A reusable decompression context.
pub struct Decompressor {
    context: DCtx<'static>,
    /// Where records decrypt to before they are decompressed; kept between records.
    pub(crate) scratch: Vec<u8>,
}

impl Decompressor {
    /// A fresh context.
    pub fn new() -> Self {
        Decompressor { context: DCtx::create(), scratch: Vec::new() }
    }

    /// Replaces `out` by the content of `frame`, which must be one frame as this format writes
    /// it, with a content of exactly `raw_len` bytes (at most [`limits::BODY_LEN_MAX`]).
    pub fn decompress_frame(&mut self, frame: &[u8], raw_len: u64, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        self.append_frame(frame, raw_len, out)
    }

    /// As [`decompress_frame`](Self::decompress_frame), but appends to `out`, which an error leaves as it was.
    pub(crate) fn append_frame(&mut self, frame: &[u8], raw_len: u64, out: &mut Vec<u8>) -> Result<()> {
        Error::check_limit(WHAT, raw_len, limits::BODY_LEN_MAX)?;
        check_frame(frame, raw_len)?;
        let len = usize::try_from(raw_len).map_err(|_| rule("content does not fit memory"))?;
        let start = out.len();
        out.reserve_exact(len);
        let mut cursor = Cursor::new(&mut *out);
        cursor.set_position(start as u64);
        match self.context.decompress(&mut cursor, frame) {
            Ok(found) if found == len && out.len() == start + len => Ok(()),
            _ => {
                out.truncate(start);
                Err(rule("is damaged, or its content is not as long as stated"))
            }
        }
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// Appends one frame of `plain` to `out` with a context of its own, for bodies written seldom.
pub fn compress_frame(level: i32, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
    Compressor::new().compress_frame(level, plain, out)
}

/// Replaces `out` by the content of `frame`, with a context of its own.
pub fn decompress_frame(frame: &[u8], raw_len: u64, out: &mut Vec<u8>) -> Result<()> {
    Decompressor::new().decompress_frame(frame, raw_len, out)
}

fn rule(rule: &'static str) -> Error {
    Error::Rule { what: WHAT, rule }
}

/// Checks the frame header, and that the frame ends where the bytes end.
fn check_frame(frame: &[u8], raw_len: u64) -> Result<()> {
    let truncated = |expected| Error::Truncated { what: WHAT, found: frame.len() as u64, expected };
    let rest = frame.strip_prefix(&MAGIC).ok_or_else(|| rule("does not begin with the magic number"))?;
    let (&descriptor, rest) = rest.split_first().ok_or_else(|| truncated(5))?;
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x18 != 0 {
        return Err(rule("unused or reserved header bit is set"));
    }
    if descriptor & 0x04 != 0 {
        return Err(rule("has a checksum"));
    }
    if descriptor & 0x03 != 0 {
        return Err(rule("names a dictionary"));
    }
    let (window, rest) = match single_segment {
        true => (None, rest),
        false => {
            let (&byte, rest) = rest.split_first().ok_or_else(|| truncated(6))?;
            let base = 1u64 << (10 + u32::from(byte >> 3));
            (Some(base + (base >> 3) * u64::from(byte & 7)), rest)
        }
    };
    let (width, offset) = match (descriptor >> 6, single_segment) {
        (0, true) => (1, 0),
        (0, false) => return Err(rule("does not state its content size")),
        (1, _) => (2, 256),
        (2, _) => (4, 0),
        _ => (8, 0),
    };
    let size = rest.get(..width).ok_or_else(|| truncated(6 + width as u64))?;
    let size = size.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)).checked_add(offset);
    if size != Some(raw_len) {
        return Err(rule("content size differs from the length stated outside"));
    }
    Error::check_limit("zstd window", window.unwrap_or(raw_len), 1 << limits::ZSTD_WINDOW_LOG_MAX)?;
    match zstd_safe::find_frame_compressed_size(frame) {
        Ok(len) if len == frame.len() => Ok(()),
        Ok(_) => Err(Error::Trailing { what: WHAT }),
        Err(_) => Err(rule("is damaged or incomplete")),
    }
}

/// Bytes that the probe looks at.
const PROBE_LEN: usize = 4096;
/// It takes them in this many evenly spaced strips, so that a compressible part is met.
const PROBE_STRIP_COUNT: usize = 16;
/// Shorter content is simply tried: the probe would say little and save nothing.
const PROBE_PLAIN_LEN_MIN: usize = 1024;

/// Of four strips one is looked at first.
const PROBE_FIRST_STEP: usize = 4;

/// Whether compressing is worth a try: a probe of byte frequencies (order 0).
///
/// It sums the squares of the byte counts of up to 4 KiB, which for n random bytes come to
/// n + n²/256, and says no only within 1/16 of that. Text, executables, database pages and
/// anything with 3 % of one byte are well above; random, encrypted and compressed bytes are
/// within. Repetition of random-looking bytes is not seen; that costs space, never correctness.
/// Most of what can be compressed shows in a quarter of those bytes: there the sum is at least a
/// quarter higher, which of random bytes is fourteen standard deviations.
pub fn looks_compressible(plain: &[u8]) -> bool {
    if plain.len() < PROBE_PLAIN_LEN_MIN {
        return true;
    }
    let mut probe = Probe { counts: [[0; 256]; 4], len: 0 };
    if plain.len() <= PROBE_LEN {
        probe.count(plain);
        return probe.is_above_random(16);
    }
    let strips = || {
        let strips = plain.chunks(plain.len().div_ceil(PROBE_STRIP_COUNT));
        strips.map(|strip| strip.get(..PROBE_LEN / PROBE_STRIP_COUNT).unwrap_or(strip)).enumerate()
    };
    let is_first = |n: usize| n.is_multiple_of(PROBE_FIRST_STEP);
    strips().filter(|(n, _)| is_first(*n)).for_each(|(_, strip)| probe.count(strip));
    if probe.is_above_random(4) {
        return true;
    }
    strips().filter(|(n, _)| !is_first(*n)).for_each(|(_, strip)| probe.count(strip));
    probe.is_above_random(16)
}

/// Counts of bytes.
struct Probe {
    /// Four tables, so that a run of equal bytes does not wait for its own counter.
    counts: [[u32; 256]; 4],
    /// Bytes counted.
    len: u64,
}

impl Probe {
    fn count(&mut self, strip: &[u8]) {
        let (quads, rest) = strip.as_chunks::<4>();
        for quad in quads {
            for (table, byte) in self.counts.iter_mut().zip(quad) {
                table[usize::from(*byte)] += 1;
            }
        }
        for (table, byte) in self.counts.iter_mut().zip(rest) {
            table[usize::from(*byte)] += 1;
        }
        self.len += strip.len() as u64;
    }

    /// Whether the squares of the counts come to more than those of random bytes, by more than one part in `margin`.
    fn is_above_random(&self, margin: u64) -> bool {
        let [a, b, c, d] = &self.counts;
        let squares = a.iter().zip(b).zip(c.iter().zip(d));
        let squares: u64 = squares.map(|((a, b), (c, d))| u64::from(a + b + c + d).pow(2)).sum();
        let random = self.len * (self.len + 256);
        squares * 256 > random + random / margin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    fn text(len: usize) -> Vec<u8> {
        (0..).flat_map(|n: u32| format!("line {n} of a log, ").into_bytes()).take(len).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn round_trips(plain in prop::collection::vec(0u8..8, 0..5000), level in -9i32..24) {
            let mut frame = b"before".to_vec();
            compress_frame(level, &plain, &mut frame).unwrap();
            prop_assert_eq!(&frame[..6], b"before");
            let mut out = Vec::new();
            decompress_frame(&frame[6..], plain.len() as u64, &mut out).unwrap();
            prop_assert_eq!(out, plain);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), len in 0u64..300) {
            let mut framed = MAGIC.to_vec();
            framed.extend_from_slice(&bytes);
            let mut out = Vec::new();
            if decompress_frame(&framed, len, &mut out).is_ok() {
                prop_assert_eq!(out.len() as u64, len);
            }
        }
    }

    #[test]
    fn contexts_are_reusable_and_deterministic() {
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let long = text(1 << 16).repeat(144); // 9 MiB: longer than the widest window
        for (level, plain) in [(1, text(40_000)), (3, long.clone()), (22, long), (1, noise(5000))] {
            let (mut reused, mut fresh, mut out) = (Vec::new(), Vec::new(), Vec::new());
            compressor.compress_frame(level, &plain, &mut reused).unwrap();
            compress_frame(level, &plain, &mut fresh).unwrap();
            assert_eq!(reused, fresh);
            decompressor.decompress_frame(&reused, plain.len() as u64, &mut out).unwrap();
            assert!(out == plain, "level {level}");
        }
    }

    #[test]
    fn refuses_other_shapes() {
        let plain = text(3000);
        let mut good = Vec::new();
        compress_frame(3, &plain, &mut good).unwrap();
        let mut out = Vec::new();
        for cut in 0..good.len() {
            assert!(decompress_frame(&good[..cut], 3000, &mut out).is_err(), "cut at {cut}");
        }
        let twice = [&good[..], &good[..]].concat();
        let skippable = [b"\x50\x2a\x4d\x18\x01\x00\x00\x00x", &good[..]].concat();
        let followed = [&good[..], b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"].concat();
        for bad in [&twice, &skippable, &followed] {
            assert!(decompress_frame(bad, 3000, &mut out).is_err());
            assert!(decompress_frame(bad, 6000, &mut out).is_err());
        }
        assert!(decompress_frame(&good, 2999, &mut out).is_err());
        assert!(decompress_frame(&good, limits::BODY_LEN_MAX + 1, &mut out).is_err());
        for (flag, content_size) in
            [(CParameter::ChecksumFlag(true), true), (CParameter::DictIdFlag(false), false)]
        {
            let mut context = CCtx::create();
            context.set_parameter(flag).unwrap();
            context.set_parameter(CParameter::ContentSizeFlag(content_size)).unwrap();
            let mut frame = Vec::with_capacity(9000);
            context.compress2(&mut frame, &plain).unwrap();
            assert!(decompress_frame(&frame, 3000, &mut out).is_err());
        }
    }

    #[test]
    fn refuses_a_window_above_the_limit() {
        let plain = vec![7; 9 << 20];
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(24)).unwrap();
        let mut frame = Vec::with_capacity(1 << 20);
        context.compress2(&mut frame, &plain).unwrap();
        let mut out = Vec::new();
        let refused = decompress_frame(&frame, plain.len() as u64, &mut out);
        assert!(matches!(refused, Err(Error::TooLarge { what: "zstd window", .. })), "{refused:?}");
    }

    #[test]
    fn probe_tells_noise_from_the_rest() {
        for len in [1024, 4096, 4097, 40_000, 1 << 20] {
            assert!(!looks_compressible(&noise(len)), "noise of {len}");
            assert!(looks_compressible(&text(len)), "text of {len}");
            assert!(looks_compressible(&vec![0; len]));
            let mut page = noise(len);
            page.iter_mut().step_by(12).for_each(|byte| *byte = 0);
            assert!(looks_compressible(&page), "8 % zeros in {len}");
        }
        let mut deflated = Vec::new();
        let words: Vec<u8> =
            noise(1 << 20).iter().map(|b| b"etaoin shrdlu cm"[usize::from(b & 15)]).collect();
        compress_frame(3, &words, &mut deflated).unwrap();
        assert!(!looks_compressible(&deflated[..400_000]), "a zstd frame");
    }
}
