//! A draft stands until the message that came of it is saved, and not longer: on every device, late ones and crashes
//! included.

use std::path::Path;

use serde_json::{Value, json};
use syncline_tests::{DEADLINE, Server, rest::Api, run, token};

/// A user's phone and laptop at the API.
struct People {
    phone: Api,
    laptop: Api,
}

impl People {
    fn of(server: &Server) -> Self {
        let device = |name: &str| Api::new(server, "ada", &token(server.data(), "ada", &["--device", name]));
        Self { phone: device("phone"), laptop: device("laptop") }
    }

    async fn conversation(&self) -> String {
        let made = self.phone.post("/conversations", json!({})).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Returns the requests of the drafts that stand, by writer.
    async fn drafts(&self) -> Vec<(String, String)> {
        let seen = self.phone.get("/drafts").await;
        let text = |draft: &Value, key: &str| draft[key].as_str().expect("text").to_owned();
        let items = seen["items"].as_array().expect("items");
        items.iter().map(|draft| (text(draft, "writer"), text(draft, "req"))).collect()
    }

    /// Waits until the drafts that stand are those of these requests.
    async fn stand(&self, requests: &[&str]) {
        let standing = async {
            loop {
                let drafts = self.drafts().await;
                if drafts.iter().map(|(_, req)| req.as_str()).eq(requests.iter().copied()) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let stands = tokio::time::timeout(DEADLINE, standing).await;
        assert!(stands.is_ok(), "{:?} stand, not {requests:?}", self.drafts().await);
    }
}

async fn draft(device: &Api, conversation: &str, req: &str) -> Value {
    let body = json!({ "text": format!("draft of {req}"), "req": req });
    device.call("PUT", &format!("/drafts/{conversation}"), body).await.ok()
}

async fn send(device: &Api, conversation: &str, role: &str, req: &str) -> Value {
    let parts = json!([{ "type": "text", "text": format!("message of {req}") }]);
    let body = json!({ "role": role, "parts": parts, "req": req });
    device.post(&format!("/conversations/{conversation}/messages"), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_a_draft_that_was_taken_over_ends_both_and_no_other() {
    let server = Server::fresh(&[]).expect("ready");
    let people = People::of(&server);
    let (c, other) = (people.conversation().await, people.conversation().await);
    let first = draft(&people.phone, &c, "r1").await;
    let taken = json!({ "writer": first["writer"] });
    let taken = people.laptop.post(&format!("/drafts/{c}/take-over"), taken).await;
    assert_eq!(taken["req"], "r1");
    // The same request in another conversation is another draft; an answer to the request sends nothing.
    draft(&people.phone, &other, "r1").await;
    send(&people.phone, &c, "assistant", "r1").await;
    assert_eq!(people.drafts().await.len(), 3);
    let sent = send(&people.laptop, &c, "user", "r1").await;
    people.stand(&["r1"]).await;
    let seen = people.phone.get("/drafts").await;
    assert_eq!(seen["items"][0]["conversation"], json!(other));
    // Sent from both, it is one message.
    assert_eq!(send(&people.phone, &c, "user", "r1").await["id"], sent["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_comes_after_its_message_goes_too() {
    let server = Server::fresh(&[]).expect("ready");
    let people = People::of(&server);
    let c = people.conversation().await;
    send(&people.phone, &c, "user", "r1").await;
    let body = json!({ "text": "late", "req": "r1" });
    people.laptop.call("PUT", &format!("/drafts/{c}"), body).await;
    draft(&people.phone, &c, "r2").await;
    people.stand(&["r2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_between_the_message_and_its_draft_removes_it_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    // Commits are a while apart: the kill comes after the message's and before the next one.
    let pace = [("SYNCLINE_LIMITS__COMMIT_PACE_US", "400000")];
    let mut server = Server::start(&folder.path().join("data"), &[], &pace).expect("ready");
    let people = People::of(&server);
    let c = people.conversation().await;
    draft(&people.phone, &c, "r1").await;
    send(&people.phone, &c, "user", "r1").await;
    server.kill().expect("killed");
    assert!(on_disk(server.data(), "ada/drafts").contains("draft of r1"), "the kill came in between");
    assert!(on_disk(server.data(), &format!("ada/c/{c}")).contains("message of r1"), "it is saved");
    let server = server.restart().expect("ready");
    People::of(&server).stand(&[]).await;
}

/// Returns what is durable of a document.
fn on_disk(data: &Path, document: &str) -> String {
    let output = run(["inspect", "--data", data.to_str().expect("UTF-8"), document, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
