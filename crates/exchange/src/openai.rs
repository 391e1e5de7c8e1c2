//! A branch in the form of the chat messages that model APIs take: `[{role, content}]`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_document::schema::message::Message;

/// A chat message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `user`, `assistant`, `system`, `tool`.
    pub role: String,
    /// Its text; none where an assistant only calls tools.
    pub content: Option<String>,
    /// The tools that it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Value>,
    /// The call that a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// Returns a branch as chat messages. Text parts are joined; a tool's call and its answer become two messages, and a
/// call without an answer is left out, as no API takes one. Reasoning, files and data parts have no place there.
pub fn chat_messages(branch: &[Message]) -> Vec<ChatMessage> {
    let mut chat = Vec::new();
    for message in branch {
        let role = match message.role.as_str() {
            role @ ("user" | "system" | "developer") => role,
            _ => "assistant",
        };
        let mut draft = Draft { role, texts: Vec::new(), calls: Vec::new(), answers: Vec::new() };
        for part in &message.parts {
            draft.take(part, &mut chat);
        }
        draft.end(&mut chat);
    }
    chat
}

/// What was read of a message and not given out yet.
struct Draft<'a> {
    role: &'a str,
    texts: Vec<&'a str>,
    calls: Vec<Value>,
    answers: Vec<ChatMessage>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, part: &'a Value, chat: &mut Vec<ChatMessage>) {
        let kind = part["type"].as_str().unwrap_or_default();
        if kind == "text" {
            let Some(text) = part["text"].as_str().filter(|text| !text.is_empty()) else { return };
            // What is said after a tool answered comes after the answer.
            if !self.calls.is_empty() {
                self.end(chat);
            }
            self.texts.push(text);
        } else if kind == "dynamic-tool" || kind.starts_with("tool-") {
            self.call(part, kind);
        }
    }

    fn call(&mut self, part: &'a Value, kind: &str) {
        let name = part["toolName"].as_str().or_else(|| kind.strip_prefix("tool-"));
        let answer = match part["state"].as_str() {
            Some("output-available") => part.get("output").map(text_of),
            Some("output-error") => part["errorText"].as_str().map(str::to_owned),
            _ => None,
        };
        let (Some(name), Some(id), Some(answer)) = (name, part["toolCallId"].as_str(), answer) else {
            return;
        };
        let arguments = part.get("input").unwrap_or(&Value::Null).to_string();
        self.calls.push(
            json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }),
        );
        self.answers.push(ChatMessage {
            role: "tool".to_owned(),
            content: Some(answer),
            tool_call_id: Some(id.to_owned()),
            ..ChatMessage::default()
        });
    }

    fn end(&mut self, chat: &mut Vec<ChatMessage>) {
        if self.texts.is_empty() && self.calls.is_empty() {
            return;
        }
        chat.push(ChatMessage {
            // Only an assistant calls tools, whoever was said to.
            role: if self.calls.is_empty() { self.role } else { "assistant" }.to_owned(),
            content: (!self.texts.is_empty()).then(|| self.texts.join("\n\n")),
            tool_calls: std::mem::take(&mut self.calls),
            tool_call_id: None,
        });
        chat.append(&mut self.answers);
        self.texts.clear();
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, parts: &Value) -> Message {
        serde_json::from_value(json!({
            "id": "m", "parent": null, "role": role, "seq": 1, "state": "done", "parts": parts,
            "alternatives": { "index": 1, "count": 1, "ids": ["m"] }, "by": "server", "at": "1700000000000-0000",
        }))
        .expect("a message")
    }

    #[test]
    fn texts_join_and_tools_answer_between_them() {
        let call = |id: &str, state: &str| json!({ "type": "tool-sum", "toolCallId": id, "state": state, "input": { "a": 1 }, "output": { "b": 2 } });
        let branch = [
            message(
                "user",
                &json!([{ "type": "text", "text": "Hi" }, { "type": "file", "url": "x" }, { "type": "text", "text": "you" }]),
            ),
            message(
                "assistant",
                &json!([
                    { "type": "reasoning", "text": "hm" }, { "type": "text", "text": "Let me see" },
                    call("c1", "output-available"), call("c2", "input-available"), { "type": "text", "text": "2" },
                ]),
            ),
            message("assistant", &json!([{ "type": "data-x", "data": 1 }])),
        ];
        assert_eq!(
            serde_json::to_value(chat_messages(&branch)).expect("JSON"),
            json!([
                { "role": "user", "content": "Hi\n\nyou" },
                { "role": "assistant", "content": "Let me see", "tool_calls": [
                    { "id": "c1", "type": "function", "function": { "name": "sum", "arguments": "{\"a\":1}" } }] },
                { "role": "tool", "content": "{\"b\":2}", "tool_call_id": "c1" },
                { "role": "assistant", "content": "2" },
            ])
        );
    }
}
