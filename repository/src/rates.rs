//! How much may go over the line in a second: two buckets of bytes, one for each direction.
//!
//! Objects are sent and read in one piece, so a bucket may be overdrawn, by what is under way: who comes next waits
//! until the debt is paid. Over more than a few objects the rate holds; within one it is the line's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bounds on what is sent and read, in bytes per second; `None` is as fast as it goes. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    upload: Option<Arc<Bucket>>,
    download: Option<Arc<Bucket>>,
}

impl Rates {
    /// At most so many bytes per second up and down. A rate of 0 is taken for 1.
    pub fn new(upload: Option<u64>, download: Option<u64>) -> Self {
        let bucket = |rate: u64| Arc::new(Bucket::new(rate));
        Rates { upload: upload.map(bucket), download: download.map(bucket) }
    }

    /// Whether there is any bound.
    pub(crate) fn is_bound(&self) -> bool {
        self.upload.is_some() || self.download.is_some()
    }

    /// How long to wait before `len` bytes are sent at `now`; they count from here on.
    pub(crate) fn before_upload(&self, now: Duration, len: u64) -> Duration {
        self.upload.as_ref().map_or(Duration::ZERO, |bucket| bucket.take(now, len))
    }

    /// How long to wait before anything is read at `now`.
    pub(crate) fn before_download(&self, now: Duration) -> Duration {
        self.before_download_of(now, 0)
    }

    /// Counts `len` bytes that were read.
    pub(crate) fn after_download(&self, now: Duration, len: u64) {
        let _ = self.before_download_of(now, len);
    }

    fn before_download_of(&self, now: Duration, len: u64) -> Duration {
        self.download.as_ref().map_or(Duration::ZERO, |bucket| bucket.take(now, len))
    }
}

/// Holds at most one second's worth, which is what may be used at once after a pause.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    /// When the bucket is, or was, exactly empty: later than now while there is a debt.
    empty_at: Mutex<Option<Duration>>,
}

/// What may be saved up.
const SAVED_MAX: Duration = Duration::from_secs(1);
/// Longest debt that is believed: what no length and rate of this world make.
const DEBT_MAX: Duration = Duration::from_secs(366 * 86_400);

impl Bucket {
    fn new(rate: u64) -> Self {
        Bucket { rate: rate.max(1), empty_at: Mutex::new(None) }
    }

