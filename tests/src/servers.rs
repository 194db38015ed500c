//! Real S3 servers for tests, started and stopped by the scripts of `dev/`.
//!
//! A server that cannot be had is skipped by name and counted, so that a run without it says so; with `CI=true` it fails.

use crate::tools::SKIP_CODE;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The default: starts in a fifth of a second, does not fsync.
    Versitygw,
    /// The second opinion: another code base that fsyncs.
    Minio,
    /// Ignores conditions: every put-if-absent succeeds. It asks who sends a request and checks no signatures.
    S3rver,
}

impl Kind {
    /// Those that honour conditions and check signatures, for suites that run on each.
    pub const ALL: [Kind; 2] = [Kind::Versitygw, Kind::Minio];

    /// The name of the program and of its script.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Versitygw => "versitygw",
            Kind::Minio => "minio",
            Kind::S3rver => "s3rver",
        }
    }
}

/// A part that this machine does not have; already reported and counted when it is returned.
#[derive(Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The part, as the summary of `make test` lists it.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// Reports a part that is left out: a line on stderr and one in the file that `ORLOP_SKIPS` names.
///
/// # Panics
/// With `CI=true`: there nothing may be skipped.
pub fn skip(name: &str, reason: &str) -> Skipped {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    forbid_in_ci(name, reason, ci);
    // Not `eprintln!`, which the test harness captures: a skip is shown even where the test passes.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {name}: {reason}");
    if let Some(list) = std::env::var_os("ORLOP_SKIPS").filter(|list| !list.is_empty()) {
        let counted = count(Path::new(&list), name, reason);
        assert!(counted.is_ok(), "{name}: cannot count: {counted:?}");
    }
    Skipped { name: name.to_owned(), reason: reason.to_owned() }
}

fn forbid_in_ci(name: &str, reason: &str, ci: bool) {
    assert!(!ci, "{name}: {reason} (CI=true allows no skips)");
}

fn count(list: &Path, name: &str, reason: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(list)?;
    file.write_all(format!("{name}\t{reason}\n").as_bytes())
}

/// A server on loopback with an empty bucket, for one test. It ends with this value, or with the test process.
pub struct S3Server {
    kind: Kind,
    dir: TempDir,
    endpoint: String,
    bucket: String,
    access_key: String,
    secret_key: String,
    region: String,
}

impl S3Server {
    /// Starts a server with a folder, a port and keys of its own.
    ///
    /// # Errors
    /// `Skipped` where the program is not on this machine (`dev/setup.sh` builds it); it is already reported.
    ///
    /// # Panics
    /// When a program that is there does not start; with `CI=true` also where it is not there.
    pub fn start(kind: Kind) -> Result<S3Server, Skipped> {
        let dir = match tempfile::tempdir() {
            Ok(dir) => dir,
            Err(error) => return Err(skip(kind.name(), &format!("no temporary folder: {error}"))),
        };
        let answer = start(kind.name(), dir.path())?;
        let value = |key: &str| match setting(&answer, key) {
            Some(value) => value.to_owned(),
            None => String::new(),
        };
        let server = S3Server {
            kind,
            dir,
            endpoint: value("S3_ENDPOINT"),
            bucket: value("S3_BUCKET"),
            access_key: value("AWS_ACCESS_KEY_ID"),
            secret_key: value("AWS_SECRET_ACCESS_KEY"),
            region: value("AWS_REGION"),
        };
        let complete = server.env().iter().all(|(_, value)| !value.is_empty());
        assert!(complete, "{} printed no settings", kind.name());
        Ok(server)
    }

