//! The page of results, in Markdown.

use super::checks::{Check, checks};
use super::results::{LIMIT, Measure, OURS, Samples};
use super::steps::{Extra, Step};
use crate::report::{machine, median};
use std::fmt::Write as _;
use std::process::Command;

/// What the figures do not say.
const NOTES: &str = "\
- Times are of whole processes, from start to end, and then until the system has written back all that the process left in memory (syncfs), for every program alike: orlop and restic sync their packs, others leave that to the system.
- CPU is user and system time of the process with all threads and children; peak is VmHWM of the process; stored is by how much the files of the repository grew (apparent sizes).
- Ratios are medians of the ratios of each round: above 1, orlop takes less.
- Images lie in the page cache, as far as it has room, before each program's turn (borg has the system drop what it has read); another one begins each round. Restores go to a fresh file on the same disk and are compared with the image by cmp.
- Programs run at their defaults with encryption on: borg with zstd,1 and repokey-blake2, kopia with zstd-fastest, orlop opened by a key file, the others by a password (their key derivation is part of the time). Holes of images are restored as holes by orlop; the others decide themselves.
- Peers take part in the steps of the sparse image in the first round only: each of them reads all of its holes.
- `check` is what each program calls so, at its default depth; kopia: `snapshot verify`.
- limit is the fused loop of the same kernels in this process, with as many threads as CPUs, packs written and synced where the step stores.
";

/// Below, what is stored is not compared.
const STORED_LEN_MIN: f64 = 65536.0;

/// Who and what was measured.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The machine before the first run.
    pub machine: String,
    /// Versions of programs.
    pub versions: Vec<String>,
    /// Names of programs that were not there.
    pub missing: Vec<String>,
    /// The command line.
    pub command: String,
    /// Rounds.
    pub rounds: usize,
    /// What images are, line by line.
    pub images: String,
    /// Structure of the base and the base's bytes without holes.
    pub structure: Option<(u64, u64)>,
    /// Sizes are not those of the issue.
    pub small: bool,
}

/// The commit that is checked out, and whether files differ from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (
        git(&["rev-parse", "HEAD"]),
        git(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":!benches/RESULTS.md"]),
    ) {
        (Some(commit), Some(changed)) if changed.is_empty() => commit,
        (Some(commit), _) => format!("{commit}, dirty"),
        _ => "unknown".into(),
    }
}

/// The whole page.
pub fn page(setting: &Setting, samples: &Samples) -> String {
    let mut out =
        String::from("# Results of the macro benchmark\n\nWritten by `macro-bench`; do not edit.\n\n");
    let share = setting.structure.map(|(len, of)| len as f64 / (of as f64).max(1.0));
    let noise = median(samples.0.iter().map(|sample| sample.others * 100.0));
    let worst = samples.0.iter().map(|sample| sample.others * 100.0).fold(0.0, f64::max);
    let lines = [
        ("machine", setting.machine.clone()),
        ("afterwards", machine()),
        ("others", format!("{noise:.0} % of the processors in the median run, {worst:.0} % in the worst")),
        ("versions", setting.versions.join(", ")),
        ("not there", if setting.missing.is_empty() { "none".into() } else { setting.missing.join(", ") }),
        ("commit", commit()),
        ("command", format!("`{}`", setting.command)),
        ("rounds", format!("{}, all programs in turns; medians (least to most)", setting.rounds)),
    ];
    out.push_str("| | |\n|---|---|\n");
    for (name, text) in lines {
        put(&mut out, format_args!("| {name} | {text} |\n"));
    }
    if setting.small {
        out.push_str("\n**Sizes are smaller than issue 5 asks for: these are not its figures.**\n");
    }
    if noise > 10.0 {
        out.push_str("\n**The machine was busy with other things: these figures mean little.**\n");
    }
    if cfg!(debug_assertions) {
        out.push_str("\n**Built without optimisation: the limit is none.**\n");
    }
    out.push_str("\n## Images\n\n");
    for line in setting.images.lines() {
        put(&mut out, format_args!("- {line}\n"));
    }
    out.push_str("\n## Demands\n\n| demand | found | |\n|---|---|---|\n");
    for check in checks(samples, share) {
        put(&mut out, format_args!("{}\n", demand(&check)));
    }
    let extra = Extra::ALL.into_iter().flat_map(Extra::steps);
    for step in Step::MAIN.into_iter().chain(extra) {
        table(&mut out, step, samples);
    }
    put(&mut out, format_args!("\n## Notes\n\n{NOTES}"));
    out
}

