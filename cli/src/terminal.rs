//! The terminal: asking for a secret without echo, and how wide a line may be.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// Longest secret that can be typed; terminals stop at 4095 themselves.
const LINE_LEN_MAX: u64 = 4096;

/// The terminal and its settings before echo was turned off, while a secret is asked for.
static ASKING: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Turns echo on again if a secret is being asked for; true if one was.
pub(crate) fn restore_echo() -> bool {
    let taken = ASKING.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((mut tty, settings)) = taken else { return false };
    let _ = tcsetattr(&tty, OptionalActions::Flush, &settings);
    let _ = tty.write_all(b"\n");
    true
}

/// Asks on the terminal of the process, whatever its standard input is. `None` without a terminal.
pub(crate) fn ask(prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
    let Ok(mut tty) = OpenOptions::new().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    let settings = tcgetattr(&tty)?;
    let mut silent = settings.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHONL);
    *ASKING.lock().unwrap_or_else(PoisonError::into_inner) = Some((tty.try_clone()?, settings));
    let result = (|| {
        tcsetattr(&tty, OptionalActions::Flush, &silent)?;
        tty.write_all(prompt.as_bytes())?;
        let mut line = Zeroizing::new(String::with_capacity(LINE_LEN_MAX as usize));
        BufReader::with_capacity(1, tty.take(LINE_LEN_MAX)).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was typed"));
        }
        let len = line.trim_end_matches(['\n', '\r']).len();
        line.truncate(len);
        Ok(Some(line))
    })();
    restore_echo();
    result
}

/// Columns of the terminal behind standard error; 80 if it does not say.
pub(crate) fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}
