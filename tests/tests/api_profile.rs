//! Devices, folders and drafts over HTTP.

use serde_json::{Value, json};
use syncline_tests::{Server, rest::Api, token};

const CONVERSATION: &str = "019a0000-0000-7000-8000-000000000001";

fn on(server: &Server, device: &str) -> Api {
    Api::new(server, "ada", &token(server.data(), "ada", &["--device", device]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_named_and_revoked() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = on(&server, "phone");
    let named = ada.call("PUT", "/devices/laptop", json!({ "name": "Work", "kind": "laptop" })).await.ok();
    assert_eq!((&named["name"], &named["revoked"]), (&json!("Work"), &json!(false)));
    let revoked = ada.post("/devices/laptop/revoke", Value::Null).await;
    assert_eq!((&revoked["kind"], &revoked["revoked"]), (&json!("laptop"), &json!(true)));
    assert_eq!(ada.get("/devices").await, json!({ "items": [revoked], "next": null }));
    let unfit = ada.call("PUT", "/devices/a%20b", json!({ "name": "x" })).await;
    assert_eq!(unfit.problem(), (422, "unfit"));
    assert_eq!(ada.call("PUT", "/devices/tv", json!({})).await.problem(), (404, "not_found"));
    let agent = Api::new(&server, "ada", &token(server.data(), "ada", &["--role", "agent"]));
    for path in ["/devices/laptop/restore", "/devices/phone/revoke"] {
        assert_eq!(agent.call("POST", path, Value::Null).await.problem(), (403, "forbidden"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_made_once_moved_deleted_and_restored() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = on(&server, "phone");
    let made = ada.call("POST", "/folders", json!({ "id": "trips", "name": "Trips", "order": "a" })).await;
    assert_eq!(made.status, 201);
    let again = ada.call("POST", "/folders", json!({ "id": "trips", "name": "Other" })).await;
    assert_eq!((again.status.as_u16(), &again.body), (201, &made.body));
    let inner = ada.post("/folders", json!({ "name": "Rome", "parent": "trips" })).await;
    assert_eq!(inner["parent"], "trips");
    let path = format!("/folders/{}", inner["id"].as_str().expect("an id"));
    let moved = ada.call("PATCH", &path, json!({ "parent": null, "order": "b" })).await.ok();
    assert_eq!((&moved["parent"], &moved["name"]), (&Value::Null, &json!("Rome")));
    let gone = ada.call("DELETE", &path, Value::Null).await.ok();
    assert_eq!(gone["deleted"], true);
    assert_eq!(ada.get("/folders").await["items"], json!([made.body]));
    assert_eq!(ada.get("/folders?deleted=true").await["items"], json!([gone]));
    let back = ada.call("PATCH", &path, json!({ "deleted": false })).await.ok();
    assert_eq!(back["deleted"], false);
    for (method, path) in [("PATCH", "/folders/none"), ("DELETE", "/folders/none")] {
        let body = if method == "PATCH" { json!({ "name": "x" }) } else { Value::Null };
        assert_eq!(ada.call(method, path, body).await.problem(), (404, "not_found"), "{method}");
    }
    // All of a call or nothing.
    let unfit = ada.call("PATCH", "/folders/trips", json!({ "name": "New", "parent": "a b" })).await;
    assert_eq!(unfit.problem(), (422, "unfit"));
    let page = ada.get("/folders").await;
    assert!(
        page["items"].as_array().expect("items").iter().any(|folder| folder["name"] == "Trips"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_not_moved_into_itself_nor_into_what_stands_in_it() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = on(&server, "phone");
    for (id, parent) in [("a", Value::Null), ("b", json!("a")), ("c", json!("b")), ("d", Value::Null)] {
        ada.post("/folders", json!({ "id": id, "name": id, "parent": parent })).await;
    }
    let before = ada.get("/folders").await;
    for (id, parent) in [("a", "a"), ("a", "b"), ("a", "c"), ("b", "c")] {
        let change = json!({ "name": "moved", "parent": parent });
        let refused = ada.call("PATCH", &format!("/folders/{id}"), change).await;
        assert_eq!(refused.problem(), (422, "folder_cycle"), "{id} into {parent}");
        let words = refused.body["detail"].as_str().expect("words");
        assert!(words.contains(id) && words.contains(parent), "{words}");
    }
    let own = ada.call("POST", "/folders", json!({ "id": "e", "name": "e", "parent": "e" })).await;
    assert_eq!(own.problem(), (422, "folder_cycle"));
    assert_eq!(ada.get("/folders").await, before, "all of a call or nothing");
    ada.call("PATCH", "/folders/a", json!({ "parent": "d" })).await.ok();
    ada.call("PATCH", "/folders/c", json!({ "parent": "d" })).await.ok();
    ada.call("PATCH", "/folders/b", json!({ "parent": "c" })).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_stays_its_writers_and_another_device_goes_on_with_it() {
    let server = Server::fresh(&[]).expect("ready");
    let (phone, laptop) = (on(&server, "phone"), on(&server, "laptop"));
    let path = format!("/drafts/{CONVERSATION}");
    let draft = phone.call("PUT", &path, json!({ "text": "Dear" })).await.ok();
    assert_eq!((&draft["text"], &draft["writer"]), (&json!("Dear"), &json!("phone.api")));
    let draft = phone.call("PUT", &path, json!({ "text": "Dear Bob", "req": draft["req"] })).await.ok();
    let later = phone.call("PUT", &path, json!({ "text": "Dear Bob," })).await.ok();
    assert_eq!(later["req"], draft["req"]);
    laptop.call("PUT", &path, json!({ "text": "mine" })).await.ok();
    assert_eq!(laptop.get("/drafts").await["items"].as_array().map(Vec::len), Some(2));

    let taken = laptop.post(&format!("{path}/take-over"), json!({ "writer": "phone.api" })).await;
    assert_eq!((&taken["text"], &taken["req"]), (&json!("Dear Bob,"), &draft["req"]));
    let items = phone.get("/drafts").await["items"].clone();
    assert_eq!((&items[1]["writer"], &items[1]["takenBy"]), (&json!("phone.api"), &json!("laptop.api")));
    let nobodys = laptop.call("POST", &format!("{path}/take-over"), json!({ "writer": "tv.api" })).await;
    assert_eq!(nobodys.problem(), (404, "not_found"));

    assert_eq!(phone.call("DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(phone.call("DELETE", &path, Value::Null).await.status, 204);
    let left = phone.get("/drafts").await;
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(left["items"][0]["writer"], "laptop.api");
}