/// Writing to a string does not fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn demand(check: &Check) -> String {
    let verdict = match (&check.found, check.met) {
        (None, _) => "not measured",
        (_, true) => "met",
        (_, false) => "**NOT met**",
    };
    format!("| {} | {} | {verdict} |", check.what, check.found.as_deref().unwrap_or("-"))
}

fn table(out: &mut String, step: Step, samples: &Samples) {
    let peers = samples.peers(step);
    put(out, format_args!("\n## {}\n\n", step.text()));
    out.push_str("| program | wall s | CPU s | peak MiB | stored MiB | wall : orlop | CPU : orlop | stored : orlop |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for who in [OURS].into_iter().chain(peers).chain([LIMIT]) {
        let Some(wall) = cell(samples, who, step, Measure::Wall, 1.0) else { continue };
        let cpu = cell(samples, who, step, Measure::Cpu, 1.0).unwrap_or_default();
        let of = |measure| cell(samples, who, step, measure, f64::from(1 << 20)).unwrap_or_default();
        let (memory, stored) =
            (if who == LIMIT { "-".into() } else { of(Measure::Memory) }, of(Measure::Stored));
        let ratio = |measure| match samples.ratio(step, measure, who, OURS) {
            Some(ratio) if who != OURS => format!("{ratio:.2}"),
            _ => "-".into(),
        };
        // where hardly anything is stored the ratio says nothing
        let stored_ratio = samples.median(OURS, step, Measure::Stored).filter(|len| *len >= STORED_LEN_MIN);
        let stored_ratio = stored_ratio.map_or("-".into(), |_| ratio(Measure::Stored));
        let (wall_ratio, cpu_ratio) = (ratio(Measure::Wall), ratio(Measure::Cpu));
        put(
            out,
            format_args!(
                "| {who} | {wall} | {cpu} | {memory} | {stored} | {wall_ratio} | {cpu_ratio} | {stored_ratio} |\n"
            ),
        );
    }
    if let Some(part) = samples.part_of_limit(step) {
        put(out, format_args!("\norlop reaches {:.1} % of the limit.\n", part * 100.0));
    }
}

/// `1.23 (1.20 to 1.31)`.
fn cell(samples: &Samples, who: &str, step: Step, measure: Measure, unit: f64) -> Option<String> {
    let (middle, (low, high)) = (samples.median(who, step, measure)?, samples.spread(who, step, measure)?);
    // memory in whole MiB, what is stored about to a KiB
    let digits = match measure {
        Measure::Memory => 0,
        Measure::Stored => 3,
        _ => 2,
    };
    let show = |value: f64| format!("{:.digits$}", value / unit);
    Some(if show(low) == show(high) {
        show(middle)
    } else {
        format!("{} ({} to {})", show(middle), show(low), show(high))
    })
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    #[test]
    fn a_page_names_what_is_missed_and_what_is_missing() {
        let mut samples = Samples::default();
        for (round, slow) in [(0, 1.0), (1, 1.2), (2, 4.0)] {
            samples.0.push(sample(OURS, Step::Initial, round, slow, 3 << 20));
            samples.0.push(sample("restic", Step::Initial, round, 2.0 * slow, 3 << 20));
            samples.0.push(sample(LIMIT, Step::Initial, round, 0.9 * slow, 3 << 20));
        }
        let setting = Setting {
            machine: "m".into(),
            versions: vec!["restic 0.19.1".into()],
            missing: vec!["borg".into()],
            command: "macro-bench".into(),
            rounds: 3,
            images: "A: x\n".into(),
            structure: Some((4, 1000)),
            small: true,
        };
        let page = page(&setting, &samples);
        for line in [
            "| orlop | 1.20 (1.00 to 4.00) | 0.60 (0.50 to 2.00) | 1 | 3.000 | - | - | - |",
            "| restic | 2.40 (2.00 to 8.00) | 1.20 (1.00 to 4.00) | 1 | 3.000 | 2.00 | 2.00 | 1.00 |",
            "| initial (A): >= 2.5x of the best peer in time | 2.00x (restic) | **NOT met** |",
            "| structure of the base: <= 0.45 % of its bytes | 0.400 % | met |",
            "| restore (B): >= 2.5x of the best peer in time | - | not measured |",
            "| not there | borg |",
            "orlop reaches 90.0 % of the limit.",
            "**Sizes are smaller than issue 5 asks for: these are not its figures.**",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\nin\n{page}");
        }
    }
}
