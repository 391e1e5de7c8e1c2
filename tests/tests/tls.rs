//! HTTP and WebSockets over TLS, with the certificate and key that the server is given.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use syncline_protocol::frame::{Reply, encode};
use syncline_tests::{DEADLINE, Server, http, run};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{client_async, tungstenite::Message};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_speaks_tls_for_http_and_sockets() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let flags = ["--open", "--tls-cert", &text(&cert), "--tls-key", &text(&key)].map(str::to_owned);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(&folder.path().join("data"), &flags, &[]).expect("ready");
    assert!(server.url("/").starts_with("https://"), "the ready line says so");

    // Installs the provider that every client of the tests uses.
    let _ = http();
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).expect("PEM");
    let client = reqwest::Client::builder()
        .tls_built_in_root_certs(false)
        .add_root_certificate(trusted)
        .build()
        .expect("a client");
    let health = client.get(server.url("/healthz")).send().await.expect("an answer");
    assert_eq!(health.text().await.expect("text"), "ok\n");
    let minted = client.post(server.url("/doc/x/auth")).body("{}").send().await.expect("an answer");
    let minted: serde_json::Value = minted.json().await.expect("JSON");
    assert!(minted["url"].as_str().is_some_and(|url| url.starts_with("wss://")), "{minted}");
    assert!(http().get(server.url("/healthz")).send().await.is_err(), "nobody else trusts this certificate");

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(server.address()).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake");
    let url = format!("wss://localhost:{}/sync/doc", server.address().port());
    let (mut socket, _) = client_async(url, tls).await.expect("upgraded");
    socket.send(Message::Binary(encode(None, &Reply::SyncStep1(&[0])))).await.expect("sent");
    let answer = timeout(DEADLINE, socket.next()).await.expect("in time").expect("open").expect("a frame");
    assert_eq!(answer.into_data()[..2], [0, 1], "a SyncStep2");
}

#[test]
fn a_key_that_does_not_fit_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&cert, make().cert.pem()).expect("written");
    std::fs::write(&key, make().signing_key.serialize_pem()).expect("written");
    let data = folder.path().join("data");
    let output = run([
        "serve".as_ref(),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--data".as_ref(),
        data.as_os_str(),
        "--tls-cert".as_ref(),
        cert.as_os_str(),
        "--tls-key".as_ref(),
        key.as_os_str(),
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
