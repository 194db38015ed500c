//! Progress: one line that is redrawn on a terminal, `status` lines with `--json`, nothing in a pipe.

use crate::output::Output;
use crate::terminal;
use crate::text;
use repository::progress::{Progress, ProgressReading};
use serde::Serialize;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Rates are averages over this time.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Draws until it is dropped.
pub(crate) struct Display {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Starts a thread that reads `progress`, where anybody can see it.
    pub(crate) fn start(output: Output, progress: &Arc<Progress>) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let every = match (output.quiet(), output.json(), output.draws()) {
            (false, true, _) => STATUS_EVERY,
            (_, _, true) => REDRAW_EVERY,
            _ => return Display { stop, thread: None },
        };
        let (progress, stopped) = (progress.clone(), stop.clone());
        let draw = move || {
            let mut meter = Meter::new(Instant::now());
            while !wait(&stopped, every) {
                let state = meter.read(progress.read(), Instant::now());
                // a closed pipe is noticed by the command itself
                let _ = if output.json() {
                    output.message("status", &state).is_ok()
                } else {
                    redraw(&state).is_ok()
                };
            }
            if output.draws() {
                let _ = write!(io::stderr().lock(), "\r\x1b[K");
            }
        };
        // without a thread there is no progress to see, and that is all
        let thread = std::thread::Builder::new().name("orlop-display".into()).spawn(draw).ok();
        Display { stop, thread }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// True once the display is to end.
fn wait(stop: &(Mutex<bool>, Condvar), time: Duration) -> bool {
    let guard = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    match stop.1.wait_timeout_while(guard, time, |stopped| !*stopped) {
        Ok((stopped, _)) => *stopped,
        Err(_) => true,
    }
}

fn redraw(state: &State) -> io::Result<()> {
    let line: String = state.line().chars().take(terminal::columns().saturating_sub(1)).collect();
    let mut stderr = io::stderr().lock();
    write!(stderr, "\r\x1b[K{line}")?;
    stderr.flush()
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct State {
    phase: &'static str,
    /// Null while unknown.
    bytes_total: Option<u64>,
    bytes_done: u64,
    bytes_stored: u64,
    bytes_per_second: u64,
    seconds_elapsed: u64,
    /// Null while unknown.
    seconds_remaining: Option<u64>,
}

impl State {
    fn line(&self) -> String {
        let mut line = format!("{} {}", text::clock(self.seconds_elapsed), self.phase);
        match self.bytes_total {
            Some(total) => {
                let percent = 100.0 * self.bytes_done as f64 / total.max(1) as f64;
                let of =
                    format!(" {percent:.1} %  {} of {}", text::bytes(self.bytes_done), text::bytes(total));
                line.push_str(&of);
            }
            None if self.bytes_done > 0 => line.push_str(&format!(" {}", text::bytes(self.bytes_done))),
            None => {}
        }
        if self.bytes_per_second > 0 {
            line.push_str(&format!("  {}/s", text::bytes(self.bytes_per_second)));
        }
        if self.bytes_stored > 0 {
            line.push_str(&format!("  {} stored", text::bytes(self.bytes_stored)));
        }
        if let Some(remaining) = self.seconds_remaining {
            line.push_str(&format!("  {} left", text::clock(remaining)));
        }
        line
    }
}

/// Turns counters into rates.
struct Meter {
    started: Instant,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn new(started: Instant) -> Self {
        Meter { started, samples: VecDeque::from([(started, 0)]) }
    }

    fn read(&mut self, reading: ProgressReading, now: Instant) -> State {
        // a new phase may count from the start again
        if self.samples.back().is_some_and(|(_, done)| *done > reading.done_bytes) {
            self.samples.clear();
        }
        self.samples.push_back((now, reading.done_bytes));
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_WINDOW)
        {
            self.samples.pop_front();
        }
        let (since, done) = *self.samples.front().unwrap_or(&(now, reading.done_bytes));
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let rate = if seconds > 0.0 { (reading.done_bytes - done) as f64 / seconds } else { 0.0 };
        let total = (reading.total_bytes > 0).then(|| reading.total_bytes.max(reading.done_bytes));
        State {
            phase: reading.phase,
            bytes_total: total,
            bytes_done: reading.done_bytes,
            bytes_stored: reading.stored_bytes,
            bytes_per_second: rate as u64,
            seconds_elapsed: now.saturating_duration_since(self.started).as_secs(),
            seconds_remaining: total
                .filter(|_| rate >= 1.0)
                .map(|total| ((total - reading.done_bytes) as f64 / rate).ceil() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(done_bytes: u64) -> ProgressReading {
        ProgressReading { phase: "reading", total_bytes: 100 << 20, done_bytes, stored_bytes: 1 << 20 }
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for second in 1..=10u64 {
            // 1 MiB/s, then 4 MiB/s
            let done = if second <= 4 { second } else { 4 + 4 * (second - 4) } << 20;
            meter.read(reading(done), start + Duration::from_secs(second));
        }
        let state = meter.read(reading(32 << 20), start + Duration::from_secs(11));
        assert_eq!(state.bytes_per_second, 4 << 20);
        assert_eq!(state.seconds_remaining, Some(17));
        assert_eq!(
            state.line(),
            "0:11 reading 32.0 %  32.0 MiB of 100.0 MiB  4.0 MiB/s  1.0 MiB stored  0:17 left"
        );
    }

    #[test]
    fn nothing_is_known_at_first() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let state = meter.read(ProgressReading { total_bytes: 0, ..reading(0) }, start);
        assert_eq!((state.bytes_total, state.seconds_remaining, state.bytes_per_second), (None, None, 0));
        meter.read(reading(50), start + Duration::from_secs(1));
        let again = meter.read(reading(10), start + Duration::from_secs(2));
        assert_eq!(again.bytes_per_second, 0, "a count that starts again is no negative rate");
    }
}
