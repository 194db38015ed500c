//! [`Driver`] over the `object_store` crate: local directories; buckets and containers are set up in `cloud`.

use super::driver::{Driver, DriverError, ObjectMeta};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::local::LocalDirs;

/// An `object_store` behind the five verbs.
pub struct ObjectDriver {
    inner: Arc<dyn ObjectStore>,
    root: Path,
    url: String,
    /// Local stores only: makes directories durable before objects are put into them.
    dirs: Option<LocalDirs>,
    lag_ms: u64,
}

impl ObjectDriver {
    /// A directory of the local file system; every object and directory entry is fsynced.
    ///
    /// The directory is made if `create`, and must exist otherwise.
    pub fn local(directory: PathBuf, create: bool) -> Result<Self, DriverError> {
        let shown = directory.display().to_string();
        let refuse = |e: std::io::Error| DriverError::Permanent(format!("{shown}: {e}"));
        if create {
            std::fs::create_dir_all(&directory).map_err(refuse)?;
        } else if !directory.is_dir() {
            return Err(DriverError::NotFound);
        }
        let directory = directory.canonicalize().map_err(refuse)?;
        let inner = object_store::local::LocalFileSystem::new_with_prefix(&directory)
            .map_err(|e| DriverError::Permanent(format!("{shown}: {e}")))?
            .with_fsync(true);
        let url = directory.display().to_string();
        let lag_ms = file_system_lag_ms(&directory);
        let dirs = Some(LocalDirs::new(directory));
        Ok(ObjectDriver { inner: Arc::new(inner), root: Path::default(), url, dirs, lag_ms })
    }

    /// What lies below `prefix` of `place`, a bucket or container as a URL.
    #[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
    pub(super) fn remote(
        inner: Arc<dyn ObjectStore>,
        place: &str,
        prefix: &str,
    ) -> Result<Self, DriverError> {
        let root = Path::parse(prefix.trim_matches('/'))
            .map_err(|e| DriverError::Permanent(format!("prefix {prefix:?}: {e}")))?;
        let url = format!("{place}/{root}").trim_end_matches('/').to_owned();
        Ok(ObjectDriver { inner, root, url, dirs: None, lag_ms: 0 })
    }

    fn path(&self, name: &str) -> Path {
        if self.root.as_ref().is_empty() {
            Path::from(name)
        } else {
            Path::from(format!("{}/{name}", self.root))
        }
    }

    /// Stores refuse a range that begins at or beyond the end: servers with a status of their own, directories with
    /// an error that is like any other. Azurite sends the whole object, which `object_store` then refuses.
    fn may_be_beyond_end(&self, error: &object_store::Error) -> bool {
        match server_status(error) {
            Some((status, _)) => status == 416,
            None => {
                let is_generic = matches!(error, object_store::Error::Generic { .. });
                is_generic && (self.dirs.is_some() || describe(error).starts_with("Wanted range starting at"))
            }
        }
    }

    fn meta(&self, found: object_store::ObjectMeta) -> Option<ObjectMeta> {
        let full = found.location.as_ref();
        let name = if self.root.as_ref().is_empty() {
            full
        } else {
            full.strip_prefix(self.root.as_ref())?.strip_prefix('/')?
        };
        let modified_ms = u64::try_from(found.last_modified.timestamp_millis()).unwrap_or(0);
        Some(ObjectMeta { name: name.to_owned(), len: found.size, modified_ms })
    }
}

