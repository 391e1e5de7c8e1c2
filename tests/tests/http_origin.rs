//! Web pages of foreign origins change nothing and read nothing over HTTP; those that are allowed can use the API.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use syncline_tests::{Server, http, rest::update_of, token};

const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

fn post(server: &Server, origin: &str) -> RequestBuilder {
    // As a page sends it without asking first: a simple request.
    let request = http().post(server.url("/d/doc/update")).body(update_of("words"));
    request.header("origin", origin).header("content-type", "text/plain")
}

async fn is_empty(server: &Server, document: &str) -> bool {
    let state = send(http().get(server.url(&format!("/d/{document}/as-update")))).await;
    state.bytes().await.expect("bytes")[..] == [0, 0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_writes_nothing_and_reads_nothing() {
    let server = Server::fresh(&["--open", "--allow-origin", APP]).expect("ready");
    for origin in [EVIL, "null", "http://localhost.evil.example"] {
        let refused = send(post(&server, origin)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{origin}");
        assert!(!refused.headers().contains_key("access-control-allow-origin"), "{origin}");
        let body: Value = refused.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "origin");
        let read = send(http().get(server.url("/d/doc/as-update")).header("origin", origin)).await;
        assert!(!read.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    assert!(is_empty(&server, "doc").await, "nothing was written");
    // An open server is for pages of this machine, its own and those of --allow-origin.
    let own = format!("http://{}", server.address());
    for origin in [APP, "http://localhost:5173", &own] {
        let taken = send(post(&server, origin)).await;
        assert_eq!(taken.status(), StatusCode::OK, "{origin}");
        assert_eq!(taken.headers()["access-control-allow-origin"], origin);
    }
    assert!(!is_empty(&server, "doc").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_page_uses_the_api_with_a_token() {
    let server = Server::fresh(&["--allow-origin", APP]).expect("ready");
    let ada = token(server.data(), "ada", &[]);
    let preflight = |origin: &str| {
        let request = http().request(Method::OPTIONS, server.url("/doc/ada/x/auth")).header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let answer = send(preflight(APP)).await;
    assert!(answer.status().is_success());
    assert_eq!(answer.headers()["access-control-allow-origin"], APP);
    let listed = |name: &str| answer.headers()[name].to_str().expect("text").to_ascii_lowercase();
    assert!(listed("access-control-allow-methods").contains("post"));
    let headers = listed("access-control-allow-headers");
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    let vary = answer
        .headers()
        .get_all("vary")
        .iter()
        .any(|vary| vary.to_str().is_ok_and(|vary| vary.to_ascii_lowercase().contains("origin")));
    assert!(vary, "a cache must keep the origins apart");
    for origin in [EVIL, "http://localhost:5173"] {
        let refused = send(preflight(origin)).await;
        assert!(!refused.headers().contains_key("access-control-allow-origin"), "{origin}");
        let call = http().post(server.url("/doc/ada/x/auth")).bearer_auth(&ada).header("origin", origin);
        assert_eq!(send(call).await.status(), StatusCode::FORBIDDEN, "{origin}");
    }
    let call = http().post(server.url("/doc/ada/x/auth")).bearer_auth(&ada).header("origin", APP);
    let minted = send(call.json(&json!({}))).await;
    assert_eq!(minted.status(), StatusCode::OK);
    assert_eq!(minted.headers()["access-control-allow-origin"], APP);
    // A page can tell what went wrong, too.
    let nobody = send(http().post(server.url("/doc/ada/x/auth")).header("origin", APP)).await;
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(nobody.headers()["access-control-allow-origin"], APP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_points_at_this_machine_does_not_reach_an_open_server() {
    let server = Server::open().expect("ready");
    let port = server.address().port();
    // The page's own host, as the browser sees it: its origin is the same.
    let name = format!("evil.example:{port}");
    for path in ["/d/doc/as-update", "/v1/admin/documents", "/v1/admin/backup", "/metrics", "/"] {
        let answer = send(http().get(server.url(path)).header("host", &name)).await;
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
    }
    let socket = http().get(server.url("/sync/doc")).header("host", &name);
    let socket = socket.header("connection", "upgrade").header("upgrade", "websocket");
    let socket =
        socket.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    let answer = send(socket.header("origin", format!("http://{name}"))).await;
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "a socket");
    let written = send(post(&server, &format!("http://{name}")).header("host", &name)).await;
    assert_eq!(written.status(), StatusCode::MISDIRECTED_REQUEST);
    assert!(is_empty(&server, "doc").await, "nothing was written");
    for good in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let answer = send(http().get(server.url("/d/doc/as-update")).header("host", &good)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{good}");
    }
    let world = Server::fresh(&["--open", "--open-to-the-world"]).expect("ready");
    let answer = send(http().get(world.url("/d/doc/as-update")).header("host", &name)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}
