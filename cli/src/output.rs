//! What people and programs are told: text or JSON lines on standard output, errors on standard error.

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::text::one_line;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;

/// How answers are given. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// As the global options say.
    pub(crate) fn new(global: &Global) -> Self {
        Output { json: global.json, quiet: global.quiet, verbose: global.verbose }
    }

    /// True for JSON.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// True if nothing but answers and errors is wanted.
    pub(crate) fn quiet(self) -> bool {
        self.quiet
    }

    /// True if a line that is redrawn can be seen.
    pub(crate) fn draws(self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// A line of text on standard output, as it is.
    pub(crate) fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", text.as_ref())?;
        Ok(())
    }

    /// Bytes on standard output, as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// A JSON value on standard output, on one line.
    pub(crate) fn value(self, value: &Value) -> Result<(), Failure> {
        self.line(value.to_string())
    }

    /// A JSON value on standard output, for people too.
    pub(crate) fn pretty(self, value: &Value) -> Result<(), Failure> {
        if self.json { self.value(value) } else { self.line(format!("{value:#}")) }
    }

    /// The last JSON line of a command: `message_type` `summary` and the fields of `value`.
    pub(crate) fn summary(self, value: impl Serialize) -> Result<(), Failure> {
        self.message("summary", value)
    }

    /// A JSON line of some type.
    pub(crate) fn message(self, message_type: &str, value: impl Serialize) -> Result<(), Failure> {
        self.line(typed(message_type, value)?.to_string())
    }

    /// What was done, for people who did not ask for quiet.
    pub(crate) fn told(self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Details for `-v`, on standard error.
    pub(crate) fn detail(self, text: &str) {
        if self.verbose && !self.json {
            to_stderr(&one_line(text));
        }
    }

    /// Something that ends nothing but should be known.
    pub(crate) fn warn(self, text: &str) {
        if self.json {
            to_stderr(&json!({"message_type": "warning", "warning": text}).to_string());
        } else {
            to_stderr(&format!("warning: {}", one_line(text)));
        }
    }

    /// An error, which may be one of several.
    pub(crate) fn error(self, text: &str, exit: Exit) {
        if self.json {
            let line = json!({"message_type": "error", "error": text, "exit_code": exit.code()});
            to_stderr(&line.to_string());
        } else {
            to_stderr(&format!("error: {}", one_line(text)));
        }
    }

    /// A panic. What it says may come from anywhere, so it is cut to one short line.
    pub(crate) fn defect(self, defect: &PanicHookInfo<'_>) {
        let place =
            defect.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let text = defect.payload_as_str().unwrap_or_default();
        let text: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
        self.error(&format!("internal error{place}: {text}"), Exit::Failed);
    }

    /// Tells what went wrong, if anything did.
    pub(crate) fn finish(self, result: &Result<(), Failure>) -> Exit {
        let flushed = io::stdout().flush().map_err(Failure::from);
        let Err(failure) = result.as_ref().and(flushed.as_ref()) else { return Exit::Done };
        if !matches!(failure, Failure::ClosedPipe) {
            self.error(&failure.to_string(), failure.exit());
        }
        failure.exit()
    }
}

/// The fields of `value` after a `message_type`.
fn typed(message_type: &str, value: impl Serialize) -> Result<Value, Failure> {
    let mut line = serde_json::Map::new();
    line.insert("message_type".into(), message_type.into());
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => line.extend(fields),
        Ok(_) => {}
        Err(error) => return Err(Failure::failed(format!("internal error: an answer is no JSON: {error}"))),
    }
    Ok(Value::Object(line))
}

/// Nobody is left to be told if this fails.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