    /// How long there is a debt from `now` on, before `len` is taken.
    fn take(&self, now: Duration, len: u64) -> Duration {
        let mut empty_at = self.empty_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let saved_from = now.saturating_sub(SAVED_MAX);
        let before = empty_at.unwrap_or(saved_from).max(saved_from);
        let wait = before.saturating_sub(now);
        let nanos = u128::from(len) * 1_000_000_000 / u128::from(self.rate);
        let cost = u64::try_from(nanos).map_or(DEBT_MAX, Duration::from_nanos).min(DEBT_MAX);
        *empty_at = Some(before.saturating_add(cost).min(now.saturating_add(DEBT_MAX)));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{Clock, Env};
    use crate::exec::{Exec, InlineTime};
    use crate::store::{MemoryDriver, Store};
    use bytes::Bytes;
    use futures::executor::block_on;
    use futures::future::{BoxFuture, ready};
    use repo_format::PackId;
    use repo_format::layout::ObjectName;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Time that passes only while something waits.
    #[derive(Clone, Default)]
    struct Ticker(Arc<AtomicU64>);

    impl Clock for Ticker {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.now_ms())
        }
    }

    impl InlineTime for Ticker {
        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            // a time limit is made in passing and seldom met
            let (ticks, is_limit) = (self.0.clone(), time >= seconds(30));
            Box::pin(async move {
                if is_limit {
                    return std::future::pending().await;
                }
                ticks.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
                ready(()).await
            })
        }
    }

    #[test]
    fn a_store_waits_as_the_bounds_say() {
        let ticker = Ticker(Arc::new(AtomicU64::new(50_000)));
        let env = Env { clock: Arc::new(ticker.clone()), ..Env::system() };
        let store = |rates: Rates| {
            let exec = Exec::inline_with(Arc::new(ticker.clone())).with_rates(rates);
            Store::new(Arc::new(MemoryDriver::new(env.clock.clone())), exec, env.clone())
        };
        let waited = |work: &dyn Fn()| {
            let before = ticker.now_ms();
            work();
            ticker.now_ms() - before
        };
        let name = |n: u8| ObjectName::DataPack(PackId([n; 16]));
        let put = |store: &Store, n: u8| {
            block_on(store.put(&name(n), Bytes::from(vec![n; 10_000]).into())).unwrap();
        };
        let slow = store(Rates::new(Some(5_000), Some(2_000)));
        assert_eq!(waited(&|| put(&slow, 1)), 0, "the first goes at once");
        assert_eq!(waited(&|| put(&slow, 2)), 1_000, "10,000 bytes, of which 5,000 were saved up");
        assert_eq!(waited(&|| put(&slow, 3)), 2_000);
        let get = |n: u8| assert!(block_on(slow.get(&name(n))).unwrap().is_some());
        assert_eq!(waited(&|| get(1)), 0);
        assert_eq!(waited(&|| get(2)), 4_000, "10,000 bytes, of which 2,000 were saved up");
        let free = store(Rates::default());
        assert_eq!(waited(&|| (1..100).for_each(|n| put(&free, n))), 0);
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn who_comes_after_a_large_object_pays_for_it() {
        let rates = Rates::new(Some(1000), None);
        // a second's worth is saved up: 4000 bytes cost three more
        assert_eq!(rates.before_upload(seconds(10), 4000), Duration::ZERO);
        assert_eq!(rates.before_upload(seconds(10), 500), seconds(3));
        assert_eq!(rates.before_upload(seconds(10), 1), Duration::from_millis(3500));
        assert_eq!(rates.before_upload(seconds(14), 0), Duration::ZERO, "the debt is paid");
        assert_eq!(rates.before_download(seconds(10)), Duration::ZERO, "the other direction is free");
    }

    #[test]
    fn reading_is_paid_for_afterwards() {
        let rates = Rates::new(None, Some(2000));
        let shared = rates.clone();
        assert_eq!(rates.before_download(seconds(5)), Duration::ZERO);
        rates.after_download(seconds(6), 8000);
        assert_eq!(shared.before_download(seconds(6)), seconds(3), "clones share the line");
        assert_eq!(shared.before_download(seconds(9)), Duration::ZERO);
    }

    #[test]
    fn over_many_requests_the_rate_holds() {
        for rate in [1, 1000, 10 << 20] {
            let rates = Rates::new(Some(rate), None);
            let (mut now, mut sent) = (seconds(1), 0);
            for n in 0..1000 {
                let len = rate * (n % 7) / 3;
                now += rates.before_upload(now, len);
                sent += len;
            }
            // but for the second that is saved up and the last object
            let allowed = u128::from(rate) * (now - seconds(1)).as_millis() / 1000;
            assert!(u128::from(sent) <= allowed + u128::from(rate) * 4, "{sent} in {now:?} at {rate}");
            assert!(u128::from(sent) + u128::from(rate) * 4 >= allowed, "{sent} in {now:?} at {rate}");
        }
    }

    #[test]
    fn no_length_and_rate_overflow() {
        let rates = Rates::new(Some(0), Some(u64::MAX));
        assert_eq!(rates.before_upload(Duration::MAX, u64::MAX), Duration::ZERO);
        let _ = rates.before_upload(Duration::MAX, u64::MAX);
        assert_eq!(rates.before_upload(Duration::ZERO, u64::MAX), Duration::MAX);
        rates.after_download(seconds(1), u64::MAX);
        assert_eq!(rates.before_download(seconds(2)), Duration::ZERO);
    }
}
