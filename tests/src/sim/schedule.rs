//! Machines and their jobs, one thread, one order: the seed's.

use super::content::Spec;
use super::jobs::{Job, Outcome};
use super::objects::ProcessNo;
use super::oracle::Model;
use super::process::open;
use super::profile::{Act, Chore, DAY, Profile};
use super::rng::Rng;
use super::trace::{Trace, time};
use super::world::{Shared, Step, World};
use super::{Base, base};
use futures::future::LocalBoxFuture;
use repository::{Repository, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A schedule that takes more steps than this is stuck.
const STEPS_MAX: u64 = 200_000;

/// What became of a seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub hash: u64,
    /// Calls that reached the store.
    pub calls: u64,
    /// Snapshots committed.
    pub commits: u64,
    /// Volumes of which only what changed was read.
    pub by_ranges: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// What does not hold.
    pub failure: Option<String>,
    /// What happened, if that was asked for.
    pub lines: Vec<String>,
}

impl Report {
    /// Of a schedule whose engine panicked.
    pub fn panicked(seed: u64, what: String) -> Self {
        let failure = Some(format!("panic: {what}"));
        Report { seed, hash: 0, calls: 0, commits: 0, by_ranges: 0, crashes: 0, failure, lines: Vec::new() }
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task {
    job: Job,
    work: LocalBoxFuture<'static, Result<Outcome>>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// A machine: its jobs run one after the other, in the same process unless that crashes.
struct Machine {
    /// Each with the time before which it does not begin.
    jobs: VecDeque<(Option<u64>, Job)>,
    process: Option<(ProcessNo, Repository)>,
    task: Option<Task>,
    may_delete: bool,
    keeper: bool,
    skew_ms: i64,
}

/// A running schedule.
pub struct Schedule {
    seed: u64,
    world: Shared,
    base: Arc<Base>,
    machines: Vec<Machine>,
    model: Model,
    crashes: u64,
    by_ranges: u64,
}

impl Schedule {
    /// The schedule of a seed, with the mixture `shape` makes of the one that the seed draws.
    pub fn new(seed: u64, lines: bool, shape: &dyn Fn(&mut Profile, &mut Rng)) -> Self {
        let mut rng = Rng::new(seed);
        let mut profile = Profile::draw(&mut rng);
        shape(&mut profile, &mut rng);
        let base = base(profile.delta_ms);
        let store = base.objects.with_lag(&profile, seed);
        let trace = if lines { Trace::with_lines() } else { Trace::default() };
        let world = Shared::new(World::new(store, profile, rng, trace));
        Schedule {
            seed,
            world,
            base,
            machines: Vec::new(),
            model: Model::default(),
            crashes: 0,
            by_ranges: 0,
        }
    }

    /// Runs to the end and verifies.
    pub fn run(mut self) -> Report {
        let failure = self.rounds().err();
        self.machines.clear();
        let mut world = self.world.lock();
        let lines = world.trace.take_lines();
        Report {
            seed: self.seed,
            hash: world.trace.hash(),
            calls: world.calls,
            commits: self.model.committed.len() as u64,
            by_ranges: self.by_ranges,
            crashes: self.crashes,
            failure,
            lines,
        }
    }

    fn rounds(&mut self) -> Result<(), String> {
        self.add_machines();
        self.settle()?;
        self.model.verify(&self.world, &self.base)?;
        if self.seed.is_multiple_of(2) { self.tidy() } else { Ok(()) }
    }

    /// Nothing fails any more, and the old has its week: what nobody needs must be gone afterwards.
    fn tidy(&mut self) -> Result<(), String> {
        {
            let mut world = self.world.lock();
            world.calm = true;
            world.now_ms += 15 * DAY;
            world.start_later(self.machines.len(), 1);
        }
        let (jobs, may_delete, keeper) = ([(None, Job::Tidy)].into(), true, true);
        let machine = Machine { jobs, process: None, task: None, may_delete, keeper, skew_ms: 0 };
        self.machines.push(machine);
        self.settle()?;
        self.world.lock().now_ms += DAY;
        self.model.verify(&self.world, &self.base)?;
        self.model.verify_size(&self.world, &self.base)
    }

    fn add_machines(&mut self) {
        let world = self.world.clone();
        let mut world = world.lock();
        let profile = world.profile.clone();
        if !profile.script.is_empty() {
            return self.add_scripted(&mut world, &profile);
        }
        for n in 0..profile.writers + profile.keepers {
            let keeper = n >= profile.writers;
            let mut jobs = VecDeque::new();
            for _ in 0..1 + world.rng.below(profile.jobs) {
                let job = self.draw_job(&mut world.rng, &profile, keeper);
                jobs.push_back((None, job));
            }
            self.add_machine(&mut world, keeper, jobs);
        }
    }

    fn add_machine(&mut self, world: &mut World, keeper: bool, jobs: VecDeque<(Option<u64>, Job)>) {
        let may_delete = keeper || world.rng.chance(700);
        let skew_ms = world.rng.pick(&[0, 0, -3_600_000, 3_600_000, 40_000]);
        self.machines.push(Machine { jobs, process: None, task: None, may_delete, keeper, skew_ms });
        self.start_later(world, self.machines.len() - 1);
    }

    fn add_scripted(&mut self, world: &mut World, profile: &Profile) {
        for (keeper, steps) in &profile.script {
            let mut jobs = VecDeque::new();
            for (when, step) in steps {
                let at_ms = when.start + world.rng.below(when.end - when.start);
                let job = match step {
                    Act::Backup(volumes) => {
                        let spec = Arc::new(Spec::of(volumes, profile.script_tokens, self.model.specs.len()));
                        self.model.specs.push(spec.clone());
                        Job::Backup(spec, Vec::new())
                    }
                    Act::Do(chore) => {
                        let (choice, window_ms) = (world.rng.next(), world.rng.pick(&profile.windows_ms));
                        Job::Chore { chore: *chore, choice, window_ms, pace: profile.pace }
                    }
                    Act::Prune(window_ms) => {
                        let (chore, choice) = (Chore::Prune, world.rng.next());
                        Job::Chore { chore, choice, window_ms: *window_ms, pace: profile.pace }
                    }
                };
                jobs.push_back((Some(at_ms), job));
            }
            self.add_machine(world, *keeper, jobs);
        }
    }

    fn draw_job(&mut self, rng: &mut Rng, profile: &Profile, keeper: bool) -> Job {
        let total: u64 = profile.chores.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.below(total);
        let mut chore = Chore::Backup;
        for (one, weight) in profile.chores.iter().filter(|_| keeper) {
            if left < *weight {
                chore = *one;
                break;
            }
            left -= weight;
        }
        if chore != Chore::Backup {
            let (choice, window_ms) = (rng.next(), rng.pick(&profile.windows_ms));
            return Job::Chore { chore, choice, window_ms, pace: profile.pace };
        }
        let spec = Arc::new(Spec::draw(rng, profile, self.model.specs.len()));
        // every third one, without drawing: schedules stay what they are
        let by_ranges = profile.ranges && spec.no % 3 == 2;
        let earlier = if by_ranges { self.model.specs.clone() } else { Vec::new() };
        self.model.specs.push(spec.clone());
        Job::Backup(spec, earlier)
    }

    fn start_later(&self, world: &mut World, machine: usize) {
        let after_ms = match self.machines[machine].jobs.front() {
            Some((Some(at_ms), _)) => at_ms.saturating_sub(world.now_ms),
            _ => {
                let profile = world.profile.clone();
                let pause_ms = world.rng.pick(&profile.pauses_ms);
                world.rng.below(pause_ms)
            }
        };
        world.start_later(machine, after_ms);
    }

    /// Runs until nothing is left to happen.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            while let Some(ready) = self.ready() {
                self.poll(ready)?;
            }
            let step = self.world.lock().step();
            match step {
                Step::Done => {}
                Step::Start(machine) => self.start(machine),
                Step::End => {
                    let stuck = self.machines.iter().find_map(|machine| machine.task.as_ref());
                    return stuck.map_or(Ok(()), |task| Err(format!("stuck: {}", task.job.text())));
                }
            }
        }
        Err(format!("no end after {STEPS_MAX} steps"))
    }

