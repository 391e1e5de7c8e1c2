//! What a connection may do before a token opens anything, and what a token changes on a connection that is open.

use bytes::Bytes;
use serde_json::Value;
use syncline_protocol::{
    frame::Reply,
    lib0::{write_str, write_var_uint},
};
use syncline_tests::{Client, Event, Server, limited, token};

const VERSION: Option<&str> = Some("4.8.0");

async fn socket(server: &Server, address: &str) -> Client {
    Client::connect(server.address(), "/sync").await.expect("upgraded").addressed(address)
}

async fn denied(client: &mut Client) {
    let event = client.next().await.expect("an answer");
    assert!(matches!(event, Event::Denied(_)), "{event:?}");
}

async fn authenticated(client: &mut Client) {
    let event = client.next().await.expect("an answer");
    assert!(matches!(event, Event::Authenticated(_)), "{event:?}");
}

/// Hocuspocus' CLOSE: the client detaches an address.
fn detach(address: &str) -> Bytes {
    let mut frame = Vec::new();
    write_str(&mut frame, address);
    write_var_uint(&mut frame, 7);
    frame.into()
}

async fn start(limits: &[(&str, u64)]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &[], limits).expect("ready");
    (folder, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_tokens_uses_the_allowance_up() {
    let (_folder, server) = start(&[("pre_auth_messages", 5)]).await;
    let mut client = socket(&server, "ada/x").await;
    for _ in 0..5 {
        client.send_auth("rubbish", VERSION).await.expect("sent");
        denied(&mut client).await;
    }
    client.send_auth("rubbish", VERSION).await.expect("sent");
    denied(&mut client).await;
    assert_eq!(client.closed().await.expect("closed").0, 4205);

    let (_folder, server) = start(&[("pre_auth_bytes", 10_000)]).await;
    let mut client = socket(&server, "ada/x").await;
    for _ in 0..3 {
        client.send_auth(&"x".repeat(4_000), VERSION).await.expect("sent");
        denied(&mut client).await;
    }
    assert_eq!(client.closed().await.expect("closed").0, 4205);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_are_only_denied_are_kept_up_to_a_number_for_each_address() {
    let (_folder, server) = start(&[("held_per_address", 2), ("pre_auth_ms", 60_000)]).await;
    let ada = token(server.data(), "ada", &[]);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = socket(&server, "ada/x").await;
        client.send_auth("rubbish", VERSION).await.expect("sent");
        denied(&mut client).await;
        kept.push(client);
    }
    for (bad, code) in [("rubbish", 4401), (ada.as_str(), 4403)] {
        let mut client = socket(&server, "bob/x").await;
        client.send_auth(bad, VERSION).await.expect("sent");
        denied(&mut client).await;
        assert_eq!(client.closed().await.expect("closed").0, code);
    }
    // The kept ones are still there, and a good token gives the place back.
    for client in &mut kept {
        client.send_auth(&ada, VERSION).await.expect("sent");
        authenticated(client).await;
    }
    let mut client = socket(&server, "ada/x").await;
    for _ in 0..2 {
        client.send_auth("rubbish", VERSION).await.expect("sent");
        denied(&mut client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_open_do_not_count_as_waiting_for_a_token() {
    let (_folder, server) = start(&[("pre_auth_documents", 1)]).await;
    let ada = token(server.data(), "ada", &[]);
    let mut client = socket(&server, "ada/1").await;
    for name in ["ada/1", "ada/2", "ada/3"] {
        client = client.addressed(name);
        client.send_auth(&ada, VERSION).await.expect("sent");
        authenticated(&mut client).await;
    }
    client = client.addressed("ada/4");
    client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    client.send_auth(&ada, VERSION).await.expect("sent");
    authenticated(&mut client).await;
    client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
    for name in ["ada/5", "ada/6"] {
        client = client.addressed(name);
        client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    }
    assert_eq!(client.closed().await.expect("closed").0, 4205);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_given_up_gives_back_what_waited_for_it() {
    let (_folder, server) = start(&[("pre_auth_messages", 3)]).await;
    let ada = token(server.data(), "ada", &[]);
    let mut client = socket(&server, "ada/x").await;
    for _ in 0..4 {
        for _ in 0..3 {
            client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
        }
        client.send_frame(detach("ada/x")).await.expect("sent");
    }
    client.send_auth(&ada, VERSION).await.expect("sent");
    authenticated(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_a_document_does_not_renew_its_allowance_of_syncs() {
    let (_folder, server) = start(&[("step1_burst", 3), ("step1_every_ms", 600_000)]).await;
    let of = |device| token(server.data(), "ada", &["--device", device]);
    let (phone, laptop) = (of("phone"), of("laptop"));
    // By CLOSE, by a token of another device, by another session of the same document.
    let rounds = [("ada/x", &phone), ("ada/x", &laptop), ("ada/x\0one", &phone), ("ada/x", &phone)];
    let mut client = socket(&server, "ada/x").await;
    for (round, (address, token)) in rounds.into_iter().enumerate() {
        client = client.addressed(address);
        client.send_auth(token, VERSION).await.expect("sent");
        client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
        if round < 3 {
            client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
        }
        if round != 0 {
            client.send_frame(detach(address)).await.expect("sent");
        }
    }
    let (code, reason) = client.closed().await.expect("closed");
    assert_eq!(code, 1013, "{reason}");
    assert!(reason.contains("SyncStep1"), "{reason}");
    // Other documents have their own, and so has another connection.
    let mut client = socket(&server, "ada/x").await;
    for name in ["ada/x", "ada/y"] {
        client = client.addressed(name);
        for _ in 0..3 {
            client.send_auth(&phone, VERSION).await.expect("sent");
            client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
            client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
        }
    }
}

/// Waits for a status in which exactly these devices are online.
async fn online(watcher: &mut Client, wanted: &[&str]) {
    let seen = watcher.until(|event| {
        let Event::Json(text) = event else { return None };
        let status: Value = serde_json::from_str(text).expect("JSON");
        let devices = status["devices"].as_array()?.iter();
        let mut ids: Vec<&str> = devices
            .filter(|device| device["online"] == true)
            .filter_map(|device| device["id"].as_str())
            .collect();
        ids.sort_unstable();
        (ids == wanted).then_some(())
    });
    seen.await.unwrap_or_else(|error| panic!("{wanted:?}: {error:#}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_device_joins_as_that_device() {
    let (_folder, server) = start(&[("pre_auth_ms", 2_000)]).await;
    let of = |device| token(server.data(), "ada", &["--device", device]);
    let path = format!("/sync/ada/x?status=1&token={}", of("watch"));
    let mut watcher = Client::connect(server.address(), &path).await.expect("upgraded");
    watcher.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    online(&mut watcher, &["watch"]).await;

    let mut client = socket(&server, "ada/x").await;
    client.send_auth(&of("phone"), VERSION).await.expect("sent");
    client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    online(&mut watcher, &["phone", "watch"]).await;
    // The same device with a fresh token goes on as before; another one takes over and syncs.
    client.send_auth(&of("phone"), VERSION).await.expect("sent");
    client.send_auth(&of("laptop"), VERSION).await.expect("sent");
    client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    online(&mut watcher, &["laptop", "watch"]).await;
    let mut synced = 0;
    client
        .until(|event| {
            synced += u32::from(matches!(event, Event::Step2(_)));
            (synced == 2).then_some(())
        })
        .await
        .expect("synced again");

    // A client that does not sync would hear nothing any more: it has to come back.
    client.send_auth(&of("tablet"), VERSION).await.expect("sent");
    online(&mut watcher, &["tablet", "watch"]).await;
    let (code, reason) = client.closed().await.expect("closed");
    assert_eq!(code, 1013, "{reason}");
}
