//! Ctrl-C and SIGTERM: the first asks the engine to end, the second ends the process.

use crate::exit::{Exit, Failure};
use crate::terminal;
use repository::CancelHandle;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is left of the promised two seconds when the engine has not ended by itself, because the
/// kernel keeps one of its reads.
const GRACE: Duration = Duration::from_millis(1900);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// True once a signal came.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits for signals on a thread of its own, which nothing can keep busy.
pub(crate) fn watch(cancel: CancelHandle) -> Result<(), Failure> {
    let failed = |e| Failure::failed(format!("watching for signals: {e}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let watch = move || {
        for _ in signals.forever() {
            if INTERRUPTED.swap(true, Ordering::SeqCst) || terminal::restore_echo() {
                end();
            }
            cancel.cancel();
            let deadline = || {
                std::thread::sleep(GRACE);
                end();
            };
            if std::thread::Builder::new().name("orlop-deadline".into()).spawn(deadline).is_err() {
                end();
            }
        }
    };
    std::thread::Builder::new().name("orlop-signals".into()).spawn(watch).map_err(failed)?;
    Ok(())
}

fn end() -> ! {
    terminal::restore_echo();
    std::process::exit(Exit::Interrupted.code())
}
