//! What the parts of a turn and the attachments of a draft look like: what would be accepted and cannot be shown, or says
//! that something was erased, is refused before it is written.

use http::StatusCode;
use serde_json::Value;

use super::problem::Problem;

fn unfit(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", detail)
}

/// Checks the parts of a turn.
pub(super) fn check(parts: &[Value]) -> Result<(), Problem> {
    for (at, part) in parts.iter().enumerate() {
        if part.get("erased").is_some_and(|erased| *erased == Value::Bool(true)) {
            return Err(unfit(format!("part {at} says that it was erased: only erasing says so")));
        }
        match part.get("type").and_then(Value::as_str) {
            None => return Err(unfit(format!("part {at} is no object with a text `type`"))),
            Some("text") if !part["text"].is_string() => {
                return Err(unfit(format!("part {at} is of type `text` and has no string `text`")));
            }
            Some(_) => {}
        }
    }
    check_urls(parts)
}

/// Refuses files that stand in the document itself: every device would carry them for ever.
pub(super) fn check_urls(parts: &[Value]) -> Result<(), Problem> {
    for (at, part) in parts.iter().enumerate() {
        let url = part.get("url").and_then(Value::as_str).unwrap_or_default().trim_start();
        if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
            return Err(unfit(format!(
                "the url of part {at} is a `data:` URL: upload the file as a blob and name it as `blob:sha256:...`"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_objects_of_a_type_that_can_be_shown() {
        for good in [
            json!({ "type": "text", "text": "" }),
            json!({ "type": "file", "mediaType": "image/png", "url": "blob:sha256:00" }),
            json!({ "type": "data-weather", "data": { "url": "data:is not looked at" } }),
        ] {
            assert_eq!(check(&[good]), Ok(()));
        }
        for bad in [
            json!("text"),
            json!({ "text": "x" }),
            json!({ "type": 1 }),
            json!({ "type": "text" }),
            json!({ "type": "text", "text": 1 }),
            json!({ "erased": true }),
            json!({ "type": "text", "text": "", "erased": true }),
            json!({ "type": "file", "url": " Data:image/png;base64,AA==" }),
        ] {
            let parts = [bad];
            assert_eq!(check(&parts).map_err(|problem| problem.code()), Err("unfit"), "{parts:?}");
        }
    }
}
