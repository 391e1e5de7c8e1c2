//! Blobs over HTTP: uploads that go on after a broken connection and a killed server, what is refused, who sees what,
//! and that nothing is collected that a conversation or a draft refers to.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    time::Duration,
};

use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use syncline_tests::{
    DEADLINE, Server,
    files::{below, content, hash},
    http, limited,
    rest::{Answer, Api, get},
    run, token,
};
use tempfile::TempDir;

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
/// More than one stride of what the server writes down.
const LARGE: usize = 11 << 20;

fn start(arguments: &[&str], limits: &[(&str, u64)]) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, arguments, limits).expect("ready");
    (server, folder)
}

struct Caller {
    api: Api,
    user: &'static str,
    token: String,
    address: String,
}

impl Caller {
    fn new(server: &Server, user: &'static str) -> Self {
        let token = token(server.data(), user, &[]);
        Self { api: Api::new(server, user, &token), user, token, address: server.url("") }
    }

    async fn send(&self, method: &str, name: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let url = format!("{}/v1/users/{}/blobs/{name}", self.address, self.user);
        let mut request = http().request(method.parse().expect("a method"), url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() || method == "PUT" {
            request = request.body(body.to_vec());
        }
        request.send().await.expect("an answer")
    }

    async fn put(&self, content: &[u8]) -> Response {
        self.send("PUT", &hash(content), &[("content-type", "text/plain")], content).await
    }

    async fn status(&self, method: &str, name: &str) -> StatusCode {
        self.send(method, name, &[], b"").await.status()
    }

    /// Goes on where `HEAD` says, to the end.
    async fn finish(&self, content: &[u8]) -> (usize, Response) {
        let name = hash(content);
        let head = self.send("HEAD", &name, &[], b"").await;
        assert_eq!(head.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            (number(&head, "upload-length"), text(&head, "upload-complete")),
            (content.len(), "?0".into())
        );
        let offset = number(&head, "upload-offset");
        let at = offset.to_string();
        let headers = [
            ("content-type", "application/partial-upload"),
            ("upload-offset", &*at),
            ("upload-complete", "?1"),
        ];
        (offset, self.send("PATCH", &name, &headers, &content[offset..]).await)
    }

    /// Opens a connection and sends the head of an upload and some of its body.
    fn begin(&self, server: &Server, content: &[u8], sent: usize) -> TcpStream {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        let head = format!(
            "PUT /v1/users/{}/blobs/{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
             content-type: image/png\r\ncontent-length: {}\r\n\r\n",
            self.user,
            hash(content),
            self.token,
            content.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&content[..sent]).expect("sent");
        stream
    }

    async fn append(&self, text: &str) -> Answer {
        let turn =
            json!({ "role": "user", "parts": [{ "type": "file", "mediaType": "text/plain", "url": text }] });
        self.api.call("POST", &format!("/conversations/{FIRST}/messages"), turn).await
    }
}

fn text(response: &Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn number(response: &Response, name: &str) -> usize {
    text(response, name).parse().unwrap_or_else(|_| panic!("no {name}: {response:?}"))
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(text(&response, "content-type"), "application/problem+json");
    let body: Value = response.json().await.expect("JSON");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

/// Reads a counter.
async fn metric(server: &Server, name: &str) -> f64 {
    let text = get(server, "/metrics").await.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// Waits until a counter is at least so high.
async fn reaches(server: &Server, name: &str, least: f64) {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while metric(server, name).await < least {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{name} stays below {least}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_uploaded_is_given_out_whole_or_in_parts_and_runs_nowhere() {
    let (server, _folder) = start(&[], &[]);
    let (ada, eve) = (Caller::new(&server, "ada"), Caller::new(&server, "eve"));
    let page = b"<script>alert(1)</script>";
    let name = hash(page);
    let made = ada.send("PUT", &name, &[("content-type", "text/html; charset=utf-8")], page).await;
    assert_eq!((made.status(), text(&made, "upload-complete")), (StatusCode::CREATED, "?1".to_owned()));
    assert_eq!(text(&made, "location"), format!("/v1/users/ada/blobs/{name}"));
    let told: Value = made.json().await.expect("JSON");
    assert_eq!(told["url"], format!("blob:sha256:{name}"));
    assert_eq!(ada.put(page).await.status(), StatusCode::OK, "it is there already");

    let whole = ada.send("GET", &name, &[], b"").await;
    assert_eq!(text(&whole, "content-type"), "text/html; charset=utf-8", "as it was given first");
    assert_eq!(text(&whole, "etag"), format!("\"{name}\""));
    assert_eq!(text(&whole, "content-disposition"), "attachment");
    assert_eq!(text(&whole, "x-content-type-options"), "nosniff");
    let policy = text(&whole, "content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
    assert_eq!(whole.bytes().await.expect("a body"), &page[..]);

    let part = ada.send("GET", &name, &[("range", "bytes=1-6")], b"").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(text(&part, "content-range"), format!("bytes 1-6/{}", page.len()));
    assert_eq!(part.bytes().await.expect("a body"), &b"script"[..]);
    let other = [("range", "bytes=1-6"), ("if-range", "\"another\"")];
    assert_eq!(ada.send("GET", &name, &other, b"").await.status(), StatusCode::OK);
    let beyond = ada.send("GET", &name, &[("range", "bytes=99-")], b"").await;
    assert_eq!(text(&beyond, "content-range"), format!("bytes */{}", page.len()));
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let known = [("if-none-match", &*format!("\"{name}\""))];
    assert_eq!(ada.send("GET", &name, &known, b"").await.status(), StatusCode::NOT_MODIFIED);
    let head = ada.send("HEAD", &name, &[], b"").await;
    assert_eq!((head.status(), number(&head, "content-length")), (StatusCode::OK, page.len()));

    assert_eq!(
        eve.status("GET", &name).await,
        StatusCode::NOT_FOUND,
        "another user does not learn that it is there"
    );
    assert_eq!(eve.status("HEAD", &name).await, StatusCode::NOT_FOUND);
    let strange =
        Api::new(&server, "ada", &eve.token).call("GET", &format!("/blobs/{name}"), Value::Null).await;
    assert_eq!(strange.status, StatusCode::FORBIDDEN);
    assert_eq!(eve.put(page).await.status(), StatusCode::CREATED, "and has to send it");
    assert_eq!(below(&server.data().join("blobs")).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_broken_connection() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let content = content(LARGE);
    let name = hash(&content);
    let mut stream = ada.begin(&server, &content, LARGE - 1_000);
    stream.shutdown(Shutdown::Write).expect("half closed");
    // Once the connection has ended, what came over it is in order.
    let _answer = stream.read_to_end(&mut Vec::new());
    assert_eq!(ada.status("GET", &name).await, StatusCode::NOT_FOUND, "it is not whole");
    let (offset, made) = ada.finish(&content).await;
    assert_eq!((offset, made.status()), (LARGE - 1_000, StatusCode::CREATED));
    let whole = ada.send("GET", &name, &[], b"").await;
    assert_eq!(text(&whole, "content-type"), "image/png");
    assert!(whole.bytes().await.expect("a body") == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_the_server_was_killed() {
    let (mut server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let content = content(LARGE);
    let _stream = ada.begin(&server, &content, LARGE - 1_000);
    reaches(&server, "syncline_blob_received_bytes_total", (LARGE - 1_000) as f64).await;
    server.kill().expect("killed");
    let server = server.restart().expect("ready again");
    let (offset, made) = ada.finish(&content).await;
    assert!((4 << 20..LARGE).contains(&offset), "what was written down is there: {offset}");
    assert_eq!(made.status(), StatusCode::CREATED);
    assert!(ada.send("GET", &hash(&content), &[], b"").await.bytes().await.expect("a body") == content);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_call_takes_over_from_one_that_hangs() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let content = content(100_000);
    let mut hanging = ada.begin(&server, &content, 60_000);
    reaches(&server, "syncline_blob_received_bytes_total", 60_000.0).await;
    let (offset, made) = ada.finish(&content).await;
    assert_eq!((offset, made.status()), (60_000, StatusCode::CREATED));
    let mut answer = String::new();
    let _ended = hanging.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_pieces_is_taken_at_its_offset_only() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let content = content(1_000);
    let name = hash(&content);
    let begun = [("upload-complete", "?0"), ("upload-length", "1000")];
    let first = ada.send("PUT", &name, &begun, &content[..400]).await;
    assert_eq!((first.status(), number(&first, "upload-offset")), (StatusCode::CREATED, 400));
    assert!(text(&first, "upload-limit").contains("max-size="));
    let patch = |offset: &'static str, complete: &'static str| {
        [
            ("content-type", "application/partial-upload"),
            ("upload-offset", offset),
            ("upload-complete", complete),
        ]
    };
    let wrong = ada.send("PATCH", &name, &patch("500", "?0"), &content[500..]).await;
    assert_eq!(wrong.status(), StatusCode::CONFLICT);
    let told: Value = wrong.json().await.expect("JSON");
    assert_eq!((&told["expected-offset"], &told["provided-offset"]), (&json!(400), &json!(500)));
    let next = ada.send("PATCH", &name, &patch("400", "?0"), &content[400..700]).await;
    assert_eq!((next.status(), number(&next, "upload-offset")), (StatusCode::NO_CONTENT, 700));
    let long = ada.send("PATCH", &name, &patch("700", "?1"), &[0; 400]).await;
    assert_eq!(code(long).await, (400, "bad_request".to_owned()));
    assert_eq!(ada.finish(&content).await.1.status(), StatusCode::CREATED);
    let again = ada.send("PATCH", &name, &patch("1000", "?1"), b"").await;
    assert_eq!(again.status(), StatusCode::CREATED, "an answer that was lost is given once more");
    let kind = [("content-type", "text/plain"), ("upload-offset", "0"), ("upload-complete", "?1")];
    assert_eq!(ada.send("PATCH", &name, &kind, b"x").await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_another_hash_is_dropped_and_leaves_nothing() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let name = hash(b"meant");
    let refused = ada.send("PUT", &name, &[], b"other").await;
    assert_eq!(code(refused).await, (422, "hash_mismatch".to_owned()));
    assert_eq!(ada.status("HEAD", &name).await, StatusCode::NOT_FOUND);
    assert!(below(&server.data().join("blobs")).is_empty());
    assert_eq!(ada.send("PUT", &name, &[], b"meant").await.status(), StatusCode::CREATED);
    let bad = ada.status("GET", "not-a-hash").await;
    assert_eq!(bad, StatusCode::BAD_REQUEST);
    assert_eq!(
        ada.send("PUT", &hash(b""), &[], b"").await.status(),
        StatusCode::CREATED,
        "nothing is a blob, too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_file_was_taken_away_is_not_there_and_can_be_sent_again() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let name = hash(b"content");
    assert_eq!(ada.put(b"content").await.status(), StatusCode::CREATED);
    std::fs::remove_file(&below(&server.data().join("blobs"))[0]).expect("removed");
    assert_eq!(ada.status("GET", &name).await, StatusCode::NOT_FOUND);
    assert_eq!(ada.status("HEAD", &name).await, StatusCode::NOT_FOUND);
    assert_eq!(ada.put(b"content").await.status(), StatusCode::CREATED);
    assert_eq!(ada.status("GET", &name).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_met_with_words() {
    let limits = [("blob_bytes", 1_000), ("blob_user_bytes", 1_500), ("blob_uploads", 1)];
    let (server, _folder) = start(&[], &limits);
    let ada = Caller::new(&server, "ada");
    assert_eq!(code(ada.put(&[1; 1_001]).await).await, (413, "too_large".to_owned()));
    assert_eq!(ada.put(&[1; 1_000]).await.status(), StatusCode::CREATED);
    assert_eq!(code(ada.put(&[2; 501]).await).await, (507, "user_full".to_owned()));
    let begun = [("upload-complete", "?0"), ("upload-length", "100")];
    assert_eq!(ada.send("PUT", &hash(&[3; 100]), &begun, &[3; 10]).await.status(), StatusCode::CREATED);
    assert_eq!(
        code(ada.send("PUT", &hash(&[4; 100]), &begun, &[4; 10]).await).await,
        (429, "too_many_uploads".into())
    );
    assert_eq!(Caller::new(&server, "eve").put(&[2; 501]).await.status(), StatusCode::CREATED);
    assert_eq!(
        ada.status("DELETE", &hash(&[3; 100])).await,
        StatusCode::NO_CONTENT,
        "an upload can be ended"
    );
    assert_eq!(ada.put(&[2; 500]).await.status(), StatusCode::CREATED);
    let reader = token(server.data(), "ada", &["--role", "reader"]);
    let reader = Caller { token: reader, ..Caller::new(&server, "ada") };
    assert_eq!(reader.put(b"x").await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_nothing_refers_to_is_collected() {
    let limits = [("blob_grace_ms", 300), ("blob_sweep_ms", 20), ("blob_upload_ms", 300)];
    let (server, _folder) = start(&[], &limits);
    let ada = Caller::new(&server, "ada");
    ada.api.post("/conversations", json!({ "id": FIRST })).await;
    let url = |content: &[u8]| format!("blob:sha256:{}", hash(content));
    // One is named before it is there, one in a draft, one by another user only, one by nobody.
    assert_eq!(ada.append(&url(b"in a message")).await.status, StatusCode::CREATED);
    let draft = json!({ "text": "", "attachments": [{ "url": url(b"in a draft") }] });
    ada.api.call("PUT", &format!("/drafts/{FIRST}"), draft).await.ok();
    for content in [&b"in a message"[..], b"in a draft", b"of nobody"] {
        assert_eq!(ada.put(content).await.status(), StatusCode::CREATED);
    }
    let begun = [("upload-complete", "?0"), ("upload-length", "100")];
    assert_eq!(ada.send("PUT", &hash(b"unfinished"), &begun, b"unf").await.status(), StatusCode::CREATED);
    ada.api.call("DELETE", &format!("/conversations/{FIRST}"), Value::Null).await.ok();
    let server = server.restart().expect("ready again");

    reaches(&server, "syncline_blobs_collected_total", 1.0).await;
    reaches(&server, "syncline_blobs_kept_total", 4.0).await;
    reaches(&server, "syncline_blobs_dropped_total{reason=\"age\"}", 1.0).await;
    assert_eq!(ada.status("GET", &hash(b"of nobody")).await, StatusCode::NOT_FOUND);
    assert_eq!(ada.status("GET", &hash(b"in a message")).await, StatusCode::OK, "deleted is not erased");
    assert_eq!(ada.status("GET", &hash(b"in a draft")).await, StatusCode::OK);
    assert_eq!(ada.status("HEAD", &hash(b"unfinished")).await, StatusCode::NOT_FOUND);
    assert_eq!(below(&server.data().join("blobs")).len(), 2);

    // The draft goes, and with it what it held.
    ada.api.call("DELETE", &format!("/drafts/{FIRST}"), Value::Null).await.ok();
    reaches(&server, "syncline_blobs_collected_total", 2.0).await;
    assert_eq!(ada.status("GET", &hash(b"in a draft")).await, StatusCode::NOT_FOUND);
    assert_eq!(ada.status("GET", &hash(b"in a message")).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_deleted_by_hand_only_where_nothing_refers_to_it() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    ada.api.post("/conversations", json!({ "id": FIRST })).await;
    for content in [&b"wanted"[..], b"unwanted"] {
        assert_eq!(ada.put(content).await.status(), StatusCode::CREATED);
    }
    assert_eq!(ada.append(&format!("blob:sha256:{}", hash(b"wanted"))).await.status, StatusCode::CREATED);
    let refused = ada.send("DELETE", &hash(b"wanted"), &[], b"").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let told: Value = refused.json().await.expect("JSON");
    assert_eq!(told["referrers"], json!([format!("ada/c/{FIRST}")]));
    assert_eq!(ada.status("DELETE", &hash(b"unwanted")).await, StatusCode::NO_CONTENT);
    assert_eq!(ada.status("GET", &hash(b"unwanted")).await, StatusCode::NOT_FOUND);
    assert_eq!(ada.status("DELETE", &hash(b"unwanted")).await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_ends_with_its_device_and_with_its_user() {
    let (server, _folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    let device = token(server.data(), "ada", &["--device", "phone"]);
    let phone = Caller { token: device, ..Caller::new(&server, "ada") };
    let content = content(LARGE);
    let cases = [(&phone, "/devices/phone/revoke", 401, "device_revoked"), (&ada, "/erase", 410, "gone")];
    for (round, (caller, path, status, code)) in cases.into_iter().enumerate() {
        let mut stream = caller.begin(&server, &content, LARGE - 1);
        // It is under way once some of it came.
        reaches(&server, "syncline_blob_received_bytes_total", (round * LARGE + 1) as f64).await;
        ada.api.post(path, Value::Null).await;
        stream.write_all(&content[LARGE - 1..]).expect("sent");
        let (mut answer, mut piece) = (String::new(), [0; 1024]);
        while !answer.contains(code) {
            let length = stream.read(&mut piece).expect("an answer");
            assert_ne!(length, 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(below(&server.data().join("blobs")), Vec::<PathBuf>::new(), "nothing is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reads_every_blob_and_a_restore_tells_what_is_missing() {
    let (mut server, folder) = start(&[], &[]);
    let ada = Caller::new(&server, "ada");
    assert_eq!(ada.put(b"one").await.status(), StatusCode::CREATED);
    assert_eq!(ada.put(b"two").await.status(), StatusCode::CREATED);
    let end = server.terminate().expect("ended");
    assert!(end.success());
    let data = server.data().to_str().expect("UTF-8").to_owned();
    let verify = |data: &str| {
        let output = run(["verify", "--data", data]);
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (status, said) = verify(&data);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("2 blobs"), "{said}");

    let backup = folder.path().join("backup").display().to_string();
    let copy = folder.path().join("copy").display().to_string();
    assert!(run(["backup", "--data", &data, "--without-blobs", "--to", &backup]).status.success());
    assert!(run(["restore", "--data", &copy, &backup]).status.success());
    assert_eq!(verify(&copy).0, Some(1), "the files are copied apart");

    let file = below(&server.data().join("blobs")).into_iter().next().expect("a file");
    std::fs::write(&file, b"six").expect("written");
    let (status, said) = verify(&data);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(file.file_name().and_then(|name| name.to_str()).expect("a name")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_upload_and_read_the_offsets() {
    let (server, _folder) = start(&["--allow-origin", "https://chat.example"], &[]);
    let asked = http()
        .request(reqwest::Method::OPTIONS, server.url(&format!("/v1/users/ada/blobs/{}", "0".repeat(64))))
        .header(header::ORIGIN, "https://chat.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PATCH")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "upload-offset,upload-complete,range")
        .send()
        .await
        .expect("an answer");
    let allowed = text(&asked, "access-control-allow-headers");
    for name in ["upload-offset", "upload-complete", "upload-length", "range"] {
        assert!(allowed.contains(name), "{allowed}");
    }
}
