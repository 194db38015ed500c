//! The world of a schedule: virtual time, the store, and every call on its way to it or back.
//!
//! Nothing here runs by itself. Processes hand in calls; [`World::step`] takes whatever is next in
//! virtual time, lets it happen, and wakes who waits for it.

use super::objects::{Landing, Objects, ProcessNo};
use super::profile::{LATE_MAX_MS, MINUTE, Profile, SECOND};
use super::rng::Rng;
use super::trace::{Trace, time};
use bytes::Bytes;
use repository::store::{DriverError, ObjectMeta};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The world, as processes hold it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// Shares a world.
    pub(super) fn new(world: World) -> Self {
        Shared(Arc::new(Mutex::new(world)))
    }

    /// Looks at it, or changes it.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to the store.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// Put-if-absent.
    Put(String, Bytes),
    /// A read, whole or in part.
    Get(String, Option<Range<u64>>),
    /// Length and time.
    Head(String),
    /// One page of a listing: prefix, and the last name of the page before.
    List(String, Option<String>),
    /// A removal.
    Delete(String),
}

impl Call {
    fn text(&self) -> (&'static str, &str) {
        match self {
            Call::Put(name, _) => ("put", name),
            Call::Get(name, _) => ("get", name),
            Call::Head(name) => ("head", name),
            Call::List(prefix, after) => ("list", after.as_ref().unwrap_or(prefix)),
            Call::Delete(name) => ("delete", name),
        }
    }
}

/// What the store says.
#[derive(Debug)]
pub(super) enum Reply {
    /// It is done.
    Done,
    /// Bytes of an object.
    Bytes(Bytes),
    /// Length and time.
    Meta(ObjectMeta),
    /// Names; true if more may follow.
    Page(Vec<ObjectMeta>, bool),
}

type Answer = Result<Reply, DriverError>;

/// Names a call, a timer or a start in the queue: when, and in which order.
pub(super) type Key = (u64, u64);

enum Event {
    /// A call reaches the store. It is answered after so many milliseconds, or never.
    Effect {
        call: Call,
        from: ProcessNo,
        sent_ms: u64,
        ticket: Option<u64>,
        back_ms: Option<u64>,
        fail: bool,
    },
    /// An answer reaches its process.
    Answer { ticket: u64, answer: Answer },
    /// A wait is over.
    Timer(Option<Waker>),
    /// A process goes on.
    Thaw,
    /// A machine turns to its next job.
    Start(usize),
}

struct Waiting {
    from: ProcessNo,
    answer: Option<Answer>,
    waker: Option<Waker>,
    /// The process stops when this is answered.
    stop_ms: u64,
}

/// A process as the world sees it.
struct Process {
    dead: bool,
    stopped_until_ms: u64,
    outage_until_ms: u64,
    /// Milliseconds that a call takes one way, at most.
    latency_ms: u64,
    may_delete: bool,
    keeper: bool,
}

/// What [`World::step`] came to.
pub(super) enum Step {
    /// Something happened in the world.
    Done,
    /// A machine turns to its next job.
    Start(usize),
    /// Nothing will ever happen again.
    End,
}

/// All of it.
pub(super) struct World {
    /// Virtual milliseconds since the schedule began.
    pub(super) now_ms: u64,
    /// Decides everything.
    pub(super) rng: Rng,
    /// The store.
    pub(super) store: Objects,
    /// What may happen.
    pub(super) profile: Arc<Profile>,
    /// What happened.
    pub(super) trace: Trace,
    processes: Vec<Process>,
    queue: BTreeMap<Key, Event>,
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
    /// Processes that ended in the middle of a call.
    pub(super) crashed: BTreeSet<ProcessNo>,
    /// Nothing fails, is late or stops any more.
    pub(super) calm: bool,
    /// Calls that reached the store.
    pub(super) calls: u64,
}

impl World {
    /// A world before anything happened.
    pub(super) fn new(store: Objects, profile: Profile, rng: Rng, trace: Trace) -> Self {
        World {
            now_ms: 0,
            rng,
            store,
            profile: Arc::new(profile),
            trace,
            processes: Vec::new(),
            queue: BTreeMap::new(),
            waiting: BTreeMap::new(),
            last: 0,
            crashed: BTreeSet::new(),
            calm: false,
            calls: 0,
        }
    }