    /// One of the machines that can go on.
    fn ready(&self) -> Option<usize> {
        let mut world = self.world.lock();
        let mut ready = Vec::new();
        for (n, machine) in self.machines.iter().enumerate() {
            if let (Some(task), Some((process, _))) = (&machine.task, &machine.process)
                && task.flag.0.load(Ordering::SeqCst)
                && world.may_run(*process)
            {
                ready.push(n);
            }
        }
        if ready.is_empty() { None } else { Some(world.rng.pick(&ready)) }
    }

    fn start(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        let Some((_, job)) = machine.jobs.pop_front() else { return };
        let (skew_ms, rights) = (machine.skew_ms, (machine.may_delete, machine.keeper));
        let (process, repository) = machine
            .process
            .get_or_insert_with(|| open(&self.world, &self.base, self.seed, skew_ms, rights))
            .clone();
        {
            let mut world = self.world.lock();
            let now = time(world.now_ms);
            world.trace.add(&[1, number as u64], "", || format!("{now} p{process} {}", job.text()));
        }
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        machine.task = Some(Task { work: Box::pin(job.clone().run(repository)), job, flag, waker });
    }

    fn poll(&mut self, number: usize) -> Result<(), String> {
        let machine = &mut self.machines[number];
        let (Some(task), Some((process, _))) = (&mut machine.task, &machine.process) else { return Ok(()) };
        let process = *process;
        task.flag.0.store(false, Ordering::SeqCst);
        let polled = task.work.as_mut().poll(&mut Context::from_waker(&task.waker));
        let crashed = self.world.lock().crashed.remove(&process);
        if crashed {
            // dropped, not ended: its process is no more
            drop(machine.task.take());
            machine.process = None;
            self.crashes += 1;
        } else if let Poll::Ready(result) = polled {
            let job = machine.task.take().map(|task| task.job);
            self.finish(process, job, result)?;
        } else {
            return Ok(());
        }
        self.start_later(&mut self.world.lock(), number);
        Ok(())
    }

    fn finish(
        &mut self,
        process: ProcessNo,
        job: Option<Job>,
        result: Result<Outcome>,
    ) -> Result<(), String> {
        let job = job.ok_or("a job that nobody gave")?;
        let said = match &result {
            Ok(Outcome::Committed(sid, _)) => format!("committed {sid}"),
            Ok(Outcome::Done(what)) => what.clone(),
            Ok(Outcome::Nothing) => "nothing to do".into(),
            Err(error) => format!("error: {error}"),
        };
        {
            let mut world = self.world.lock();
            let now = time(world.now_ms);
            world.trace.add(&[2], &said, || format!("{now} p{process} {}: {said}", job.text()));
        }
        match result {
            Ok(Outcome::Committed(sid, by_ranges)) => {
                self.by_ranges += by_ranges;
                self.model.committed.push(sid);
                if let Job::Backup(spec, _) = &job {
                    self.model.backed_up.push((sid, spec.no));
                }
            }
            Ok(_) => {}
            Err(error) if job.may_fail_with(&error) => {}
            Err(error) => return Err(format!("{} failed: {error}", job.text())),
        }
        Ok(())
    }
}