impl Driver for ObjectDriver {
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            if let Some(dirs) = &self.dirs {
                dirs.prepare(name)
                    .map_err(|e| classify_io(&e, &format!("making the folder of {name}: {e}")))?;
            }
            let options = PutOptions { mode: PutMode::Create, ..Default::default() };
            self.inner.put_opts(&self.path(name), payload, options).await.map_err(classify)?;
            Ok(())
        })
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>> {
        Box::pin(async move {
            if range.as_ref().is_some_and(|r| r.start >= r.end) {
                return Ok(Bytes::new());
            }
            let (path, start) = (self.path(name), range.as_ref().map(|r| r.start));
            let expected = range.as_ref().map(|r| r.end - r.start);
            let options = GetOptions { range: range.map(GetRange::Bounded), ..Default::default() };
            let answer = match self.inner.get_opts(&path, options).await {
                Ok(answer) => answer,
                // a range that begins at or behind the end is refused by each store in its own words
                Err(error) => {
                    if let Some(start) = start
                        && self.may_be_beyond_end(&error)
                        && self.inner.head(&path).await.is_ok_and(|meta| meta.size <= start)
                    {
                        return Ok(Bytes::new());
                    }
                    return Err(classify_read(error));
                }
            };
            let promised = answer.range.end - answer.range.start;
            let bytes = answer.bytes().await.map_err(classify_read)?;
            if bytes.len() as u64 != promised || expected.is_some_and(|n| bytes.len() as u64 > n) {
                let found = bytes.len();
                return Err(DriverError::Transient(format!("{found} bytes came, {promised} were promised")));
            }
            Ok(bytes)
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>> {
        Box::pin(async move {
            let found = self.inner.head(&self.path(name)).await.map_err(classify)?;
            self.meta(found).ok_or(DriverError::NotFound)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>> {
        let prefix = self.path(prefix.trim_end_matches('/'));
        let prefix = (!prefix.as_ref().is_empty()).then_some(prefix);
        self.inner
            .list(prefix.as_ref())
            .filter_map(move |found| async move {
                found.map(|meta| self.meta(meta)).map_err(classify).transpose()
            })
            .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            match self.inner.delete(&self.path(name)).await.map_err(classify) {
                Err(DriverError::NotFound) => Ok(()),
                other => other,
            }?;
            if let Some(dirs) = &self.dirs {
                dirs.sync_parent(name).map_err(|e| classify_io(&e, &format!("removing {name}: {e}")))?;
            }
            Ok(())
        })
    }

    fn lag_ms(&self) -> u64 {
        self.lag_ms
    }

    fn url(&self) -> &str {
        &self.url
    }
}

/// File systems on which another client's write may be seen late: NFS, SMB, CIFS, SMB2, FUSE.
const SHARED_FILE_SYSTEMS: [u64; 5] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546];
/// What their attribute and directory caches may hide.
const SHARED_LAG_MS: u64 = 60_000;

fn file_system_lag_ms(directory: &std::path::Path) -> u64 {
    // a file system that does not say what it is gets the careful answer
    let kind =
        rustix::fs::statfs(directory).map(|stat| u64::try_from(stat.f_type).unwrap_or(0x6969) & 0xffff_ffff);
    if kind.is_ok_and(|kind| !SHARED_FILE_SYSTEMS.contains(&kind)) { 0 } else { SHARED_LAG_MS }
}

/// The innermost cause and its texts, without the crate's repetition.
fn describe(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = if let Some(server) = server_answer(error) { server } else { cause.to_string() };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    line.trim().to_owned()
}

/// Status and body of a server's refusal. `object_store` keeps its type private; the words of its
/// message are held to by a test against a real server.
fn server_status(error: &object_store::Error) -> Option<(u16, String)> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        for marker in ["Server returned non-2xx status code: ", "Server returned error response: "] {
            if let Some(rest) = text.find(marker).and_then(|at| text.get(at + marker.len()..)) {
                let status = rest.get(..3).and_then(|digits| digits.parse().ok());
                return Some((status.unwrap_or(500), rest.to_owned()));
            }
        }
        // Azure's word on one object of a batch; S3 has a name in this place
        let code = text.rsplit_once("(code: ").and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
        if let Some(status) = code {
            return Some((status, text));
        }
        cause = inner.source();
    }
    None
}

fn server_answer(error: &object_store::Error) -> Option<String> {
    let (_, body) = server_status(error)?;
    let field = |tag: &str| {
        let start = body.find(&format!("<{tag}>"))? + tag.len() + 2;
        body.get(start..)?.split('<').next().map(str::to_owned)
    };
    let status = body.split(": ").next().unwrap_or_default().to_owned();
    Some(match (field("Code"), field("Message")) {
        (Some(code), Some(message)) => format!("{status}: {code}: {message}"),
        (Some(code), None) => format!("{status}: {code}"),
        _ => body,
    })
}