    /// A new process.
    pub(super) fn add_process(&mut self, may_delete: bool, keeper: bool) -> ProcessNo {
        let latency_ms = self.rng.pick(self.profile.latencies_ms);
        let process =
            Process { dead: false, stopped_until_ms: 0, outage_until_ms: 0, latency_ms, may_delete, keeper };
        self.processes.push(process);
        self.processes.len() - 1
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn push(&mut self, at_ms: u64, event: Event) -> Key {
        let key = (at_ms, self.number());
        self.queue.insert(key, event);
        key
    }

    /// Lets a machine turn to its next job, later.
    pub(super) fn start_later(&mut self, machine: usize, after_ms: u64) {
        self.push(self.now_ms + after_ms, Event::Start(machine));
    }

    /// A wait that ends at `at_ms`.
    pub(super) fn add_timer(&mut self, at_ms: u64) -> Key {
        self.push(at_ms, Event::Timer(None))
    }

    /// Says whom to wake; true once the wait is over.
    pub(super) fn poll_timer(&mut self, key: Key, waker: &Waker) -> bool {
        match self.queue.get_mut(&key) {
            Some(Event::Timer(slot)) => {
                *slot = Some(waker.clone());
                false
            }
            _ => true,
        }
    }

    /// Nobody waits any more.
    pub(super) fn remove_timer(&mut self, key: Key) {
        self.queue.remove(&key);
    }

    /// False while a process is stopped.
    pub(super) fn may_run(&self, process: ProcessNo) -> bool {
        self.processes[process].stopped_until_ms <= self.now_ms
    }

    fn stop(&mut self, process: ProcessNo, for_ms: u64) {
        let until_ms = (self.now_ms + for_ms).max(self.processes[process].stopped_until_ms);
        self.processes[process].stopped_until_ms = until_ms;
        let now = time(self.now_ms);
        self.trace.add(&[4, for_ms], "", || format!("{now} p{process} stops until{}", time(until_ms)));
        self.push(until_ms, Event::Thaw);
    }

    /// Ends a process. What is on its way may still arrive.
    fn crash(&mut self, process: ProcessNo) {
        self.processes[process].dead = true;
        self.crashed.insert(process);
        let now = time(self.now_ms);
        self.trace.add(&[5], "", || format!("{now} p{process} crashes"));
        let mut lost = Vec::new();
        for (key, event) in &self.queue {
            if matches!(event, Event::Effect { from, .. } if *from == process) {
                lost.push(*key);
            }
        }
        for key in lost {
            if self.rng.chance(500) {
                self.queue.remove(&key);
            }
        }
    }

    /// Takes a call; the ticket under which its answer will be found. `None` ends the process.
    pub(super) fn submit(&mut self, from: ProcessNo, call: Call) -> Option<u64> {
        let calm = self.calm;
        let chance = |world: &mut World, permille: u64| !calm && world.rng.chance(permille);
        let crash = chance(self, self.profile.crash);
        if crash && self.rng.chance(500) {
            self.crash(from);
            return None;
        }
        let mut stop_ms = 0;
        let mut send_ms = self.now_ms;
        let (verb, name) = call.text();
        let at = self.profile.stop_at;
        let here = at.is_empty() || at.iter().any(|(v, prefix)| *v == verb && name.starts_with(prefix));
        let here = here && self.profile.stop_keepers.is_none_or(|k| k == self.processes[from].keeper);
        if here && chance(self, self.profile.stop) {
            let profile = self.profile.clone();
            let longest = self.rng.pick(&profile.stops_ms);
            let of = |(writers, keepers)| if self.processes[from].keeper { keepers } else { writers };
            let (least, unsent) = (of(profile.stop_least_ms), of(profile.stop_unsent));
            let for_ms = 1 + least + self.rng.below(longest * 2);
            if self.rng.chance(unsent) {
                // computed, not sent yet
                self.stop(from, for_ms);
                send_ms += for_ms;
            } else {
                stop_ms = for_ms;
            }
        }
        let ticket = self.number();
        self.waiting.insert(ticket, Waiting { from, answer: None, waker: None, stop_ms });
        self.send(from, call, send_ms, ticket);
        if crash {
            self.crash(from);
            return None;
        }
        Some(ticket)
    }

    /// Decides what the network and the store do to a call.
    fn send(&mut self, from: ProcessNo, call: Call, sent_ms: u64, ticket: u64) {
        let (calm, profile) = (self.calm, self.profile.clone());
        let latency_ms = if calm { 1 } else { self.processes[from].latency_ms };
        let there_ms = sent_ms + 1 + self.rng.below(latency_ms);
        let mut back_ms = Some(1 + self.rng.below(latency_ms));
        let refused = matches!(call, Call::Delete(_)) && !self.processes[from].may_delete;
        if refused {
            let answer = Err(DriverError::Permanent("this key may not delete".into()));
            self.push(there_ms, Event::Answer { ticket, answer });
            return;
        }
        let chance = |world: &mut World, permille: u64| !calm && world.rng.chance(permille);
        if chance(self, profile.outage) {
            self.processes[from].outage_until_ms = sent_ms + 1 + self.rng.below(8 * MINUTE);
        }
        let outage = !calm && self.processes[from].outage_until_ms > sent_ms;
        let fails = if profile.fail_keepers || !self.processes[from].keeper { profile.fail } else { 0 };
        if outage || chance(self, fails) && self.rng.chance(500) {
            let answer = Err(DriverError::Transient("503 by the schedule".into()));
            self.push(there_ms, Event::Answer { ticket, answer });
            return;
        }
        let fail = chance(self, fails);
        let mut effect_ms = there_ms;
        if chance(self, profile.late) {
            match self.rng.below(3) {
                0 => back_ms = None,
                1 => effect_ms += self.late_by(&call),
                _ => return self.forget_call(&call, from, sent_ms),
            }
        }
        let changes = matches!(call, Call::Put(..) | Call::Delete(_));
        if changes && chance(self, profile.twice) {
            let again_ms = effect_ms + self.late_by(&call);
            let call = call.clone();
            let ticket = None;
            self.push(again_ms, Event::Effect { call, from, sent_ms, ticket, back_ms: None, fail: false });
        }
        self.push(effect_ms, Event::Effect { call, from, sent_ms, ticket: Some(ticket), back_ms, fail });
    }

    fn late_by(&mut self, call: &Call) -> u64 {
        let longest = match call {
            // A3: as late as it likes
            Call::Delete(_) => self.rng.pick(&[MINUTE, 60 * MINUTE, 3 * 1440 * MINUTE]),
            _ => self.rng.pick(&[10 * SECOND, 2 * MINUTE, LATE_MAX_MS - MINUTE]),
        };
        self.rng.below(longest)
    }

    fn forget_call(&mut self, call: &Call, from: ProcessNo, sent_ms: u64) {
        let (verb, name) = call.text();
        self.trace.add(&[6, sent_ms], name, || format!("{} p{from} {verb} {name}: lost", time(sent_ms)));
    }

    /// The answer to a call, once it is there.
    pub(super) fn take_answer(&mut self, ticket: u64, waker: &Waker) -> Option<Answer> {
        let waiting = self.waiting.get_mut(&ticket)?;
        match waiting.answer.take() {
            Some(answer) => {
                self.waiting.remove(&ticket);
                Some(answer)
            }
            None => {
                waiting.waker = Some(waker.clone());
                None
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
    }

    /// Lets happen what is next.
    pub(super) fn step(&mut self) -> Step {
        let Some(((at_ms, _), event)) = self.queue.pop_first() else { return Step::End };
        self.now_ms = at_ms.max(self.now_ms);
        match event {
            Event::Effect { call, from, sent_ms, ticket, back_ms, fail } => {
                let answer = self.happen(&call, from, sent_ms, ticket.is_none());
                let answer =
                    if fail { Err(DriverError::Transient("reset by the schedule".into())) } else { answer };
                if let (Some(ticket), Some(back_ms)) = (ticket, back_ms) {
                    self.push(self.now_ms + back_ms, Event::Answer { ticket, answer });
                }
            }
            Event::Answer { ticket, answer } => self.deliver(ticket, answer),
            Event::Timer(waker) => waker.into_iter().for_each(Waker::wake),
            Event::Thaw => {}
            Event::Start(machine) => return Step::Start(machine),
        }
        Step::Done
    }

    fn deliver(&mut self, ticket: u64, answer: Answer) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        let (from, stop_ms) = (waiting.from, waiting.stop_ms);
        waiting.answer = Some(answer);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        if stop_ms > 0 && !self.processes[from].dead {
            self.stop(from, stop_ms);
        }
    }

    /// The effect of a call at the store, now.
    pub(super) fn happen(&mut self, call: &Call, from: ProcessNo, sent_ms: u64, again: bool) -> Answer {
        let now_ms = self.now_ms;
        self.calls += 1;
        let answer = match call {
            Call::Put(name, bytes) => {
                let window_ms = self.profile.window_ms();
                let landing = Landing { writer: from, sent_ms, now_ms, window_ms };
                match self.store.put(name, bytes.clone(), &landing) {
                    Some(put) => put.map(|()| Reply::Done),
                    None => Err(DriverError::Transient("too late".into())),
                }
            }
            Call::Get(name, range) => self.store.get(name, from, now_ms).map(|bytes| {
                let Some(range) = range else { return Reply::Bytes(bytes) };
                let clip = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
                let (start, end) = (clip(range.start), clip(range.end));
                Reply::Bytes(bytes.slice(start.min(end)..end))
            }),
            Call::Head(name) => self.store.head(name, from, now_ms).map(Reply::Meta),
            Call::List(prefix, after) => {
                let count = self.profile.page_len;
                let page = self.store.page(prefix, after.as_deref(), count, from, now_ms);
                let more = page.len() == count;
                Ok(Reply::Page(page, more))
            }
            Call::Delete(name) => {
                self.store.remove(name, from, now_ms);
                Ok(Reply::Done)
            }
        };
        let (verb, name) = call.text();
        let size = match &answer {
            Ok(Reply::Page(page, _)) => page.len() as u64,
            Ok(Reply::Bytes(bytes)) => bytes.len() as u64,
            Ok(_) => 1,
            Err(_) => 0,
        };
        self.trace.add(&[now_ms, from as u64, size], name, || {
            let said = match &answer {
                Ok(Reply::Page(page, _)) => {
                    let names: Vec<_> = page.iter().map(|meta| meta.name.as_str()).collect();
                    format!("[{}]", names.join(" "))
                }
                Ok(Reply::Bytes(bytes)) => format!("{} bytes", bytes.len()),
                Ok(_) => "ok".into(),
                Err(error) => error.to_string(),
            };
            let again = if again { " again" } else { "" };
            format!("{} p{from} {verb}{again} {name}: {said}", time(now_ms))
        });
        answer
    }
}
