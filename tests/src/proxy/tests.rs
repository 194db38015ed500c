//! The proxy before a server of a few lines, which says what it saw.

use super::*;
use std::io::Read;

/// Answers each request with 200 and `BODY`, and keeps its start line and body.
struct Upstream {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// Method and target, and the body.
type Seen = (String, Vec<u8>);

const BODY: &[u8] = b"0123456789abcdefghij";

impl Upstream {
    fn start() -> Upstream {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut reader = Reader::new(&stream);
                let Ok(Some(head)) = reader.head() else {
                    continue;
                };
                let mut body = Vec::new();
                reader.copy(head.request_rest().unwrap(), &mut body).unwrap();
                let line = format!("{} {}", head.word(0), head.word(1));
                assert_eq!(head.header("connection"), Some("close"));
                log.lock().unwrap().push((line, body));
                let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len());
                (&stream).write_all(text.as_bytes()).unwrap();
                if head.word(0) != "HEAD" {
                    (&stream).write_all(BODY).unwrap();
                }
            }
        });
        Upstream { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Sends raw bytes; the answer up to the end of the connection, or the error that ended it.
fn ask(proxy: &FaultyProxy, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(proxy.address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn put(body: &str) -> String {
    format!(
        "PUT /b/k HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const GET: &str = "GET /b/k?x=1 HTTP/1.1\r\nHost: h\r\n\r\n";

fn always(fault: Fault) -> (Upstream, FaultyProxy) {
    let upstream = Upstream::start();
    let proxy = FaultyProxy::start(&upstream.address, move |_| fault).unwrap();
    (upstream, proxy)
}

#[test]
fn requests_and_bodies_pass_unchanged() {
    let (upstream, proxy) = always(Fault::Pass);
    let answer = ask(&proxy, &put("hello")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0123456789abcdefghij"), "{answer}");
    assert!(ask(&proxy, GET).unwrap().ends_with("ghij"));
    assert_eq!(
        upstream.seen(),
        [("PUT /b/k".to_owned(), b"hello".to_vec()), ("GET /b/k?x=1".to_owned(), Vec::new())]
    );
    let log = proxy.log();
    assert_eq!(log.len(), 2);
    assert_eq!((log[1].0.index, log[1].0.path.as_str()), (1, "/b/k?x=1"));
    assert_eq!(proxy.fault_count(), 0);
}

#[test]
fn a_head_answer_has_no_body() {
    let (_upstream, proxy) = always(Fault::Pass);
    let answer = ask(&proxy, "HEAD /b/k HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer.contains("Content-Length: 20\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn chunked_requests_pass_chunk_by_chunk() {
    let (upstream, proxy) = always(Fault::Pass);
    let body = "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nsum: 1\r\n\r\n";
    let request = format!("PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    assert!(ask(&proxy, &request).unwrap().ends_with("ghij"));
    assert_eq!(upstream.seen()[0].1, body.as_bytes());
}

#[test]
fn expect_is_answered_here_and_not_passed_on() {
    let (upstream, proxy) = always(Fault::Pass);
    let request = "PUT /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    let answer = ask(&proxy, request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{answer}");
    assert_eq!(upstream.seen()[0].1, b"hi");
}

#[test]
fn a_reset_before_the_request_reaches_nobody() {
    let (upstream, proxy) = always(Fault::ResetBeforeRequest);
    let error = ask(&proxy, GET).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_reset_after_the_answer_leaves_the_effect() {
    let (upstream, proxy) = always(Fault::ResetAfterAnswer);
    let error = ask(&proxy, &put("kept")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(upstream.seen(), [("PUT /b/k".to_owned(), b"kept".to_vec())]);
}

#[test]
fn a_cut_body_ends_early_under_its_full_length() {
    let (_upstream, proxy) = always(Fault::CutBody(7));
    let answer = ask(&proxy, GET).unwrap();
    assert!(answer.contains("Content-Length: 20\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0123456"), "{answer}");
}

#[test]
fn a_slow_body_is_whole() {
    let (_upstream, proxy) =
        always(Fault::SlowBody { step_len: 3, pause: Duration::from_millis(1), pause_count: 4 });
    assert!(ask(&proxy, GET).unwrap().ends_with("\r\n\r\n0123456789abcdefghij"));
}

#[test]
fn errors_are_answered_without_the_server() {
    for (fault, status, code) in [
        (Fault::SlowDown, "503 ", "<Code>SlowDown</Code>"),
        (Fault::ExpiredToken, "403 ", "<Code>ExpiredToken</Code>"),
        (Fault::ErrorInBody, "200 ", "<Code>InternalError</Code>"),
    ] {
        let (upstream, proxy) = always(fault);
        let answer = ask(&proxy, &put("lost")).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(code), "{answer}");
        assert!(upstream.seen().is_empty());
        assert_eq!(proxy.fault_count(), 1);
    }
}

#[test]
fn a_plan_hits_the_named_requests_only() {
    let upstream = Upstream::start();
    let second_put = on(|request| request.method == "PUT", 1..2, Fault::SlowDown);
    let proxy = FaultyProxy::start(&upstream.address, second_put).unwrap();
    let status = |request: &str| ask(&proxy, request).unwrap()[9..12].to_owned();
    let put = put("x");
    let found = [&put, GET, &put, &put].map(status);
    assert_eq!(found, ["200", "200", "503", "200"]);
}

#[test]
fn a_server_that_is_gone_closes_the_connection() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let proxy = FaultyProxy::start(&address, |_| Fault::Pass).unwrap();
    // An orderly end or a reset, as the kernel likes; never an answer.
    assert_eq!(ask(&proxy, GET).unwrap_or_default(), "");
}

#[test]
fn a_dropped_proxy_listens_no_longer() {
    let (_upstream, proxy) = always(Fault::Pass);
    let address = proxy.address;
    drop(proxy);
    assert!(TcpStream::connect(address).is_err());
}