fn is_transient_status(error: &object_store::Error) -> Option<bool> {
    let (status, body) = server_status(error)?;
    let retryable = status >= 500 || matches!(status, 408 | 409 | 425 | 429);
    Some(retryable || body.contains("<Code>RequestTimeout</Code>"))
}

fn io_cause(error: &object_store::Error) -> Option<&std::io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut found = None;
    while let Some(inner) = cause {
        found = inner.downcast_ref::<std::io::Error>().or(found);
        cause = inner.source();
    }
    found
}

fn classify_io(error: &std::io::Error, text: &str) -> DriverError {
    use std::io::ErrorKind::{Interrupted, NotFound, TimedOut, WouldBlock};
    match error.kind() {
        NotFound => DriverError::NotFound,
        Interrupted | TimedOut | WouldBlock => DriverError::Transient(text.to_owned()),
        _ => DriverError::Permanent(text.to_owned()),
    }
}

/// EIO, EBADMSG, EUCLEAN: how a file system reports bytes that it has lost.
const LOST: [i32; 3] = [5, 74, 117];

fn classify_read(error: object_store::Error) -> DriverError {
    match io_cause(&error).and_then(std::io::Error::raw_os_error) {
        Some(code) if LOST.contains(&code) => DriverError::Unreadable(describe(&error)),
        _ => classify(error),
    }
}

fn classify(error: object_store::Error) -> DriverError {
    use object_store::Error as E;
    match &error {
        E::AlreadyExists { .. } if let Some((409, body)) = server_status(&error) => {
            classify_conflict(&body, || describe(&error))
        }
        E::NotFound { .. } => DriverError::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => DriverError::Exists,
        E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. } => DriverError::Permanent(describe(&error)),
        _ => match (is_transient_status(&error), io_cause(&error)) {
            (Some(true), _) => DriverError::Transient(describe(&error)),
            (Some(false), _) => DriverError::Permanent(describe(&error)),
            // only the operating system's own answers are final; a broken connection is not
            (None, Some(io)) if io.raw_os_error().is_some() && !is_network(io) => {
                classify_io(io, &io.to_string())
            }
            _ => DriverError::Transient(describe(&error)),
        },
    }
}

/// A 409 mostly means a conflict with a request under way, which says nothing about what will be there. Azure
/// also says so that an object is there, or may not be removed before its time.
fn classify_conflict(body: &str, text: impl Fn() -> String) -> DriverError {
    if body.contains("<Code>BlobAlreadyExists</Code>") {
        DriverError::Exists
    } else if body.contains("<Code>BlobImmutableDueToPolicy</Code>") {
        DriverError::Permanent(text())
    } else {
        DriverError::Transient(text())
    }
}

fn is_network(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::NotConnected
            | K::BrokenPipe
            | K::AddrNotAvailable
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "x", source: text.to_owned().into() }
    }

    #[test]
    fn refusals_of_one_object_in_a_batch_are_sorted_by_their_code() {
        let azure = |code| generic(&format!("Bulk delete request failed for key a/b: no (code: {code})"));
        for (code, is_final) in [(403, true), (409, false), (503, false)] {
            let answer = classify(azure(code));
            assert_eq!(matches!(answer, DriverError::Permanent(_)), is_final, "{answer:?}");
            assert!(answer.to_string().contains("a/b: no"), "{answer}");
        }
        let s3 =
            classify(generic("DeleteObjects request failed for key a: Access Denied (code: AccessDenied)"));
        assert!(s3.to_string().contains("Access Denied"), "{s3}");
    }

    #[test]
    fn a_conflict_is_open_but_for_what_azure_says_for_good() {
        let answer = |code: &str| classify_conflict(&format!("409: <Code>{code}</Code>"), String::new);
        assert!(matches!(answer("BlobAlreadyExists"), DriverError::Exists));
        assert!(matches!(answer("BlobImmutableDueToPolicy"), DriverError::Permanent(_)));
        assert!(matches!(answer("ConditionalRequestConflict"), DriverError::Transient(_)));
    }
}
