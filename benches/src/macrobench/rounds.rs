//! Runs all programs in turns.

use super::checks::structure_len;
use super::images::{Images, State};
use super::programs::{Action, Kind, Program, compare, only_file, remove_tree};
use super::results::{LIMIT, Sample, Samples};
use super::steps::{Extra, Step};
use crate::cpu::{Reading, Usage};
use crate::fused::{self, Mode};
use crate::image::Image;
use crate::process::Cost;
use crate::{Keys, kernels, params};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The volume that changes, and all other ones.
const VOLUME: &str = "bench/volume";
const OTHER: &str = "bench/other";

/// Programs, images and what was measured so far.
pub struct Bench {
    images: Images,
    programs: Vec<Program>,
    work: PathBuf,
    threads: usize,
    /// All runs so far.
    pub samples: Samples,
    /// Structure of orlop's repository after the first backup of A, in bytes.
    pub structure_len: Option<u64>,
}

impl Bench {
    /// A benchmark of these programs that works in `work`, which is removed.
    pub fn new(images: Images, programs: Vec<Program>, work: &Path) -> Result<Self> {
        let threads = std::thread::available_parallelism()?.get();
        remove_tree(work)?;
        fs::create_dir_all(work)?;
        let samples = Samples::default();
        Ok(Bench { images, programs, work: work.to_owned(), threads, samples, structure_len: None })
    }

    /// All steps once.
    pub fn round(&mut self, round: usize) -> Result<()> {
        self.images.bring(State::A)?;
        self.series(round, &Step::MAIN)?;
        for extra in Extra::ALL {
            self.series(round, &extra.steps())?;
        }
        Ok(())
    }

    /// Some steps with fresh repositories, which are gone afterwards.
    fn series(&mut self, round: usize, steps: &[Step]) -> Result<()> {
        for program in &self.programs {
            program.start().with_context(|| format!("{}: no repository", program.kind.name()))?;
        }
        for step in steps {
            self.step(round, *step).with_context(|| step.text())?;
        }
        self.programs.iter().try_for_each(Program::finish)
    }

    fn source(&self, step: Step) -> PathBuf {
        match step {
            Step::Other => self.images.other(),
            Step::ExtraInitial(extra) | Step::ExtraUnchanged(extra) | Step::ExtraRestore(extra) => {
                self.images.extra(extra.name())
            }
            _ => self.images.volume(),
        }
    }

    /// One step by all programs; another one begins each round.
    fn step(&mut self, round: usize, step: Step) -> Result<()> {
        if let Step::Changed(state) = step {
            self.images.bring(state)?;
        }
        let source = self.source(step);
        // each finds the image in memory, if there is room for it: borg has the system drop what it has read
        let in_memory = || Image::open(&source, params()?.segment_len());
        let turns = self.programs.len();
        for turn in 0..turns {
            let Some(program) = self.programs.get((turn + round) % turns).cloned() else { continue };
            if round > 0 && step.is_once_for_peers() && program.kind != Kind::Orlop {
                continue;
            }
            in_memory()?;
            let sample = self.run(round, step, &source, &program)?;
            self.record(sample);
            if step == Step::Initial && program.kind == Kind::Orlop {
                self.structure_len = Some(structure_len(&program.repository())?);
            }
        }
        if let Step::Initial | Step::Unchanged | Step::ExtraInitial(Extra::Random) = step {
            let sample = self.limit(round, step, &in_memory()?)?;
            self.record(sample);
        }
        Ok(())
    }

    fn record(&mut self, sample: Sample) {
        let Sample { who, step, round, cost, stored_len, others } = sample;
        eprintln!(
            "round {round}  {:<30} {who:<7} {:>8.2} s {:>8.2} s CPU {:>5} MiB, {:>9} KiB stored, others {:>3.0} %",
            step.text(),
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.memory_len >> 20,
            stored_len >> 10,
            others * 100.0
        );
        self.samples.0.push(sample);
    }

    fn run(&self, round: usize, step: Step, source: &Path, program: &Program) -> Result<Sample> {
        let (who, snapshot) = (program.kind.name(), step.snapshot());
        let volume = if step == Step::Other { OTHER } else { VOLUME };
        let target = self.work.join("restored");
        let forced = matches!(step, Step::Unchanged | Step::ExtraUnchanged(_));
        let action = match step {
            Step::Restore | Step::ExtraRestore(_) => {
                remove_tree(&target)?;
                fs::create_dir_all(&target)?;
                Action::Restore { source, volume, snapshot, target: &target }
            }
            Step::Check => Action::Check { read_data: false },
            Step::CheckData => Action::Check { read_data: true },
            _ => Action::Backup { source, volume, snapshot, forced },
        };
        let before = program.stored_len()?;
        let start = Reading::now();
        let cost = program.run(&action).with_context(|| format!("{who}, round {round}"))?;
        let others = others(&start.until_now(), &cost);
        if let Action::Restore { target, .. } = action {
            let found = only_file(target).with_context(|| who)?;
            compare(source, &found).with_context(|| format!("{who}: restored something else"))?;
            remove_tree(target)?;
        }
        let stored_len = program.stored_len()?.saturating_sub(before);
        Ok(Sample { who, step, round, cost, stored_len, others })
    }

    /// The fused loop on the same image, with packs written and synced where the step stores.
    fn limit(&self, round: usize, step: Step, image: &Image) -> Result<Sample> {
        let (keys, out) = (Keys::new()?, self.work.join("limit"));
        let page_ids = match step {
            Step::Unchanged => kernels::run(image, &keys, self.threads, None)?.page_ids,
            _ => vec![],
        };
        remove_tree(&out)?;
        fs::create_dir_all(&out)?;
        let start = Reading::now();
        let run = match step {
            Step::Unchanged => fused::run(image, &keys, self.threads, Mode::Unchanged(&page_ids))?,
            _ => fused::run(image, &keys, self.threads, Mode::Initial { level: 1, out: Some(&out) })?,
        };
        let usage = start.until_now();
        remove_tree(&out)?;
        let cost = Cost { wall: run.time, cpu: usage.own, memory_len: 0 };
        Ok(Sample { who: LIMIT, step, round, cost, stored_len: run.stored_len, others: usage.others })
    }
}

/// Programs count as others in the usage of this process.
fn others(usage: &Usage, cost: &Cost) -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    (usage.others - cost.cpu.as_secs_f64() / (cost.wall.as_secs_f64() * cpus).max(1e-9)).clamp(0.0, 1.0)
}
