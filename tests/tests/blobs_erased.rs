//! Files to which only erased content referred are gone with its receipt; those that something else refers to stay.

use reqwest::StatusCode;
use serde_json::{Value, json};
use syncline_tests::{
    Server,
    files::{below, hash},
    http,
    rest::Api,
    run, token,
};

const FIRST: &str = "019a0000-0000-7000-8000-000000000001";
const SECOND: &str = "019a0000-0000-7000-8000-000000000002";

/// The names of the files that are there, of some.
fn there<'a>(server: &Server, contents: &[&'a str]) -> Vec<&'a str> {
    let all = below(&server.data().join("blobs"));
    let is_there = |content: &&&str| all.iter().any(|path| path.ends_with(hash(content.as_bytes())));
    contents.iter().filter(is_there).copied().collect()
}

async fn put(server: &Server, content: &str, headers: &[(&str, &str)]) {
    let url = server.url(&format!("/v1/users/ada/blobs/{}", hash(content.as_bytes())));
    let mut request = http().put(url).bearer_auth(token(server.data(), "ada", &[]));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(content.to_owned()).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
}

fn url(content: &str) -> String {
    format!("blob:sha256:{}", hash(content.as_bytes()))
}

/// Says a turn with these files.
async fn say(ada: &Api, conversation: &str, id: &str, contents: &[&str]) {
    let part = |content: &&str| json!({ "type": "file", "mediaType": "image/png", "url": url(content) });
    let parts: Vec<Value> = contents.iter().map(part).collect();
    let turn = json!({ "id": id, "role": "user", "req": format!("r-{id}"), "parts": parts });
    ada.post(&format!("/conversations/{conversation}/messages"), turn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_with_what_is_erased_unless_something_else_refers_to_them() {
    let mut server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    for id in [FIRST, SECOND] {
        ada.post("/conversations", json!({ "id": id })).await;
    }
    let all = ["only", "twice", "in both", "of the draft", "of the whole", "loose", "half"];
    say(&ada, FIRST, "m1", &["only", "twice", "in both", "half"]).await;
    say(&ada, FIRST, "m2", &["twice", "of the whole"]).await;
    say(&ada, SECOND, "m1", &["in both"]).await;
    let draft = json!({ "text": "", "attachments": [{ "url": url("of the draft") }] });
    ada.call("PUT", &format!("/drafts/{FIRST}"), draft).await.ok();
    for content in &all[..6] {
        put(&server, content, &[]).await;
    }
    put(&server, "half", &[("upload-complete", "?0"), ("upload-length", "100")]).await;
    // The half of an upload lies under the name of the whole.
    assert_eq!(there(&server, &all), all);

    let erased = ada.post(&format!("/conversations/{FIRST}/messages/m1/erase"), Value::Null).await;
    assert_eq!(there(&server, &all), ["twice", "in both", "of the draft", "of the whole", "loose"]);
    assert_eq!(erased["removed"]["blobs"], 2, "{erased}");
    let gone = ada.call("GET", &format!("/blobs/{}", hash(b"only")), Value::Null).await;
    assert_eq!(gone.problem(), (404, "not_found"));

    let erased = ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await;
    assert_eq!(there(&server, &all), ["in both", "loose"], "what nothing ever referred to has its time");
    assert_eq!(erased["removed"]["blobs"], 3, "{erased}");
    // They can come again.
    say(&ada, SECOND, "m2", &["only"]).await;
    put(&server, "only", &[]).await;
    let refused = ada.call("DELETE", &format!("/blobs/{}", hash(b"only")), Value::Null).await;
    assert_eq!(refused.problem(), (409, "referenced"));

    assert!(server.terminate().expect("ended").success());
    let data = server.data().to_str().expect("UTF-8");
    for command in ["verify", "erasures"] {
        let output = run([command, "--data", data]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.contains("\"sealed\":false"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_draft_that_is_on_its_way_in_a_message_stays_when_something_else_is_erased() {
    let server = Server::fresh(&[]).expect("ready");
    let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
    for id in [FIRST, SECOND] {
        ada.post("/conversations", json!({ "id": id })).await;
        let draft = json!({ "text": "", "attachments": [{ "url": url(id) }] });
        ada.call("PUT", &format!("/drafts/{id}"), draft).await.ok();
        put(&server, id, &[]).await;
    }
    say(&ada, FIRST, "m1", &[]).await;
    // As where the phone that holds the message is offline.
    ada.call("DELETE", &format!("/drafts/{SECOND}"), Value::Null).await.ok();
    ada.post(&format!("/conversations/{FIRST}/messages/m1/erase"), Value::Null).await;
    assert_eq!(there(&server, &[FIRST, SECOND]), [FIRST, SECOND]);
    ada.post(&format!("/conversations/{FIRST}/erase"), Value::Null).await;
    assert_eq!(there(&server, &[FIRST, SECOND]), [SECOND], "the draft of what is erased goes with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_killed_takes_the_files_at_the_next_start() {
    let mut server = Server::fresh(&[]).expect("ready");
    let contents: Vec<String> = (0..40).map(|number| format!("file {number}")).collect();
    let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
    for round in 0..4_u64 {
        let id = format!("019a0000-0000-7000-8000-00000000010{round}");
        let ada = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
        ada.post("/conversations", json!({ "id": id })).await;
        say(&ada, &id, "m1", &contents).await;
        for content in &contents {
            put(&server, content, &[]).await;
        }
        let path = format!("/conversations/{id}/erase");
        let asking = tokio::spawn(async move { ada.try_post(&path).await });
        // Some of them are gone, and others are not: that is a moment in the middle.
        let before = contents.len() - usize::try_from(round * 9).expect("small");
        while there(&server, &contents).len() > before.saturating_sub(1) && !asking.is_finished() {
            tokio::task::yield_now().await;
        }
        server.kill().expect("killed");
        let _answered = asking.await;
        server = server.restart().expect("ready again");
        // Asking again waits for what the start goes on with.
        let again = Api::new(&server, "ada", &token(server.data(), "ada", &[]));
        again.post(&format!("/conversations/{id}/erase"), Value::Null).await;
        assert_eq!(there(&server, &contents), Vec::<&str>::new(), "round {round}");
    }
}