    /// Which server this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// `127.0.0.1:PORT`, what a proxy puts itself in front of.
    pub fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// The bucket that the start made.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The access key of this start.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key of this start.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The region that signatures must name.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The server's folder: `data` under it holds the objects (versitygw keeps each as a plain file, s3rver as a file that
    /// ends with `._S3rver_object`), `log` its messages.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The environment that points a child process at this server.
    pub fn env(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("S3_BUCKET", &self.bucket),
            ("AWS_ACCESS_KEY_ID", &self.access_key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_key),
            ("AWS_REGION", &self.region),
        ]
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // The watcher that the script started covers a test process that is killed before it gets here.
        let _ = script(self.kind.name(), "stop", self.dir.path());
    }
}

/// What the script of a server says when it has started it.
pub(crate) fn start(name: &str, dir: &Path) -> Result<String, Skipped> {
    let output = match script(name, "start", dir) {
        Ok(output) => output,
        Err(error) => return Err(skip(name, &format!("bash does not run: {error}"))),
    };
    let log = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(SKIP_CODE) {
        return Err(skip(name, &skip_reason(&log)));
    }
    assert!(output.status.success(), "{name} did not start: {log}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the script `dev/NAME.sh`.
pub(crate) fn script(name: &str, action: &str, dir: &Path) -> std::io::Result<Output> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../dev")).join(format!("{name}.sh"));
    Command::new("bash")
        .arg(path)
        .arg(action)
        .arg(dir)
        .arg(std::process::id().to_string())
        // This side counts the skip and knows about CI; the script must not do it as well.
        .env_remove("ORLOP_SKIPS")
        .env_remove("CI")
        .stdin(Stdio::null())
        .output()
}

/// The value of `KEY=VALUE` among words and lines.
fn setting<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The reason that the script gave on its `SKIPPED: name: reason` line.
fn skip_reason(log: &str) -> String {
    log.lines()
        .find_map(|line| line.strip_prefix("SKIPPED: ")?.split_once(": "))
        .map_or(log.trim(), |(_, reason)| reason)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpStream;

    #[test]
    fn settings_are_found_among_words() {
        let answer = "S3_ENDPOINT=http://127.0.0.1:1 S3_BUCKET=b\nAWS_REGION=r=1\n";
        assert_eq!(setting(answer, "S3_ENDPOINT"), Some("http://127.0.0.1:1"));
        assert_eq!(setting(answer, "AWS_REGION"), Some("r=1"));
        assert_eq!(setting(answer, "S3"), None);
    }

    #[test]
    fn skips_are_counted_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("skips");
        count(&list, "minio", "not built").unwrap();
        count(&list, "versitygw", "no curl").unwrap();
        let text = std::fs::read_to_string(&list).unwrap();
        assert_eq!(text, "minio\tnot built\nversitygw\tno curl\n");
    }

    #[test]
    #[should_panic(expected = "minio: not built (CI=true allows no skips)")]
    fn nothing_is_skipped_in_ci() {
        forbid_in_ci("minio", "not built", true);
    }

    #[test]
    fn the_reason_of_the_script_is_kept() {
        assert_eq!(skip_reason("x\nSKIPPED: minio: no curl: a\n"), "no curl: a");
        assert_eq!(skip_reason("bash: boom\n"), "bash: boom");
    }

    #[test]
    fn servers_start_with_a_bucket_and_stop() {
        for kind in [Kind::Versitygw, Kind::Minio, Kind::S3rver] {
            let Ok(server) = S3Server::start(kind) else {
                continue;
            };
            let address = server.address().to_owned();
            let mut stream = TcpStream::connect(&address).unwrap();
            // Not signed, or with a key of another start: the server must be there and must refuse.
            let key = "Authorization: AWS4-HMAC-SHA256 Credential=S3RVER/20260101/us-east-1/s3/aws4_request, \
                       SignedHeaders=host, Signature=0\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n";
            let key = if kind == Kind::S3rver { key } else { "" };
            let request = format!(
                "GET /{} HTTP/1.1\r\nHost: {address}\r\n{key}Connection: close\r\n\r\n",
                server.bucket()
            );
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            drop(server);
            assert!(TcpStream::connect(&address).is_err(), "{kind:?} still runs");
        }
    }
}
