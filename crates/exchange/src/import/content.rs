//! One message of a `ChatGPT` export as parts of a UIMessage.

use serde_json::{Map, Value, json};

use super::{citations, forest::Turn};

/// What a message of an export is.
#[derive(Debug)]
pub(super) enum Read {
    /// Nobody was meant to see it, or there is nothing to see.
    Hidden,
    Said(Turn, Option<Tool>),
}

/// What passes between an assistant and a tool.
#[derive(Debug)]
pub(super) enum Tool {
    /// The assistant calls it.
    Call { name: String, input: Value },
    /// It answers, or says what went wrong.
    Answer { name: String, output: Result<Value, String> },
}

/// Reads a message.
pub(super) fn read(message: &Map<String, Value>) -> Read {
    let metadata = message.get("metadata").and_then(Value::as_object);
    let content = message.get("content").and_then(Value::as_object);
    let author = message.get("author").and_then(Value::as_object);
    let role = author.and_then(|author| text(author, "role")).unwrap_or("assistant");
    let (Some(content), false) = (content, is_hidden(message, metadata, role)) else { return Read::Hidden };
    let mut turn = Turn { role: if role == "user" { "user" } else { "assistant" }, ..Turn::default() };
    let model = metadata.and_then(|metadata| text(metadata, "model_slug"));
    // A head holds names of up to 256 bytes.
    turn.model = model.filter(|model| !model.is_empty() && model.len() <= 256).map(str::to_owned);
    let attachments = metadata.and_then(|metadata| metadata.get("attachments")).and_then(Value::as_array);
    let attachments = attachments.map_or(&[][..], Vec::as_slice);

    read_content(&mut turn, content, attachments);
    let tool = tool(message, author, role, content, &turn);
    if let Some(tool) = &tool {
        // What was said to a tool or by it stands in the part of the tool; pictures are shown besides.
        turn.parts.retain(|part| part["type"] == "file");
        if matches!(tool, Tool::Answer { .. }) {
            turn.unknown = 0;
        }
    }
    turn.parts.extend(attachments.iter().filter_map(|attachment| attached(attachment, content)));
    if let Some(metadata) = metadata {
        turn.parts.extend(citations::parts(metadata));
    }
    if turn.parts.is_empty() && tool.is_none() { Read::Hidden } else { Read::Said(turn, tool) }
}

fn is_hidden(message: &Map<String, Value>, metadata: Option<&Map<String, Value>>, role: &str) -> bool {
    let is_set = |key: &str| metadata.and_then(|metadata| metadata.get(key)) == Some(&Value::Bool(true));
    let kind = message.get("content").and_then(|content| content.get("content_type")).and_then(Value::as_str);
    is_set("is_visually_hidden_from_conversation")
        || role == "system"
        || message.get("weight").and_then(Value::as_f64) == Some(0.0)
        // What its user told of themselves, and what the product remembered: settings, not turns.
        || matches!(kind, Some("user_editable_context" | "model_editable_context"))
}

fn read_content(turn: &mut Turn, content: &Map<String, Value>, attachments: &[Value]) {
    match text(content, "content_type").unwrap_or_default() {
        "text" | "multimodal_text" => {
            for part in content.get("parts").and_then(Value::as_array).into_iter().flatten() {
                read_part(turn, part, attachments);
            }
        }
        "code" => {
            if let Some(code) = text(content, "text").filter(|code| !code.trim().is_empty()) {
                let language = text(content, "language").filter(|language| *language != "unknown");
                turn.parts.push(text_part(&fenced(code, language.unwrap_or_default())));
            }
        }
        "execution_output" | "system_error" => say(turn, text(content, "text")),
        "thoughts" => {
            for thought in content.get("thoughts").and_then(Value::as_array).into_iter().flatten() {
                let said =
                    |key: &str| thought.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
                let lines: Vec<&str> = [said("summary"), said("content")].into_iter().flatten().collect();
                if !lines.is_empty() {
                    turn.parts
                        .push(json!({ "type": "reasoning", "text": lines.join("\n\n"), "state": "done" }));
                }
            }
        }
        "reasoning_recap" => {
            if let Some(recap) = text(content, "content").filter(|recap| !recap.is_empty()) {
                turn.parts.push(json!({ "type": "reasoning", "text": recap, "state": "done" }));
            }
        }
        kind => {
            turn.unknown += 1;
            turn.parts.push(unknown(kind, &Value::Object(content.clone())));
        }
    }
}

fn say(turn: &mut Turn, said: Option<&str>) {
    if let Some(said) = said.filter(|said| !said.trim().is_empty()) {
        turn.parts.push(text_part(said));
    }
}

fn text_part(text: &str) -> Value {
    json!({ "type": "text", "text": text, "state": "done" })
}

/// Keeps what this version does not know, as it came.
fn unknown(kind: &str, original: &Value) -> Value {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    let name: String = kind.chars().filter(plain).take(64).collect();
    json!({ "type": format!("data-chatgpt-{}", if name.is_empty() { "unknown" } else { &name }), "data": original })
}

