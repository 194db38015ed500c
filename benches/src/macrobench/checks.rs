//! What issue 5 asks for, and whether it holds.

use super::results::{Measure, OURS, Samples};
use super::steps::{Extra, Step};
use crate::report::mib;
use anyhow::{Context, Result};
use repo_format::pack::{TailParse, parse_tail};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is demanded.
    pub what: String,
    /// What was found; nothing if it was not measured.
    pub found: Option<String>,
    /// Whether it holds.
    pub met: bool,
}

/// A figure beside its bound.
fn check(what: String, found: Option<(f64, String)>, holds: impl Fn(f64) -> bool) -> Check {
    let met = found.as_ref().is_some_and(|(value, _)| holds(*value));
    Check { what, found: found.map(|(_, text)| text), met }
}

/// All demands on these figures. `structure` is the share of the base's bytes.
pub fn checks(samples: &Samples, structure: Option<f64>) -> Vec<Check> {
    let mut all = vec![];
    for (step, factor) in [(Step::Initial, 2.5), (Step::Unchanged, 5.0), (Step::Restore, 2.5)] {
        for (measure, factor, unit) in [(Measure::Wall, factor, "time"), (Measure::Cpu, 2.0, "CPU time")] {
            let best = samples.best_peer(step, measure);
            let found = best.map(|(peer, ratio)| (ratio, format!("{ratio:.2}x ({peer})")));
            let what = format!("{}: >= {factor}x of the best peer in {unit}", step.text());
            all.push(check(what, found, |ratio| ratio >= factor));
        }
    }
    for (steps, most, what) in
        [(&Step::IMAGES[..], 0.75, "the five images"), (&[Step::Initial], 1.10, "the base")]
    {
        let best = samples.stored_ratio(steps);
        let found = best.map(|(peer, ratio)| (ratio, format!("{ratio:.3} ({peer})")));
        all.push(check(format!("stored, {what}: <= {most:.2} of the best peer"), found, |ratio| {
            ratio <= most
        }));
    }
    let found = structure.map(|share| (share, format!("{:.3} %", share * 100.0)));
    all.push(check("structure of the base: <= 0.45 % of its bytes".into(), found, |share| share <= 0.0045));
    for step in [Step::Initial, Step::Unchanged, Step::ExtraInitial(Extra::Random)] {
        let found = samples.part_of_limit(step).map(|part| (part, format!("{:.1} %", part * 100.0)));
        let what = format!("{}: >= 85 % of the fused loop, the process included", step.text());
        all.push(check(what, found, |part| part >= 0.85));
    }
    let ours =
        samples.0.iter().filter(|sample| sample.who == OURS).map(|sample| sample.cost.memory_len).max();
    let found = ours.map(|len| (mib(len), format!("{:.0} MiB", mib(len))));
    all.push(check("peak memory in all steps: <= 192 MiB".into(), found, |peak| peak <= 192.0));
    all
}

/// Bytes of a local repository of orlop that are neither content nor its sealing: all but data packs, and their
/// trailers and footers.
pub fn structure_len(repository: &Path) -> Result<u64> {
    let data = repository.join("packs/data");
    let mut sum = super::programs::tree_len(repository)?.saturating_sub(super::programs::tree_len(&data)?);
    for folder in fs::read_dir(&data)? {
        for pack in fs::read_dir(folder?.path())? {
            sum += tail_len(&pack?.path())?;
        }
    }
    Ok(sum)
}

/// Trailer and footer of a pack.
fn tail_len(pack: &Path) -> Result<u64> {
    let file = File::open(pack)?;
    let pack_len = file.metadata()?.len();
    let mut want = repo_format::pack::FOOTER_LEN as u64;
    loop {
        let mut tail = vec![0; usize::try_from(want.min(pack_len))?];
        file.read_exact_at(&mut tail, pack_len.saturating_sub(want))?;
        match parse_tail(&tail, pack_len).with_context(|| pack.display().to_string())? {
            TailParse::NeedTail(more) => want = more,
            TailParse::Footer(footer) => return Ok(footer.tail_len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    #[test]
    fn demands_are_met_missed_or_unmeasured() {
        let mut samples = Samples::default();
        for (who, wall, stored_len) in [("orlop", 1.0, 109), ("kopia", 2.4, 100), ("borg", 9.0, 400)] {
            samples.0.push(sample(who, Step::Initial, 0, wall, stored_len));
            samples.0.push(sample(who, Step::Unchanged, 0, wall * wall, 0));
        }
        let all = checks(&samples, Some(0.0046));
        let of = |what: &str| all.iter().find(|check| check.what.starts_with(what)).unwrap();
        assert_eq!(of("initial (A): >= 2.5x").found.as_deref(), Some("2.40x (kopia)"));
        assert!(!of("initial (A): >= 2.5x").met);
        assert!(of("initial (A): >= 2x").met && of("unchanged, read again: >= 5x").met);
        assert!(of("restore").found.is_none() && !of("restore").met);
        assert!(of("stored, the base").met, "{:?}", of("stored, the base"));
        assert!(!of("structure").met && of("peak memory").met);
        assert!(of("stored, the five").found.is_none());
    }
}
