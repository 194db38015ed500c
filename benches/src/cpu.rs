//! Who used the processors while something was measured: a figure counts only if nobody else did.

use std::fs::read_to_string;
use std::time::{Duration, Instant};

/// /proc counts in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// A reading of the counters.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    own: u32,
    all: u32,
}

/// What happened between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time of this process, of all its threads.
    pub own: Duration,
    /// The share of all processors that others took, the hypervisor included; 0 to 1.
    pub others: f64,
}

impl Reading {
    /// The counters now; zeros where there is no /proc.
    pub fn now() -> Self {
        let own = read_to_string("/proc/self/stat").ok().and_then(|text| own_ticks(&text));
        let all = read_to_string("/proc/stat").ok().and_then(|text| all_ticks(&text));
        Reading { at: Instant::now(), own: own.unwrap_or(0), all: all.unwrap_or(0) }
    }

    /// What happened since.
    pub fn until_now(&self) -> Usage {
        let now = Self::now();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let own = TICK * now.own.wrapping_sub(self.own);
        let all = TICK * now.all.wrapping_sub(self.all);
        let room = now.at.duration_since(self.at).as_secs_f64() * cpus;
        let others = all.saturating_sub(own).as_secs_f64() / room.max(1e-9);
        Usage { own, others: others.min(1.0) }
    }
}

/// The processor time that a /proc/PID/stat tells.
pub(crate) fn own_time(stat: &str) -> Duration {
    TICK * own_ticks(stat).unwrap_or(0)
}

/// The processor time of children that have ended and were waited for, theirs included, that a /proc/PID/stat tells.
pub(crate) fn children_time(stat: &str) -> Duration {
    TICK * ticks_at(stat, 13).unwrap_or(0)
}

/// utime and stime.
fn own_ticks(stat: &str) -> Option<u32> {
    ticks_at(stat, 11)
}

/// The sum of two neighbours among the fields after the name, which may hold spaces.
fn ticks_at(stat: &str, field: usize) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().skip(field).take(2).map(|field| field.parse::<u32>().ok()).sum()
}

/// All of the first line but idle and iowait; guests are counted in user time already.
fn all_ticks(stat: &str) -> Option<u32> {
    let fields = stat.lines().next()?.split_whitespace().skip(1).take(8).enumerate();
    let busy = fields.filter(|(at, _)| !matches!(at, 3 | 4));
    busy.map(|(_, field)| field.parse::<u64>().ok()).sum::<Option<u64>>().map(|ticks| ticks as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let own = "12 (a) b) R 1 1 1 0 -1 4194304 100 0 0 0 250 31 7 8 20 0 1 0 5 6 7";
        assert_eq!(own_ticks(own), Some(281));
        assert_eq!(children_time(own), TICK * 15);
        assert_eq!(all_ticks("cpu  100 2 30 4000 500 6 7 8 9 10\ncpu0 1 1 1 1"), Some(153));
        assert_eq!((own_ticks("x"), all_ticks("")), (None, None));
    }
}
