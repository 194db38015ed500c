//! Figures for people.

use std::fmt;
use std::time::Duration;

/// So many bytes in such a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    /// Bytes that were worked on.
    pub bytes: u64,
    /// How long it took.
    pub time: Duration,
}

impl Rate {
    /// 10^9 bytes a second.
    pub fn gb_per_s(self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(1e-9) / 1e9
    }
}

/// `7.31 GB/s (0.281 s)`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.2} GB/s {:>7.3} s", self.gb_per_s(), self.time.as_secs_f64())
    }
}

/// The middle of some numbers, the mean of the middle two; 0 of none.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied().unwrap_or(0.0);
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted.get(half.wrapping_sub(1)).copied().unwrap_or(upper), upper)
    } else {
        upper
    }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The processor, what of it the kernels use, and the load: a figure means nothing without them.
pub fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim())
    };
    let flags: Vec<&str> = field("flags").split(' ').collect();
    let wanted = ["sha_ni", "aes", "vaes", "vpclmulqdq", "avx2", "avx512f"];
    let found: Vec<&str> = wanted.into_iter().filter(|flag| flags.contains(flag)).collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} family {} model {}, {cpus} CPUs, {}; load {}",
        field("model name"),
        field("cpu family"),
        field("model"),
        found.join(" "),
        load()
    )
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The most memory this process has held, in bytes (VmHWM); 0 if the system does not say.
pub fn peak_memory_len() -> u64 {
    peak_in(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// VmHWM of a /proc/PID/status, in bytes; 0 if it has none.
pub(crate) fn peak_in(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_rate_is_bytes_over_time() {
        let rate = Rate { bytes: 3_000_000_000, time: Duration::from_millis(1500) };
        assert_eq!(rate.to_string(), "  2.00 GB/s   1.500 s");
    }
}
