//! Sizes as people write them.

use std::str::FromStr;

/// A number of bytes: `4096`, `64K`, `96MiB`, `1G`. Powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "a size such as 4096, 64K, 96MiB or 1G expected (powers of 1024)".to_owned();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| expected())?;
        let letter = unit.strip_suffix("iB").unwrap_or(unit).to_ascii_uppercase();
        let shift = match (letter.as_str(), unit) {
            ("", "") | ("B", _) => 0,
            ("K", _) => 10,
            ("M", _) => 20,
            ("G", _) => 30,
            ("T", _) => 40,
            _ => return Err(expected()),
        };
        number.checked_mul(1 << shift).map(Size).ok_or_else(|| "more than 16 EiB".to_owned())
    }
}

/// Bytes per second: a bare number is KiB/s, as restic has it, else a [`Size`]. 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u64>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let expected = |_| "KiB a second, or a size such as 4M, expected".to_owned();
        let Size(rate) =
            if is_bare { format!("{text}K").parse()? } else { text.parse().map_err(expected)? };
        Ok(Rate(Some(rate).filter(|rate| *rate > 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("12B", 12),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("96MiB", 96 << 20),
            ("1G", 1 << 30),
            ("2TiB", 2 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in
            ["", "K", "-1", "1.5G", "1 G", "1KB", "iB", "1iB", "1X", "99999999999T", "18446744073709551616"]
        {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_rates() {
        for (text, rate) in [("500", 500 << 10), ("500K", 500 << 10), ("2MiB", 2 << 20), ("4096B", 4096)] {
            assert_eq!(text.parse(), Ok(Rate(Some(rate))), "{text}");
        }
        assert_eq!("0".parse(), Ok(Rate(None)));
        for bad in ["", "K", "-1", "1.5M", "1M/s", "18014398509481984"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
