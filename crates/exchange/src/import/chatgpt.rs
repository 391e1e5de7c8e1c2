//! A conversation of a `ChatGPT` data export: a `mapping` of nodes, and the one its user stood at.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{
    Source,
    content::{self, Read, Tool, call_part, text},
    forest::{Content, Node},
    identity::ms,
};
use crate::Bounds;

/// Reads a conversation; the error says why it is none.
pub(super) fn read(mut conversation: Map<String, Value>, bounds: &Bounds) -> Result<Source, String> {
    let Some(Value::Object(mapping)) = conversation.remove("mapping") else {
        return Err("its mapping is missing or no object".to_owned());
    };
    if mapping.len() > bounds.nodes {
        return Err(format!("it has {} nodes, more than {}", mapping.len(), bounds.nodes));
    }
    let time = |key: &str| conversation.get(key).and_then(Value::as_f64).and_then(ms);
    let is_set = |key: &str| conversation.get(key) == Some(&Value::Bool(true));
    let (created_ms, updated_ms) = (time("create_time"), time("update_time"));
    let (archived, pinned) = (is_set("is_archived"), is_set("is_starred") || time("pinned_time").is_some());
    let id = id_of(&conversation).ok_or("it has no id")?;
    let (nodes, index) = nodes(mapping);
    let current = text(&conversation, "current_node").and_then(|key| index.get(key)).copied();
    let title = text(&conversation, "title").map(str::to_owned);
    Ok(Source { id, origin: "chatgpt", title, created_ms, updated_ms, archived, pinned, nodes, current })
}

/// Returns the id of a conversation.
pub(super) fn id_of(conversation: &Map<String, Value>) -> Option<String> {
    let id = text(conversation, "conversation_id").or_else(|| text(conversation, "id"));
    id.filter(|id| !id.is_empty()).map(str::to_owned)
}

fn nodes(mapping: Map<String, Value>) -> (Vec<Node>, HashMap<String, usize>) {
    let index: HashMap<String, usize> =
        mapping.keys().enumerate().map(|(at, key)| (key.clone(), at)).collect();
    let named: Vec<Option<usize>> = mapping
        .values()
        .enumerate()
        .map(|(at, node)| {
            let parent =
                node.get("parent").and_then(Value::as_str).and_then(|parent| index.get(parent)).copied();
            parent.filter(|parent| *parent != at)
        })
        .collect();
    let listed = listed(&mapping, &index, &named);
    let mut nodes = Vec::with_capacity(mapping.len());
    let mut tools = Vec::with_capacity(mapping.len());
    for (at, (key, node)) in mapping.into_iter().enumerate() {
        let parent = named[at].or(listed[at].map(|(parent, _)| parent));
        let rank = listed[at].map_or(usize::MAX, |(_, rank)| rank);
        let message = node.get("message").and_then(Value::as_object);
        let made_ms =
            message.and_then(|message| message.get("create_time")).and_then(Value::as_f64).and_then(ms);
        let (content, tool) = match message.map(content::read) {
            None => (Content::Absent, None),
            Some(Read::Hidden) => (Content::Hidden, None),
            Some(Read::Said(turn, tool)) => (Content::Said(turn), tool),
        };
        tools.push(tool);
        nodes.push(Node { key, parent, rank, made_ms, content });
    }
    join_tools(&mut nodes, &tools);
    (nodes, index)
}

/// Finds for each node who lists it as its child, and where: the one it names as its parent, or, for a node that names
/// none, the first one.
fn listed(
    mapping: &Map<String, Value>,
    index: &HashMap<String, usize>,
    named: &[Option<usize>],
) -> Vec<Option<(usize, usize)>> {
    let mut listed = vec![None; named.len()];
    for (at, node) in mapping.values().enumerate() {
        let children = node.get("children").and_then(Value::as_array).into_iter().flatten();
        for (rank, child) in children.enumerate() {
            let child = child.as_str().and_then(|child| index.get(child)).copied();
            if let Some(child) =
                child.filter(|child| *child != at && named[*child].is_none_or(|named| named == at))
            {
                listed[child] = listed[child].or(Some((at, rank)));
            }
        }
    }
    listed
}

/// Puts calls of tools and their answers into parts. An answer that alone follows its call is taken into it, as the
/// one part that they are; where there are several, each answer repeats the call.
fn join_tools(nodes: &mut [Node], tools: &[Option<Tool>]) {
    let mut followers = vec![0_usize; nodes.len()];
    for parent in nodes.iter().filter_map(|node| node.parent) {
        followers[parent] += 1;
    }
    for (at, tool) in tools.iter().enumerate() {
        if let (Some(Tool::Call { name, input }), Content::Said(turn)) = (tool, &mut nodes[at].content) {
            turn.parts.insert(0, call_part(&nodes[at].key, name, input, None));
        }
    }
    for (at, tool) in tools.iter().enumerate() {
        let Some(Tool::Answer { name, output }) = tool else { continue };
        let call = nodes[at].parent.filter(|parent| *parent != at);
        let Some((call, Some(Tool::Call { name, input }))) = call.map(|call| (call, &tools[call])) else {
            let part = call_part(&nodes[at].key, name, &Value::Null, Some(output));
            if let Content::Said(turn) = &mut nodes[at].content {
                turn.parts.insert(0, part);
            }
            continue;
        };
        let part = call_part(&nodes[call].key, name, input, Some(output));
        if followers[call] > 1 {
            if let Content::Said(turn) = &mut nodes[at].content {
                turn.parts.insert(0, part);
            }
            continue;
        }
        let answer = std::mem::replace(&mut nodes[at].content, Content::Absent);
        let key = nodes[at].key.clone();
        if let (Content::Said(answer), Content::Said(turn)) = (answer, &mut nodes[call].content) {
            turn.parts[0] = part;
            turn.parts.extend(answer.parts);
            turn.unknown += answer.unknown;
            // Its id says that the answer is in it: what was imported before the answer came is another message.
            turn.with = Some(key);
        }
    }
}

#[cfg(test)]
#[path = "chatgpt_tests.rs"]
mod tests;
