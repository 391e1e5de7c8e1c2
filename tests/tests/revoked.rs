//! A device that its user signed out for good: its sockets are closed, and it is let in nowhere until it is let in again.

use serde_json::{Value, json};
use syncline_protocol::frame::{Dialect, Reply};
use syncline_tests::{
    Client, Event, Server,
    rest::{Api, ask, error_code},
    token,
};
use yrs::{Any, Doc, Map, ReadTxn, Transact};

const VERSION: Option<&str> = Some("4.8.0");
const DIALECTS: [Dialect; 3] = [Dialect::Plain, Dialect::Hocuspocus, Dialect::Ysweet];

fn of(server: &Server, device: &str) -> String {
    token(server.data(), "ada", &["--device", device])
}

/// Connects with a token, and says hello. The inner error is the status of a refused upgrade.
async fn hello(server: &Server, dialect: Dialect, document: &str, token: &str) -> Result<Client, u16> {
    let path = match dialect {
        Dialect::Plain => format!("/sync/{document}?token={token}"),
        Dialect::Hocuspocus => "/sync".to_owned(),
        Dialect::Ysweet => format!("/d/{document}/ws/{document}?token={token}"),
    };
    let client = Client::try_connect(server.address(), &path, &[]).await.expect("an answer");
    let mut client = client.map_err(|status| status.as_u16())?;
    if dialect == Dialect::Hocuspocus {
        client = client.addressed(document);
        client.send_auth(token, VERSION).await.expect("sent");
    }
    client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    Ok(client)
}

async fn synced(server: &Server, dialect: Dialect, token: &str) -> Client {
    let mut client = hello(server, dialect, "ada/notes", token).await.expect("upgraded");
    client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
    client
}

/// Expects a device to be refused wherever it comes, with words that say why.
async fn shut_out(server: &Server, token: &str) {
    for dialect in DIALECTS {
        match hello(server, dialect, "ada/notes", token).await {
            Err(status) => assert_eq!((dialect, status), (Dialect::Ysweet, 401)),
            Ok(mut client) => {
                let event = client.next().await.expect("an answer");
                let Event::Denied(reason) = event else { panic!("{dialect:?}: {event:?}") };
                assert!(reason.contains("revoked"), "{dialect:?}: {reason}");
            }
        }
    }
    let answer = Api::new(server, "ada", token).call("GET", "/devices", Value::Null).await;
    assert_eq!(answer.problem(), (401, "device_revoked"));
    let refused = ask(server, "GET", "/d/ada/notes/as-update", token, "").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(error_code(refused).await, "device_revoked");
}

/// Expects a device to be let in everywhere.
async fn let_in(server: &Server, token: &str) {
    for dialect in DIALECTS {
        synced(server, dialect, token).await;
    }
    Api::new(server, "ada", token).get("/devices").await;
}

