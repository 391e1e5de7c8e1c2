//! What a user's state tells, over the HTTP API, and the real input that tests import.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Server, rest::Api, token};

/// Finds real input, or says that it is missing.
pub fn real(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found =
        here.ancestors().map(|folder| folder.join("shared/data").join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: no shared/data/{name} beside the repository");
    }
    found
}

/// Reads every page of a list.
///
/// # Panics
/// A page cannot be read.
pub async fn all(api: &Api, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = api.get(&format!("{path}{joint}limit=200{after}")).await;
        items.extend(page["items"].as_array().expect("items").clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return items,
        }
    }
}

/// Tells the whole story of a user: every conversation with the turns of all its branches. Times of arrival left out.
///
/// # Panics
/// Something of it cannot be read.
pub async fn story(server: &Server) -> Vec<Value> {
    let api = Api::new(server, "ada", &token(server.data(), "ada", &[]));
    let mut story = Vec::new();
    let mut conversations = all(&api, "/conversations").await;
    conversations.extend(all(&api, "/conversations?archived=true").await);
    for mut conversation in conversations {
        let id = conversation["id"].as_str().expect("an id").to_owned();
        let shown = all(&api, &format!("/conversations/{id}/messages")).await;
        let turns = all(&api, &format!("/conversations/{id}/messages?branch=all")).await;
        if let Some(last) = conversation["last"].as_object_mut() {
            last.remove("at");
        }
        story.push(json!({ "conversation": conversation, "shown": shown, "turns": turns }));
    }
    story.sort_by_key(|told| told["conversation"]["id"].to_string());
    story
}