fn read_part(turn: &mut Turn, part: &Value, attachments: &[Value]) {
    let Value::Object(entries) = part else {
        match part {
            Value::String(said) => say(turn, Some(said)),
            Value::Null => {}
            other => {
                turn.unknown += 1;
                turn.parts.push(unknown("part", other));
            }
        }
        return;
    };
    let kind = text(entries, "content_type").unwrap_or_default();
    match (kind, text(entries, "asset_pointer")) {
        ("audio_transcription", _) => say(turn, text(entries, "text")),
        (_, Some(pointer)) => {
            let attachment = attachments.iter().find(|attachment| names(pointer, attachment));
            let guess = match kind.split('_').next() {
                Some("image") => "image/*",
                Some("audio") => "audio/*",
                Some("video") => "video/*",
                _ => "application/octet-stream",
            };
            turn.parts.push(file(pointer, attachment, guess, part));
        }
        _ => {
            turn.unknown += 1;
            turn.parts.push(unknown(kind, part));
        }
    }
}

/// Says whether a pointer (`file-service://file-1`, `sediment://file_1`) names an attachment.
fn names(pointer: &str, attachment: &Value) -> bool {
    let id = attachment.get("id").and_then(Value::as_str);
    id.is_some_and(|id| pointer.rsplit('/').next() == Some(id))
}

fn file(url: &str, attachment: Option<&Value>, guess: &str, original: &Value) -> Value {
    let said = |key: &str| attachment.and_then(|attachment| attachment.get(key)).and_then(Value::as_str);
    let media = said("mime_type").or_else(|| said("mimeType")).unwrap_or(guess);
    let mut part = json!({ "type": "file", "mediaType": media, "url": url, "providerMetadata": { "chatgpt": original } });
    if let Some(name) = said("name") {
        part["filename"] = name.into();
    }
    part
}

/// Returns an attachment that the content does not show already.
fn attached(attachment: &Value, content: &Map<String, Value>) -> Option<Value> {
    let id = attachment.get("id").and_then(Value::as_str)?;
    let parts = content.get("parts").and_then(Value::as_array).into_iter().flatten();
    let mut pointers = parts.filter_map(|part| part.get("asset_pointer").and_then(Value::as_str));
    let is_shown = pointers.any(|pointer| names(pointer, attachment));
    let url = format!("file-service://{id}");
    (!is_shown).then(|| file(&url, Some(attachment), "application/octet-stream", attachment))
}

/// Returns what passes between an assistant and a tool with this message.
fn tool(
    message: &Map<String, Value>,
    author: Option<&Map<String, Value>>,
    role: &str,
    content: &Map<String, Value>,
    turn: &Turn,
) -> Option<Tool> {
    if turn.parts.is_empty() {
        return None;
    }
    let whole = || Value::Object(content.clone());
    if role == "tool" {
        let name = author.and_then(|author| text(author, "name")).unwrap_or("tool").to_owned();
        let plain = plain_text(content);
        let output = match text(content, "content_type") {
            Some("system_error") => Err(plain.unwrap_or_default()),
            _ => Ok(plain.map_or_else(whole, Value::String)),
        };
        return Some(Tool::Answer { name, output });
    }
    let name = text(message, "recipient").filter(|name| !matches!(*name, "all" | ""))?;
    if role != "assistant" {
        return None;
    }
    let input = match plain_text(content) {
        Some(said) => serde_json::from_str(&said).unwrap_or(Value::String(said)),
        None => whole(),
    };
    Some(Tool::Call { name: name.to_owned(), input })
}

/// Returns the text of a content that is nothing but text.
fn plain_text(content: &Map<String, Value>) -> Option<String> {
    match text(content, "content_type")? {
        "text" => {
            let parts = content.get("parts")?.as_array()?;
            let texts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
            Some(texts?.join("\n"))
        }
        "code" | "execution_output" | "system_error" => text(content, "text").map(str::to_owned),
        _ => None,
    }
}

/// Makes the part of a call, with its answer once there is one.
pub(super) fn call_part(
    id: &str,
    name: &str,
    input: &Value,
    answer: Option<&Result<Value, String>>,
) -> Value {
    let mut part = json!({ "type": "dynamic-tool", "toolName": name, "toolCallId": id, "input": input });
    match answer {
        None => part["state"] = "input-available".into(),
        Some(Ok(output)) => {
            part["state"] = "output-available".into();
            part["output"] = output.clone();
        }
        Some(Err(error)) => {
            part["state"] = "output-error".into();
            part["errorText"] = error.as_str().into();
        }
    }
    part
}

/// Puts code between fences that are longer than any in it.
fn fenced(code: &str, language: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}{language}\n{code}\n{fence}")
}

/// Returns a text entry.
pub(super) fn text<'a>(entries: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    entries.get(key).and_then(Value::as_str)
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
