//! As much of HTTP/1.1 as a proxy needs: heads, and where a body ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A head that is longer is not from a client under test.
const HEAD_LEN_MAX: u64 = 64 << 10;

/// How much follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// So many bytes.
    Bytes(u64),
    /// Chunks up to the empty one, and trailers.
    Chunked,
    /// Everything up to the end of the connection.
    ToEnd,
}

/// A start line and headers.
pub(super) struct Head {
    start: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The n-th word of the start line: method and target, or version and status; empty when there is none.
    pub(super) fn word(&self, n: usize) -> &str {
        self.start.split(' ').nth(n).unwrap_or("")
    }

    /// A header by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What follows a request: nothing unless a header says so.
    pub(super) fn request_rest(&self) -> io::Result<Rest> {
        Ok(self.framing()?.unwrap_or(Rest::Bytes(0)))
    }

    /// What follows the answer to a request with this method.
    pub(super) fn answer_rest(&self, method: &str) -> io::Result<Rest> {
        if method == "HEAD" || ["204", "304"].contains(&self.word(1)) {
            return Ok(Rest::Bytes(0));
        }
        Ok(self.framing()?.unwrap_or(Rest::ToEnd))
    }

    fn framing(&self) -> io::Result<Option<Rest>> {
        let chunked = self.header("transfer-encoding").map(str::to_lowercase);
        if chunked.is_some_and(|coding| coding.ends_with("chunked")) {
            return Ok(Some(Rest::Chunked));
        }
        let Some(len) = self.header("content-length") else {
            return Ok(None);
        };
        let len = len.parse().map_err(|_| bad("content-length", len))?;
        Ok(Some(Rest::Bytes(len)))
    }

    /// The head for the other side: one exchange per connection, and no second 100 Continue.
    pub(super) fn forwarded(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start);
        for (key, value) in &self.headers {
            let hop = ["connection", "keep-alive", "expect"];
            if !hop.contains(&key.to_lowercase().as_str()) {
                out.push_str(&format!("{key}: {value}\r\n"));
            }
        }
        out.push_str("Connection: close\r\n\r\n");
        out.into_bytes()
    }
}

/// The receiving half of a connection.
pub(super) struct Reader<'a> {
    inner: BufReader<&'a TcpStream>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Reader<'a> {
        Reader { inner: BufReader::with_capacity(64 << 10, stream) }
    }

    /// The next head; `None` when the other side closed without a word.
    pub(super) fn head(&mut self) -> io::Result<Option<Head>> {
        let mut budget = HEAD_LEN_MAX;
        let start = self.line(&mut budget)?;
        if start.is_empty() {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let line = self.line(&mut budget)?;
            if line.is_empty() {
                return Ok(Some(Head { start, headers }));
            }
            let (key, value) = line.split_once(':').ok_or_else(|| bad("header", &line))?;
            headers.push((key.to_owned(), value.trim().to_owned()));
        }
    }

    /// One line without its end, taken off the budget.
    fn line(&mut self, budget: &mut u64) -> io::Result<String> {
        let mut line = String::new();
        let len = (&mut self.inner).take(*budget).read_line(&mut line)?;
        *budget -= len as u64;
        if *budget == 0 {
            return Err(bad("head", "too long"));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Copies a whole body; a connection that ends before it does is an error.
    pub(super) fn copy(&mut self, rest: Rest, to: &mut impl Write) -> io::Result<()> {
        match rest {
            Rest::Bytes(len) => {
                if self.copy_bytes(len, to)? < len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(())
            }
            Rest::Chunked => self.copy_chunked(to),
            Rest::ToEnd => io::copy(&mut self.inner, to).map(drop),
        }
    }

    /// Copies up to `len` bytes as they are; says how many there were.
    pub(super) fn copy_bytes(&mut self, len: u64, to: &mut impl Write) -> io::Result<u64> {
        io::copy(&mut (&mut self.inner).take(len), to)
    }

    fn copy_chunked(&mut self, to: &mut impl Write) -> io::Result<()> {
        let mut budget = HEAD_LEN_MAX;
        loop {
            let mut line_budget = HEAD_LEN_MAX;
            let line = self.line(&mut line_budget)?;
            let digits = line.split(';').next().unwrap_or("").trim();
            let len = u64::from_str_radix(digits, 16).map_err(|_| bad("chunk size", digits))?;
            write!(to, "{line}\r\n")?;
            if len == 0 {
                break;
            }
            // The data and the line end after it.
            let whole = len.checked_add(2).ok_or_else(|| bad("chunk size", digits))?;
            self.copy(Rest::Bytes(whole), to)?;
        }
        loop {
            let trailer = self.line(&mut budget)?;
            write!(to, "{trailer}\r\n")?;
            if trailer.is_empty() {
                return Ok(());
            }
        }
    }
}

fn bad(what: &str, found: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad {what}: {found:?}"))
}
