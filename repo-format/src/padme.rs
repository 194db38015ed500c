//! Padme (Nikitin et al., PETS 2019): pads a length so that at most log log bits of it leak.

/// The padded size of `len` bytes: at most 12 % more.
///
/// Saturates at `u64::MAX`, far above every limit of the format.
pub fn padded_len(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let e = len.ilog2();
    let s = e.ilog2() + 1;
    let mask = (1u64 << (e - s.min(e))) - 1;
    len.checked_add(mask).map_or(u64::MAX, |sum| sum & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_formula() {
        let cases =
            [(0, 0), (1, 1), (2, 2), (3, 3), (8, 8), (9, 10), (100, 104), (1000, 1024), (1 << 20, 1 << 20)];
        for (len, want) in cases {
            assert_eq!(padded_len(len), want, "{len}");
        }
        for len in 1..100_000 {
            let padded = padded_len(len);
            assert!(padded >= len && padded <= len + len / 8 + 1);
            assert_eq!(padded_len(padded), padded, "idempotent");
        }
        assert_eq!(padded_len(u64::MAX), u64::MAX);
    }
}
