//! What becomes of each kind of content.

use super::*;

fn said(message: &Value) -> (Turn, Option<Tool>) {
    match read(message.as_object().expect("an object")) {
        Read::Said(turn, tool) => (turn, tool),
        Read::Hidden => panic!("hidden: {message}"),
    }
}

fn from(role: &str, content: &Value) -> Value {
    json!({ "author": { "role": role, "name": "python" }, "content": content, "metadata": { "model_slug": "gpt-4" } })
}

#[test]
fn known_contents_become_parts() {
    for (content, parts) in [
        (json!({ "content_type": "text", "parts": ["Hi", "", "you"] }), json!(["text:Hi", "text:you"])),
        (
            json!({ "content_type": "code", "language": "py", "text": "a = '```'" }),
            json!(["text:````py\na = '```'\n````"]),
        ),
        (
            json!({ "content_type": "thoughts", "thoughts": [{ "summary": "S", "content": "c" }, {}] }),
            json!(["reasoning:S\n\nc"]),
        ),
        (
            json!({ "content_type": "reasoning_recap", "content": "Thought for 5s" }),
            json!(["reasoning:Thought for 5s"]),
        ),
        (
            json!({ "content_type": "multimodal_text", "parts": [{ "content_type": "audio_transcription", "text": "spoken" }] }),
            json!(["text:spoken"]),
        ),
    ] {
        let (turn, tool) = said(&from("assistant", &content));
        let seen: Vec<String> = turn
            .parts
            .iter()
            .map(|part| {
                format!(
                    "{}:{}",
                    part["type"].as_str().expect("a type"),
                    part["text"].as_str().expect("a text")
                )
            })
            .collect();
        assert_eq!(json!(seen), parts);
        assert_eq!(
            (turn.role, turn.model.as_deref(), turn.unknown, tool.is_none()),
            ("assistant", Some("gpt-4"), 0, true)
        );
    }
}

#[test]
fn unknown_contents_are_kept_as_they_came() {
    let content = json!({ "content_type": "new/thing", "deep": [{ "x": 1.5 }] });
    let (turn, _) = said(&from("assistant", &content));
    assert_eq!(turn.parts, [json!({ "type": "data-chatgpt-newthing", "data": content })]);
    let part = json!({ "content_type": "hologram", "depth": 3 });
    let (more, _) =
        said(&from("user", &json!({ "content_type": "multimodal_text", "parts": [part, 5, "text"] })));
    assert_eq!(more.parts[0], json!({ "type": "data-chatgpt-hologram", "data": part }));
    assert_eq!((turn.unknown, more.unknown, more.parts.len()), (1, 2, 3));
}

#[test]
fn pictures_and_attachments_become_files_once_each() {
    let mut message = from(
        "user",
        &json!({ "content_type": "multimodal_text", "parts": [
            { "content_type": "image_asset_pointer", "asset_pointer": "sediment://file_1", "width": 5 }, "What is it?"
        ] }),
    );
    message["metadata"]["attachments"] = json!([
        { "id": "file_1", "name": "cat.png", "mime_type": "image/png" },
        { "id": "file_2", "name": "notes.pdf", "mimeType": "application/pdf" }
    ]);
    let (turn, _) = said(&message);
    let seen: Vec<[&Value; 3]> = turn
        .parts
        .iter()
        .filter(|part| part["type"] == "file")
        .map(|part| [&part["url"], &part["mediaType"], &part["filename"]])
        .collect();
    assert_eq!(
        json!(seen),
        json!([
            ["sediment://file_1", "image/png", "cat.png"],
            ["file-service://file_2", "application/pdf", "notes.pdf"]
        ])
    );
    assert_eq!(turn.parts[0]["providerMetadata"]["chatgpt"]["width"], 5);
}

#[test]
fn calls_and_answers_of_tools_are_told_apart() {
    let mut call = from("assistant", &json!({ "content_type": "code", "text": "{\"q\": 1}" }));
    call["recipient"] = json!("web.search");
    let (_, tool) = said(&call);
    assert!(
        matches!(tool, Some(Tool::Call { name, input }) if name == "web.search" && input == json!({ "q": 1 }))
    );
    let (_, tool) = said(&from("tool", &json!({ "content_type": "execution_output", "text": "2" })));
    assert!(
        matches!(tool, Some(Tool::Answer { name, output: Ok(output) }) if name == "python" && output == json!("2"))
    );
    let (_, tool) = said(&from("tool", &json!({ "content_type": "system_error", "text": "denied" })));
    assert!(matches!(tool, Some(Tool::Answer { output: Err(error), .. }) if error == "denied"));
    let page = json!({ "content_type": "sonic_webpage", "url": "https://a.example" });
    let (turn, tool) = said(&from("tool", &page));
    assert!(matches!(tool, Some(Tool::Answer { output: Ok(output), .. }) if output == page));
    assert_eq!(turn.unknown, 0);
}

#[test]
fn nobody_sees_what_was_not_to_be_seen() {
    let text = json!({ "content_type": "text", "parts": ["words"] });
    let mut hidden = from("user", &text);
    hidden["metadata"]["is_visually_hidden_from_conversation"] = json!(true);
    let mut weightless = from("user", &text);
    weightless["weight"] = json!(0.0);
    for message in [
        hidden,
        weightless,
        from("system", &text),
        from("assistant", &json!({ "content_type": "text", "parts": [" ", null] })),
        from("user", &json!({ "content_type": "user_editable_context", "user_profile": "x" })),
        from("assistant", &Value::Null),
        json!({}),
    ] {
        assert!(matches!(read(message.as_object().expect("an object")), Read::Hidden), "{message}");
    }
}

#[test]
fn what_is_cited_stays() {
    let mut message = from("assistant", &json!({ "content_type": "text", "parts": ["As said【1】"] }));
    let citation = json!({ "start_ix": 7, "metadata": { "title": "T", "url": "https://a.example" } });
    message["metadata"]["citations"] = json!([citation, citation]);
    let (turn, _) = said(&message);
    assert_eq!(
        turn.parts[1],
        json!({ "type": "source-url", "sourceId": "https://a.example", "url": "https://a.example", "title": "T" })
    );
    assert_eq!(
        turn.parts[2],
        json!({ "type": "data-citations", "data": { "citations": [citation, citation] } })
    );
    assert_eq!(turn.parts.len(), 3);
}