async fn closed(mut client: Client) {
    let (code, reason) = client.closed().await.expect("closed");
    assert_eq!(code, 4403, "{reason}");
    assert!(reason.contains("revoked"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_closed_and_shut_out_until_it_is_let_in_again() {
    let server = Server::fresh(&[]).expect("ready");
    let (phone, laptop) = (of(&server, "phone"), of(&server, "laptop"));
    let api = Api::new(&server, "ada", &laptop);
    let mut live = Vec::new();
    for dialect in DIALECTS {
        live.push(synced(&server, dialect, &phone).await);
    }
    let mut own = synced(&server, Dialect::Plain, &laptop).await;
    // What the phone's token is good for is a token of the phone's, too.
    let minted = ask(&server, "POST", "/doc/ada/notes/auth", &phone, "{}").await;
    let minted: Value = minted.json().await.expect("JSON");
    let minted = minted["token"].as_str().expect("a token").to_owned();

    api.post("/devices/phone/revoke", Value::Null).await;
    shut_out(&server, &phone).await;
    assert_eq!(ask(&server, "GET", "/d/ada/notes/as-update", &minted, "").await.status(), 401);
    for client in live {
        closed(client).await;
    }
    own.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    own.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("others stay");

    // Another user's device of that name is another device.
    let bob = token(server.data(), "bob", &["--device", "phone"]);
    hello(&server, Dialect::Plain, "bob/notes", &bob).await.expect("upgraded");
    Api::new(&server, "bob", &bob).get("/devices").await;

    let mut server = server;
    server.kill().expect("killed");
    let server = server.restart().expect("ready");
    shut_out(&server, &phone).await;
    let restored = Api::new(&server, "ada", &laptop).post("/devices/phone/restore", Value::Null).await;
    assert_eq!(restored["revoked"], false);
    let_in(&server, &phone).await;
    let server = server.restart().expect("ready");
    let_in(&server, &phone).await;
}

/// Writes a revocation as any device may: a register in the profile. Returns once it is saved.
async fn write_register(server: &Server, token: &str, device: &str, is_revoked: bool, ms: u64) {
    let doc = Doc::new();
    let devices = doc.get_or_insert_map("devices");
    let mut txn = doc.transact_mut();
    let value = vec![Any::from(format!("{ms:013}-0000")), Any::from(is_revoked)];
    devices.insert(&mut txn, format!("{device}|revoked@laptop.s{ms}"), Any::Array(value.into()));
    let update = txn.encode_update_v1();
    drop(txn);
    let mut client = hello(server, Dialect::Hocuspocus, "ada/profile", token).await.expect("upgraded");
    client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
    client.send(&Reply::SyncStep2(&update)).await.expect("sent");
    client.until(|event| matches!(event, Event::Status(true)).then_some(())).await.expect("saved");
    assert!(doc.transact().state_vector().contains_client(&doc.client_id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_a_device_writes_counts_as_much() {
    let server = Server::fresh(&[]).expect("ready");
    let (phone, laptop) = (of(&server, "phone"), of(&server, "laptop"));
    let live = synced(&server, Dialect::Plain, &phone).await;
    write_register(&server, &laptop, "phone", true, 1_700_000_000_000).await;
    closed(live).await;
    shut_out(&server, &phone).await;
    // An earlier word does not let it in, a later one does.
    write_register(&server, &laptop, "phone", false, 1_600_000_000_000).await;
    shut_out(&server, &phone).await;
    write_register(&server, &laptop, "phone", false, 1_700_000_000_001).await;
    let_in(&server, &phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_revoked_device_to_catch_up() {
    let server = Server::fresh(&[]).expect("ready");
    let (phone, laptop) = (of(&server, "phone"), of(&server, "laptop"));
    /// Waits for a status that names these devices.
    async fn names(client: &mut Client, expected: &[&str]) {
        let named = client.until(|event| {
            let Event::Json(text) = event else { return None };
            let status: Value = serde_json::from_str(text).expect("JSON");
            let devices = status["devices"].as_array()?;
            devices
                .iter()
                .map(|device| device["id"].as_str())
                .eq(expected.iter().map(|id| Some(*id)))
                .then_some(())
        });
        named.await.expect("a status");
    }
    let watch = async |server: &Server| {
        let path = format!("/sync/ada/notes?status=1&token={laptop}");
        let mut client = Client::connect(server.address(), &path).await.expect("upgraded");
        client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
        client
    };
    drop(synced(&server, Dialect::Plain, &phone).await);
    let mut watching = watch(&server).await;
    names(&mut watching, &["laptop", "phone"]).await;
    // Known from what was stored, it is forgotten while the document is open, and when it is loaded.
    let mut server = server;
    server.terminate().expect("ended");
    let mut server = server.restart().expect("ready");
    let mut watching = watch(&server).await;
    names(&mut watching, &["laptop", "phone"]).await;
    let api = Api::new(&server, "ada", &laptop);
    api.post("/devices/phone/revoke", Value::Null).await;
    names(&mut watching, &["laptop"]).await;
    api.post("/devices/phone/restore", Value::Null).await;
    drop(synced(&server, Dialect::Plain, &phone).await);
    names(&mut watching, &["laptop", "phone"]).await;
    server.terminate().expect("ended");
    let server = server.restart().expect("ready");
    Api::new(&server, "ada", &laptop).post("/devices/phone/revoke", Value::Null).await;
    names(&mut watch(&server).await, &["laptop"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_signs_itself_out_hears_that_this_is_saved() {
    let server = Server::fresh(&[]).expect("ready");
    let phone = of(&server, "phone");
    write_register(&server, &phone, "phone", true, 1_700_000_000_000).await;
    shut_out(&server, &phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_only_the_url_names_is_held_to_it_and_a_token_without_a_device_is_not() {
    let server = Server::fresh(&[]).expect("ready");
    let (unbound, laptop) = (token(server.data(), "ada", &[]), of(&server, "laptop"));
    let path = |device: &str| format!("/sync/ada/notes?token={unbound}&device={device}");
    let connect = async |device: &str| {
        let mut client = Client::connect(server.address(), &path(device)).await.expect("upgraded");
        client.send(&Reply::SyncStep1(&[0])).await.expect("sent");
        client
    };
    let mut live = connect("phone").await;
    live.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
    let api = Api::new(&server, "ada", &laptop);
    api.call("PUT", "/devices/phone", json!({ "name": "Old phone" })).await.ok();
    api.post("/devices/phone/revoke", Value::Null).await;
    closed(live).await;
    let event = connect("phone").await.next().await.expect("an answer");
    assert!(matches!(&event, Event::Denied(reason) if reason.contains("revoked")), "{event:?}");
    // The token itself names no device: it may come under another name, or none.
    for device in ["tablet", ""] {
        let mut client = connect(device).await;
        client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
    }
    Api::new(&server, "ada", &unbound).get("/devices").await;
}
