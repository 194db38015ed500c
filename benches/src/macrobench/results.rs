//! Figures of all runs, and what they say of each other.

use super::steps::Step;
use crate::process::Cost;
use crate::report::median;

/// How the fused loop is called among programs.
pub const LIMIT: &str = "limit";
/// Ours.
pub const OURS: &str = "orlop";

/// One run of one program.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The program's name, or [`LIMIT`].
    pub who: &'static str,
    /// What it did.
    pub step: Step,
    /// Runs of one round are compared with each other.
    pub round: usize,
    /// What it took.
    pub cost: Cost,
    /// By how many bytes its repository grew.
    pub stored_len: u64,
    /// The share of the processors that neither it nor this process had; 0 to 1.
    pub others: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Seconds.
    Wall,
    /// Processor seconds.
    Cpu,
    /// Bytes held at most.
    Memory,
    /// Bytes stored.
    Stored,
}

impl Measure {
    fn of(self, sample: &Sample) -> f64 {
        match self {
            Measure::Wall => sample.cost.wall.as_secs_f64(),
            Measure::Cpu => sample.cost.cpu.as_secs_f64(),
            Measure::Memory => sample.cost.memory_len as f64,
            Measure::Stored => sample.stored_len as f64,
        }
    }
}

/// All runs.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    fn all(&self, who: &str, step: Step, measure: Measure) -> Vec<(usize, f64)> {
        let chosen = self.0.iter().filter(|sample| sample.who == who && sample.step == step);
        chosen.map(|sample| (sample.round, measure.of(sample))).collect()
    }

    /// The middle of all rounds; nothing if there are none.
    pub fn median(&self, who: &str, step: Step, measure: Measure) -> Option<f64> {
        let all = self.all(who, step, measure);
        (!all.is_empty()).then(|| median(all.into_iter().map(|(_, value)| value)))
    }

    /// The least and the most of all rounds.
    pub fn spread(&self, who: &str, step: Step, measure: Measure) -> Option<(f64, f64)> {
        let all = self.all(who, step, measure).into_iter().map(|(_, value)| (value, value));
        all.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
    }

    /// The median of what `over` took by what `under` took, round by round; nothing unless both ran.
    pub fn ratio(&self, step: Step, measure: Measure, over: &str, under: &str) -> Option<f64> {
        let unders = self.all(under, step, measure);
        let pairs = self.all(over, step, measure).into_iter().filter_map(|(round, value)| {
            let (_, base) = unders.iter().find(|(other, _)| *other == round)?;
            // processor time is counted in hundredths of a second: nothing is less than half of one
            let least = if measure == Measure::Cpu { 0.005 } else { 1e-9 };
            Some(value.max(least) / base.max(least))
        });
        let ratios: Vec<f64> = pairs.collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// The peers that ran this step.
    pub fn peers(&self, step: Step) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = vec![];
        for sample in self.0.iter().filter(|sample| sample.step == step) {
            if sample.who != OURS && sample.who != LIMIT && !names.contains(&sample.who) {
                names.push(sample.who);
            }
        }
        names
    }

    /// How many times more than ours the best peer takes, and which it is.
    pub fn best_peer(&self, step: Step, measure: Measure) -> Option<(&'static str, f64)> {
        let peers = self.peers(step).into_iter();
        let ratios = peers.filter_map(|peer| Some((peer, self.ratio(step, measure, peer, OURS)?)));
        ratios.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// Bytes that a program stored in these steps, the sum of medians; nothing unless it ran all of them.
    pub fn stored(&self, who: &str, steps: &[Step]) -> Option<f64> {
        steps.iter().map(|step| self.median(who, *step, Measure::Stored)).sum()
    }

    /// Ours by that of the peer that stored least, and which it is.
    pub fn stored_ratio(&self, steps: &[Step]) -> Option<(&'static str, f64)> {
        let ours = self.stored(OURS, steps)?;
        let peers = self.peers(*steps.first()?).into_iter();
        let ratios = peers.filter_map(|peer| Some((peer, ours / self.stored(peer, steps)?.max(1.0))));
        ratios.max_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// The fused loop's time as a part of ours.
    pub fn part_of_limit(&self, step: Step) -> Option<f64> {
        self.ratio(step, Measure::Wall, LIMIT, OURS)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    pub(crate) fn sample(who: &'static str, step: Step, round: usize, wall: f64, stored_len: u64) -> Sample {
        let wall = Duration::from_secs_f64(wall);
        let cost = Cost { wall, cpu: wall / 2, memory_len: 1 << 20 };
        Sample { who, step, round, cost, stored_len, others: 0.0 }
    }

    #[test]
    fn ratios_pair_rounds() {
        let mut samples = Samples::default();
        // the machine was ten times slower in round 1: no ratio shows it
        for (round, slow) in [(0, 1.0), (1, 10.0), (2, 1.0)] {
            samples.0.push(sample(OURS, Step::Initial, round, slow, 100));
            samples.0.push(sample("restic", Step::Initial, round, 3.0 * slow, 300));
            samples.0.push(sample("borg", Step::Initial, round, 2.5 * slow, 120));
        }
        samples.0.push(sample(LIMIT, Step::Initial, 1, 9.0, 0));
        assert_eq!(samples.ratio(Step::Initial, Measure::Wall, "restic", OURS), Some(3.0));
        assert_eq!(samples.best_peer(Step::Initial, Measure::Wall), Some(("borg", 2.5)));
        assert_eq!(samples.part_of_limit(Step::Initial), Some(0.9));
        assert_eq!(samples.spread(OURS, Step::Initial, Measure::Wall), Some((1.0, 10.0)));
        assert_eq!(samples.stored_ratio(&[Step::Initial]), Some(("borg", 100.0 / 120.0)));
        assert_eq!(samples.stored_ratio(&[Step::Initial, Step::Other]), None);
        assert_eq!(samples.ratio(Step::Check, Measure::Wall, "restic", OURS), None);
        assert_eq!(samples.median("kopia", Step::Initial, Measure::Cpu), None);
    }
}
