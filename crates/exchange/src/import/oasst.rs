//! A message tree of `OpenAssistant`: a prompt with its replies, each with replies of its own.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    Source,
    content::text,
    forest::{Content, Node, Turn},
};
use crate::Bounds;

/// The longest title that is made of a prompt, in characters.
const TITLE_CHARS: usize = 80;

/// Reads a tree; the error says why it is none.
pub(super) fn read(mut tree: Map<String, Value>, bounds: &Bounds) -> Result<Source, String> {
    let Some(Value::Object(prompt)) = tree.remove("prompt") else {
        return Err("its prompt is missing or no object".to_owned());
    };
    let id = id_of(&tree).or_else(|| text(&prompt, "message_id").map(str::to_owned)).ok_or("it has no id")?;
    let first_line = text(&prompt, "text").and_then(|text| text.trim().lines().next());
    let title = first_line.map(|line| line.chars().take(TITLE_CHARS).collect());
    let nodes = nodes(prompt, bounds)?;
    let current = best(&nodes);
    Ok(Source {
        id,
        origin: "oasst",
        title,
        created_ms: None,
        updated_ms: None,
        archived: false,
        pinned: false,
        nodes,
        current,
    })
}

/// Returns the id of a tree.
pub(super) fn id_of(tree: &Map<String, Value>) -> Option<String> {
    text(tree, "message_tree_id").filter(|id| !id.is_empty()).map(str::to_owned)
}

fn nodes(prompt: Map<String, Value>, bounds: &Bounds) -> Result<Vec<Node>, String> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut ids = HashSet::new();
    let mut stack = vec![(None, 0, prompt)];
    while let Some((parent, place, mut message)) = stack.pop() {
        let at = nodes.len();
        if at >= bounds.nodes {
            return Err(format!("it has more than {} messages", bounds.nodes));
        }
        if let Some(Value::Array(replies)) = message.remove("replies") {
            for (place, reply) in replies.into_iter().enumerate() {
                let Value::Object(reply) = reply else { return Err("a reply is no object".to_owned()) };
                stack.push((Some(at), place, reply));
            }
        }
        let key = text(&message, "message_id").filter(|id| !id.is_empty()).ok_or("a message has no id")?;
        if !ids.insert(key.to_owned()) {
            return Err("two of its messages have the same id".to_owned());
        }
        nodes.push(Node {
            key: key.to_owned(),
            parent,
            rank: place,
            made_ms: None,
            content: content(&message),
        });
    }
    Ok(nodes)
}

fn content(message: &Map<String, Value>) -> Content {
    let said = text(message, "text").filter(|text| !text.trim().is_empty());
    let (Some(said), Some(false) | None) = (said, message.get("deleted").and_then(Value::as_bool)) else {
        return Content::Hidden;
    };
    let role = if text(message, "role") == Some("prompter") { "user" } else { "assistant" };
    let model = text(message, "model_name").filter(|model| !model.is_empty() && model.len() <= 256);
    Content::Said(Turn {
        role,
        parts: vec![json!({ "type": "text", "text": said, "state": "done" })],
        model: model.map(str::to_owned),
        ..Turn::default()
    })
}

/// Returns the end of the branch of first replies, which people ranked best.
fn best(nodes: &[Node]) -> Option<usize> {
    let mut at = nodes.first().map(|_| 0)?;
    loop {
        let replies = (at + 1..nodes.len()).filter(|reply| nodes[*reply].parent == Some(at));
        match replies.min_by_key(|reply| nodes[*reply].rank) {
            Some(reply) => at = reply,
            None => return Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_keeps_its_replies_and_the_branch_of_the_first_ones() {
        let reply = |id: &str, replies: Value| json!({ "message_id": id, "text": id, "role": "assistant", "replies": replies });
        let tree = json!({ "message_tree_id": "t", "prompt": {
            "message_id": "p", "text": "First line\nmore", "role": "prompter",
            "replies": [reply("a", json!([reply("b", json!([]))])), reply("c", json!([]))],
        } });
        let Value::Object(tree) = tree else { unreachable!("an object") };
        let source = read(tree, &Bounds::default()).expect("a tree");
        assert_eq!(
            (source.id.as_str(), source.title.as_deref(), source.nodes.len()),
            ("t", Some("First line"), 4)
        );
        assert_eq!(source.current.map(|at| source.nodes[at].key.as_str()), Some("b"));
        let twice = json!({ "message_tree_id": "t", "prompt": reply("a", json!([reply("a", json!([]))])) });
        let twice = twice.as_object().expect("an object").clone();
        assert!(read(twice, &Bounds::default()).is_err_and(|error| error.contains("same id")));
    }
}
