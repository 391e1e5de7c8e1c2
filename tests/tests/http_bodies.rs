//! Bodies over HTTP cost no memory before the caller is known, and a bounded one after; what is refused for now can
//! be told from what is refused for good.

use std::net::SocketAddr;

use reqwest::StatusCode;
use syncline_tests::{
    DEADLINE, Server, limited,
    rest::{ask, error_code, get, update_of},
    token,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A request that is written by hand and can stop in the middle of its body.
struct Raw(TcpStream);

impl Raw {
    async fn post(server: SocketAddr, path: &str, token: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server).await.expect("connected");
        let bearer = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}{headers}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        Self(stream)
    }

    /// Returns the status and the rest of what the server says until it closes.
    async fn answer(&mut self) -> (u16, String) {
        let mut text = String::new();
        let read = timeout(DEADLINE, async {
            let mut piece = [0; 4096];
            // The head and the small JSON body come in one or two pieces; a kept connection does not end.
            while !text.contains("}}") {
                match self.0.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => text.push_str(&String::from_utf8_lossy(&piece[..read])),
                }
            }
        });
        read.await.expect("an answer in time");
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no status in {text:?}")), text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_uploads_before_it_is_known_who_they_are() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    // Of each body nothing is ever sent: whoever reads first never answers.
    for (path, token, expected) in [
        ("/d/ada/x/update", "", 401),
        ("/d/ada/x/update", "rubbish", 401),
        ("/d/bob/x/update", ada.as_str(), 403),
        ("/doc/new", "", 401),
        ("/doc/ada/x/auth", "", 401),
        ("/doc/bob/x/auth", ada.as_str(), 403),
        ("/check_store", "", 401),
    ] {
        let mut request = Raw::post(server.address(), path, token, "Content-Length: 60000").await;
        let (status, text) = request.answer().await;
        assert_eq!(status, expected, "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_its_limit_is_refused_before_it_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &["--open"], &[("message_bytes", 200_000)]).expect("ready");
    for (path, length) in [("/doc/new", 65_537), ("/doc/x/auth", 65_537), ("/d/x/update", 200_001)] {
        let mut request = Raw::post(server.address(), path, "", &format!("Content-Length: {length}")).await;
        let (status, text) = request.answer().await;
        assert_eq!(status, 413, "{path}: {text}");
        assert!(text.contains("too_large"), "{text}");
    }
    // Without a length it is counted.
    let chunked = "Transfer-Encoding: chunked";
    let mut request = Raw::post(server.address(), "/doc/new", "", chunked).await;
    let chunk = format!("10001\r\n{}\r\n", "x".repeat(0x10001));
    request.0.write_all(chunk.as_bytes()).await.expect("sent");
    assert_eq!(request.answer().await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_while_sending_hears_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &[], &[("message_bytes", 200_000)]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    // More than the sockets' buffers hold: it is still being sent when the answer comes.
    let long = vec![7; 16 << 20];
    for _ in 0..10 {
        let refused = ask(&server, "POST", "/d/ada/x/update", &ada, long.clone()).await;
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let stranger = ask(&server, "POST", "/v1/users/ada/conversations", "rubbish", long.clone()).await;
        assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_waited_for_a_bounded_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &["--open"], &[("http_ms", 500)]).expect("ready");
    let mut request = Raw::post(server.address(), "/d/x/update", "", "Content-Length: 100").await;
    request.0.write_all(b"some of it").await.expect("sent");
    let (status, text) = request.answer().await;
    assert_eq!(status, 408, "{text}");
}

/// Waits until large messages have so many bytes of their memory.
async fn until_taken(server: &Server, bytes: u64) {
    let line = format!("syncline_large_message_bytes {bytes}");
    let taken = timeout(DEADLINE, async {
        while !get(server, "/metrics").await.text().await.expect("text").lines().any(|found| found == line) {
            tokio::task::yield_now().await;
        }
    });
    taken.await.unwrap_or_else(|_| panic!("large messages never have {bytes} bytes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_share_the_memory_of_large_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = [("message_bytes", 1 << 20), ("large_pool_bytes", 1 << 20)];
    let server = limited::start(&folder, &["--open"], &limits).expect("ready");
    let large = update_of(&"words ".repeat(100_000));
    for headers in [format!("Content-Length: {}", 1 << 20), "Transfer-Encoding: chunked".to_owned()] {
        // What was saved a moment ago may still have its share.
        until_taken(&server, 0).await;
        let mut first = Raw::post(server.address(), "/d/slow/update", "", &headers).await;
        if headers.starts_with("Transfer") {
            let chunk = format!("20000\r\n{}\r\n", "x".repeat(0x20000));
            first.0.write_all(chunk.as_bytes()).await.expect("sent");
        }
        // It has what it declared, or what it may have, before it has sent it.
        until_taken(&server, 1 << 20).await;
        let refused = ask(&server, "POST", "/d/doc/update", "", large.clone()).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(error_code(refused).await, "busy");
        let small = ask(&server, "POST", "/d/doc/update", "", update_of("few words")).await;
        assert_eq!(small.status(), StatusCode::OK, "small ones need none of it");
        drop(first);
        until_taken(&server, 0).await;
        let again = ask(&server, "POST", "/d/doc/update", "", large.clone()).await;
        assert_eq!(again.status(), StatusCode::OK, "it is given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_takes_only_so_many_updates_at_a_time_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    // A commit takes its time, so that the update of one call is still on its way when the next one comes.
    let limits = [("http_edits_per_document", 1), ("commit_pace_us", 2_000_000)];
    let server = limited::start(&folder, &["--open"], &limits).expect("ready");
    let post = |words: &'static str| ask(&server, "POST", "/d/doc/update", "", update_of(words));
    let first = post("first").await;
    assert_eq!(first.status(), StatusCode::OK);
    let (one, other) = tokio::join!(post("one"), post("other"));
    let (saved, refused) = if one.status() == StatusCode::OK { (one, other) } else { (other, one) };
    assert_eq!(saved.status(), StatusCode::OK);
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(error_code(refused).await, "busy");
    let elsewhere = ask(&server, "POST", "/d/other/update", "", update_of("words")).await;
    assert_eq!(elsewhere.status(), StatusCode::OK);
}
