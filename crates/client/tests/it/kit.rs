//! Clients of a server, and waiting for what they show.

use std::{path::Path, sync::Arc};

use serde_json::Value;
use syncline_client::{Branch, Client, Config, Delivery, Message, NewMessage, Overview, Status};
use syncline_tests::{DEADLINE, Server, rest::Api};
use tempfile::TempDir;
use tokio::time::timeout;

/// A device: a folder, and a client on it while it runs.
pub(crate) struct Device {
    pub(crate) client: Arc<Client>,
    pub(crate) folder: TempDir,
}

/// Configures a device with short pauses between tries to connect.
pub(crate) fn config(url: &str, folder: &Path, device: &str) -> Config {
    let text = |text: &str| text.to_owned();
    let mut config = Config::new(text(url), text("ada"), text(device), folder.display().to_string());
    config.limits.retry_min_ms = 10;
    config.limits.retry_max_ms = 200;
    config
}

pub(crate) async fn open(config: Config) -> Arc<Client> {
    Client::open(config, None).await.expect("opens")
}

/// Makes a device of a server without auth.
pub(crate) async fn device(server: &Server, name: &str, change: impl FnOnce(&mut Config)) -> Device {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&server.url(""), folder.path(), name);
    change(&mut config);
    Device { client: open(config).await, folder }
}

/// Waits until the status of all documents is as wanted.
pub(crate) async fn until(
    client: &Client,
    what: &str,
    mut wanted: impl FnMut(&Overview) -> bool,
) -> Overview {
    let stream = client.watch_status();
    let wait = async {
        loop {
            let seen = stream.next().await.expect("the client is open");
            if wanted(&seen) {
                return seen;
            }
        }
    };
    let waited = timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("not {what}: {:?}", client.status()))
}

pub(crate) async fn saved(client: &Client) {
    until(client, "saved", |seen| seen.status == Status::Saved).await;
}

/// Waits until a conversation's messages are as wanted.
pub(crate) async fn messages(
    client: &Client,
    conversation: &str,
    what: &str,
    wanted: impl Fn(&[Message]) -> bool,
) -> Vec<Message> {
    let stream = client.open_conversation(conversation.to_owned()).await.expect("opens");
    let wait = async {
        loop {
            stream.next().await.expect("the conversation is open");
            let seen = client.messages(conversation.to_owned(), Branch::All).await.expect("reads");
            if wanted(&seen) {
                return seen;
            }
        }
    };
    match timeout(DEADLINE, wait).await {
        Ok(seen) => seen,
        Err(_) => {
            let seen = client.messages(conversation.to_owned(), Branch::All).await;
            panic!("not {what}: {seen:?}, {:?}", client.status());
        }
    }
}

pub(crate) async fn say(client: &Client, conversation: &str, text: &str) -> String {
    client.send(conversation.to_owned(), NewMessage::text(text.to_owned())).await.expect("kept")
}

pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

pub(crate) fn all_are(messages: &[Message], delivery: Delivery) -> bool {
    messages.iter().all(|message| message.delivery == delivery)
}

/// Lists the texts of a conversation as the HTTP API has them.
pub(crate) async fn over_http(api: &Api, conversation: &str) -> Vec<String> {
    let page = api.get(&format!("/conversations/{conversation}/messages?branch=all")).await;
    let items = page["items"].as_array().expect("items").iter();
    let text = |item: &Value| item["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
    items.map(text).collect()
}
