//! What happened, as a hash always and as text on demand.

/// Hash and lines of a schedule.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps the lines, too.
    pub(super) fn with_lines() -> Self {
        Trace { hash: 0, lines: Some(Vec::new()) }
    }

    /// Adds numbers and a name; `text` is asked for only where lines are kept.
    pub(super) fn add(&mut self, numbers: &[u64], name: &str, text: impl FnOnce() -> String) {
        for number in numbers {
            self.hash = super::rng::mix(self.hash ^ number);
        }
        for part in name.as_bytes().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..part.len()].copy_from_slice(part);
            self.hash = super::rng::mix(self.hash ^ u64::from_le_bytes(bytes));
        }
        if let Some(lines) = &mut self.lines {
            lines.push(text());
        }
    }

    /// The hash so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// Virtual milliseconds, for people.
pub(super) fn time(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{days:>3}d {hours:02}:{minutes:02}:{seconds:02}.{:03}", rest % 1000)
}
