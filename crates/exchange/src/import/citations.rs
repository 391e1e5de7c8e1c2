//! What a message of a `ChatGPT` export cites.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The lists of a message's metadata that say what it cites.
const LISTS: [&str; 2] = ["citations", "content_references"];

/// Returns each cited page once, to be shown, and all that was said of the citations, as it came.
pub(super) fn parts(metadata: &Map<String, Value>) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut kept = Map::new();
    for list in LISTS {
        let Some(items) = metadata.get(list).and_then(Value::as_array).filter(|items| !items.is_empty())
        else {
            continue;
        };
        for item in items {
            let from = item.get("metadata").filter(|metadata| metadata.is_object()).unwrap_or(item);
            let said = |key: &str| from.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            if let Some(url) = said("url").filter(|url| seen.insert(*url)) {
                let mut part = json!({ "type": "source-url", "sourceId": url, "url": url });
                if let Some(title) = said("title") {
                    part["title"] = title.into();
                }
                parts.push(part);
            }
        }
        kept.insert(list.to_owned(), Value::Array(items.clone()));
    }
    if !kept.is_empty() {
        parts.push(json!({ "type": "data-citations", "data": kept }));
    }
    parts
}
