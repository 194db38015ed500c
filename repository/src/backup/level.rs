//! How hard to compress: what the store cannot take any faster may as well become smaller.

use super::request::CompressionLevel;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What `auto` chooses from; each takes up to 1.5 times as long as the one before it.
const STEPS: [i32; 7] = [1, 2, 3, 4, 5, 7, 9];
/// Above this share of its time the session waits for the store, in percent: the next step costs no more than that.
const WAIT_HIGH: u128 = 40;
/// Below this share the store waits for the session.
const WAIT_LOW: u128 = 10;

/// The zstd level of a session. It is no part of what is stored under which id.
pub(super) enum Level {
    /// As asked for; `None` for raw records.
    Fixed(Option<i32>),
    /// The number of a step.
    Auto(AtomicUsize),
}

impl Level {
    pub(super) fn new(asked: CompressionLevel) -> Self {
        match asked {
            CompressionLevel::Auto => Level::Auto(AtomicUsize::new(0)),
            fixed => Level::Fixed(fixed.zstd()),
        }
    }

    /// The level as of now.
    pub(super) fn zstd(&self) -> Option<i32> {
        match self {
            Level::Fixed(level) => *level,
            Level::Auto(step) => STEPS.get(step.load(Ordering::Relaxed)).copied(),
        }
    }

    /// A pack is on its way: in the time since the last one, so long nothing could be handed to the store.
    pub(super) fn adapt(&self, waited: Duration, since_last: Duration) {
        let Level::Auto(step) = self else { return };
        let share = waited.as_nanos() * 100 / since_last.as_nanos().max(1);
        let now = step.load(Ordering::Relaxed);
        let next = match share {
            WAIT_HIGH.. => (now + 1).min(STEPS.len() - 1),
            WAIT_LOW.. => now,
            _ => now.saturating_sub(1),
        };
        step.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(waits: &[u64]) -> Option<i32> {
        let level = Level::new(CompressionLevel::Auto);
        waits.iter().for_each(|ms| level.adapt(Duration::from_millis(*ms), Duration::from_millis(100)));
        level.zstd()
    }

    #[test]
    fn rises_while_the_store_is_behind_and_falls_when_it_is_not() {
        assert_eq!(after(&[]), Some(1));
        assert_eq!(after(&[0, 5, 9]), Some(1));
        assert_eq!(after(&[60]), Some(2));
        assert_eq!(after(&[60, 20, 39]), Some(2));
        assert_eq!(after(&[60, 60, 3]), Some(2));
        assert_eq!(after(&[90; 20]), Some(9));
        assert_eq!(after(&[90, 90, 90, 0, 0, 0, 0]), Some(1));
    }

    #[test]
    fn stays_where_it_was_put() {
        for (asked, expected) in [(CompressionLevel::Off, None), (CompressionLevel::Level(-3), Some(-3))] {
            let level = Level::new(asked);
            level.adapt(Duration::from_secs(1), Duration::from_secs(1));
            assert_eq!(level.zstd(), expected);
        }
    }

    #[test]
    fn no_time_at_all_is_no_division_by_zero() {
        let level = Level::new(CompressionLevel::Auto);
        level.adapt(Duration::ZERO, Duration::ZERO);
        assert_eq!(level.zstd(), Some(1));
    }
}
