//! Programs beside which the tests run, as the scripts of `dev/` have them.

use crate::servers::{Skipped, skip};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What the scripts leave with when a part cannot be had on this machine (`EX_TEMPFAIL`).
pub(crate) const SKIP_CODE: i32 = 75;

/// Where `dev/NAME.sh` has put its program; counted as skipped if it has not.
///
/// # Errors
/// The program cannot be had here.
///
/// # Panics
/// If the script fails in another way, or nothing may be skipped.
pub fn find(name: &str) -> Result<PathBuf, Skipped> {
    let script = format!("{}/../dev/{name}.sh", env!("CARGO_MANIFEST_DIR"));
    let output = match Command::new("bash")
        .args([&script, "path"])
        // this side counts the skip and knows about CI
        .env_remove("ORLOP_SKIPS")
        .env_remove("CI")
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => output,
        Err(error) => return Err(skip(name, &format!("bash does not run: {error}"))),
    };
    let log = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(SKIP_CODE) {
        return Err(skip(name, log.trim().trim_start_matches(&format!("SKIPPED: {name}: "))));
    }
    assert!(output.status.success(), "{script}: {log}");
    Ok(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()))
}
