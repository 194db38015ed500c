//! Samples of packs, and what one of them proves.

use super::ReadData;
use crate::{Env, Result};

/// With which probability a sample's statement holds.
const PROBABILITY: f64 = 0.95;

/// What reading packs whole has shown, if all that were read are whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// Damage of this share of all packs, or more, is excluded: 0 after all were read, 1 after none.
    pub fraction: f64,
    /// With this probability; 1 after all were read.
    pub probability: f64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Packs there are.
    pub packs_total: u64,
}

impl Confidence {
    /// n random packs miss damage of a share f with probability (1 - f)^n.
    pub(super) fn of_sample(packs_read: u64, packs_total: u64) -> Self {
        let (fraction, probability) = if packs_read >= packs_total {
            (0.0, 1.0)
        } else if packs_read == 0 {
            (1.0, PROBABILITY)
        } else {
            #[allow(clippy::cast_precision_loss, reason = "a count of objects")]
            let n = packs_read as f64;
            (1.0 - (1.0 - PROBABILITY).powf(1.0 / n), PROBABILITY)
        };
        Confidence { fraction, probability, packs_read, packs_total }
    }
}

/// Which of the packs, given by length, are read whole.
pub(super) fn sample(env: &Env, lens: &[u64], read_data: ReadData) -> Result<Vec<bool>> {
    let mut chosen = vec![matches!(read_data, ReadData::All); lens.len()];
    let (count, mut bytes) = match read_data {
        ReadData::None | ReadData::All => return Ok(chosen),
        ReadData::Percent(percent) => (percent_of(lens.len(), percent), u64::MAX),
        ReadData::Bytes(bytes) => (lens.len(), bytes),
    };
    for n in shuffled(env, lens.len())?.into_iter().take(count) {
        if bytes == 0 {
            break;
        }
        bytes = bytes.saturating_sub(lens.get(n).copied().unwrap_or_default());
        if let Some(slot) = chosen.get_mut(n) {
            *slot = true;
        }
    }
    Ok(chosen)
}

/// That share of `count`, rounded up.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of objects, clamped"
)]
fn percent_of(count: usize, percent: f64) -> usize {
    // a float that is no number becomes 0
    (((count as f64) * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize).min(count)
}

/// A random order of 0..count (Fisher and Yates).
fn shuffled(env: &Env, count: usize) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let draw = u64::from_le_bytes(env.random()?) % (last as u64 + 1);
        order.swap(last, usize::try_from(draw).unwrap_or(last));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_samples_prove() {
        assert_eq!(Confidence::of_sample(0, 9).fraction, 1.0);
        assert!((Confidence::of_sample(1, 9).fraction - 0.95).abs() < 1e-9);
        assert!(Confidence::of_sample(299, 9_000).fraction <= 0.01, "299 packs exclude 1 %");
        assert!(Confidence::of_sample(297, 9_000).fraction > 0.01);
        let all = Confidence::of_sample(9, 9);
        assert_eq!((all.fraction, all.probability), (0.0, 1.0));
        assert_eq!(Confidence::of_sample(0, 0).probability, 1.0);
    }

    #[test]
    fn samples_have_the_size_asked_for() {
        let env = Env::system();
        let lens = [10; 100];
        let count = |read_data| {
            let chosen = sample(&env, &lens, read_data).expect("randomness");
            chosen.iter().filter(|chosen| **chosen).count()
        };
        assert_eq!(count(ReadData::None), 0);
        assert_eq!(count(ReadData::All), 100);
        assert_eq!(count(ReadData::Percent(2.5)), 3);
        assert_eq!(count(ReadData::Percent(f64::NAN)), 0);
        assert_eq!(count(ReadData::Percent(1e9)), 100);
        assert_eq!(count(ReadData::Bytes(95)), 10);
        assert_eq!(count(ReadData::Bytes(0)), 0);
        assert_eq!(count(ReadData::Bytes(u64::MAX)), 100);
    }

    #[test]
    fn orders_hold_everything_once() {
        let mut order = shuffled(&Env::system(), 50).expect("randomness");
        order.sort_unstable();
        assert!(order.into_iter().eq(0..50));
    }
}
