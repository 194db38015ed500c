//! Text for people: names that cannot disturb a terminal, sizes, times, tables.

use crate::format::StoreMode;
use jiff::Timestamp;

/// Escapes what would move the cursor, hide or reorder text.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `1.5 GiB`: three digits or so, powers of 1024.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // what would be shown as 1024 is the next unit's 1
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `1:02:03` or `2:03`.
pub(crate) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// RFC 3339 in UTC, to the second where that is exact.
pub(crate) fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{unix_ms} ms"), |time| time.to_string())
}

/// Reads RFC 3339, or a date, which is its first moment in UTC.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<Timestamp>().or_else(|_| format!("{text}T00:00:00Z").parse());
    let time =
        parsed.map_err(|_| "RFC 3339 (2026-11-21T08:00:00Z) or a date (2026-11-21) expected".to_owned())?;
    u64::try_from(time.as_millisecond()).map_err(|_| "a time since 1970 expected".to_owned())
}

/// Reads RFC 3339 only.
pub(crate) fn parse_instant(text: &str) -> Result<u64, String> {
    let expected = || "RFC 3339 (2026-11-21T08:00:00Z) expected".to_owned();
    let time: Timestamp = text.parse().map_err(|_| expected())?;
    u64::try_from(time.as_millisecond()).map_err(|_| "a time since 1970 expected".to_owned())
}

/// Columns as wide as their content, the last one free; nothing for no rows.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let draw = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![draw(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| draw(&mut row.iter().map(String::as_str))));
    lines
}

/// `key value` pairs for labels.
pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pairs = labels.into_iter().map(|(key, value)| one_line(&format!("{key}={value}")));
    pairs.collect::<Vec<_>>().join(",")
}

/// How many prunes the store can have at once.
pub(crate) fn mode(mode: StoreMode) -> &'static str {
    match mode {
        StoreMode::Many => "many",
        StoreMode::One => "one",
    }
}

/// How many of what.
pub(crate) fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB", "never 1024.0 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn times_round_trip() {
        assert_eq!(time(1_790_000_000_000), "2026-09-21T14:13:20Z");
        assert_eq!(parse_time("2026-09-21T14:13:20Z"), Ok(1_790_000_000_000));
        assert_eq!(parse_time("2026-09-21T16:13:20+02:00"), Ok(1_790_000_000_000));
        assert_eq!(parse_time("1970-01-02"), Ok(86_400_000));
        for bad in ["", "yesterday", "1969-12-31", "2026-13-01", "2026-09-21T14:13:20"] {
            assert!(parse_instant(bad).is_err(), "{bad}");
        }
        assert!(parse_instant("2026-09-21").is_err());
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn names_cannot_disturb_a_terminal() {
        assert_eq!(one_line("a\x1b[2J\nb\u{202e}c"), "a\\u{1b}[2J\\nb\\u{202e}c");
        assert_eq!(one_line("größe/ok"), "größe/ok");
    }

    #[test]
    fn columns_line_up() {
        let rows =
            vec![vec!["a".into(), "long".into(), String::new()], vec!["bcd".into(), "x".into(), "y".into()]];
        assert_eq!(table(&["ID", "N", "L"], &rows), ["ID   N     L", "a    long", "bcd  x     y"]);
    }

    #[test]
    fn clocks() {
        assert_eq!((clock(5), clock(65), clock(3_723)), ("0:05".into(), "1:05".into(), "1:02:03".into()));
    }
}
