//! Seventy real conversations, in many languages.

use std::{path::PathBuf, time::Instant};

use serde_json::Value;
use syncline_search::{Batch, Filter, Item, Page};

use crate::kit::Kit;

/// Real input lies beside the project, not in it.
fn conversations() -> Option<Vec<Value>> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let file = here
        .ancestors()
        .map(|folder| folder.join("shared/data/conversations.json"))
        .find(|file| file.exists());
    let Some(file) = file else {
        eprintln!("skipped: no shared/data/conversations.json beside the project");
        return None;
    };
    let text = std::fs::read_to_string(file).expect("readable");
    Some(serde_json::from_str(&text).expect("JSON"))
}

fn batch(conversation: &Value) -> Batch {
    let id = conversation["id"].as_str().or(conversation["conversation_id"].as_str()).expect("an id");
    let title = conversation["title"].as_str().expect("a title");
    let item = |message: Option<&str>, role: &str, at: f64, text: String| Item {
        conversation: id.into(),
        message: message.map(str::to_owned),
        role: role.into(),
        at_ms: (at * 1000.0) as i64,
        alternative: false,
        text,
    };
    let batch = Batch::new("ada").put(item(None, "", 0.0, title.into()));
    let nodes = conversation["mapping"].as_object().expect("nodes").values();
    let batch = nodes.filter(|node| node["message"].is_object()).fold(batch, |batch, node| {
        let message = &node["message"];
        let parts = message["content"]["parts"].as_array().into_iter().flatten();
        let text: Vec<&str> = parts.filter_map(Value::as_str).collect();
        let role = message["author"]["role"].as_str().unwrap_or_default();
        let at = message["create_time"].as_f64().unwrap_or_default();
        batch.put(item(message["id"].as_str(), role, at, text.join("\n")))
    });
    batch.seen(format!("c/{id}"), 1)
}

fn bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| path.metadata().expect("metadata").len()).sum()
}

#[test]
fn every_conversation_is_found_by_its_title_and_by_its_messages() {
    let Some(all) = conversations() else { return };
    let kit = Kit::new();
    let begin = Instant::now();
    all.iter().for_each(|conversation| kit.apply(batch(conversation)));
    kit.index.flush().expect("flushes");
    let indexed = begin.elapsed();
    let begin = Instant::now();
    let mut missed = Vec::new();
    for conversation in &all {
        let title = conversation["title"].as_str().expect("a title");
        let id = conversation["id"].as_str().or(conversation["conversation_id"].as_str()).expect("an id");
        let query = title.replace(['"', '-'], " ");
        let filter = Filter { conversation: Some(id.into()), ..Filter::default() };
        let found = kit.index.search("ada", &query, &Page::default(), &filter).expect("finds");
        if !found.hits.iter().any(|hit| hit.message.is_none()) {
            missed.push(title);
        }
        assert_eq!(kit.index.seen("ada", &format!("c/{id}")), Ok(Some(1)));
    }
    assert_eq!(missed, [""; 0]);
    let each = begin.elapsed() / all.len() as u32;
    let live = kit.folder.path().join("v3");
    let size = bytes(&live);
    println!("{} conversations indexed in {indexed:?}, {size} bytes; a search {each:?}", all.len());
    for query in ["python", "the", "c", "\"language model\"", "machine learn"] {
        let begin = Instant::now();
        let found = kit.find("ada", query);
        println!("{query}: {} hits on the page, {:?}", found.hits.len(), begin.elapsed());
        assert!(!found.hits.is_empty(), "{query}");
        assert!(found.hits.iter().all(|hit| !hit.snippet.marked.is_empty()), "{query}");
    }
    kit.apply(Batch::new("ada").remove_user());
    kit.index.purge().expect("purges");
    println!("{} bytes after the user is erased", bytes(&live));
    assert!(bytes(&live) < 20_000);
}
