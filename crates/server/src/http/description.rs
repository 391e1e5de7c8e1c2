//! What `/openapi.json` says beside what stands at the calls themselves: who may call, how calls fail, and the headers
//! that many of them have in common. `/docs` shows it.

use http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{admin, ysweet};

/// Below this all calls have problem details, rate limits and tokens of users.
const USERS: &str = "/v1/users/";
/// Calls that anybody may make.
const PUBLIC: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/ready"];
/// Media types of bytes: their description is derived from `Vec<u8>`, which would be an array of numbers.
const BYTES: [&str; 3] = ["application/octet-stream", "application/partial-upload", "application/zip"];
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const METHODS: [&str; 6] = ["get", "head", "put", "post", "patch", "delete"];

/// The calls that are not the API's.
#[derive(OpenApi)]
#[openapi(
    paths(
        super::healthz,
        super::readyz,
        super::metrics,
        admin::documents,
        admin::document,
        admin::backup,
        ysweet::ready,
        ysweet::check_store,
        ysweet::new,
        ysweet::auth,
        ysweet::as_update,
        ysweet::update
    ),
    tags(
        (name = "operation", description = "Health, metrics, and what operators ask for with a token of role admin"),
        (name = "documents", description = "Whole Yjs documents, as y-sweet's SDK reads and writes them"),
    )
)]
struct Others;

/// Renders the description of the API and of the other calls.
pub(super) fn render(api: utoipa::openapi::OpenApi) -> String {
    let mut all = api;
    all.merge(Others::openapi());
    let mut document = serde_json::to_value(&all).unwrap_or_default();
    document["security"] = json!([{ "bearer": [] }]);
    document["paths"]["/openapi.json"] = json!({ "get": {
        "tags": ["operation"], "operationId": "openapi", "summary": "This document.",
        "responses": { "200": { "description": "OpenAPI 3.1", "content": { JSON: { "schema": { "type": "object" } } } } },
    } });
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            for (method, call) in methods.as_object_mut().into_iter().flatten() {
                if METHODS.contains(&method.as_str()) {
                    complete(path, method, call);
                }
            }
        }
    }
    add_components(&mut document["components"]);
    document.to_string()
}

/// Completes the description of one call.
fn complete(path: &str, method: &str, call: &mut Value) {
    let (users, public) = (path.starts_with(USERS), PUBLIC.contains(&path));
    let tag = call["tags"][0].as_str().unwrap_or("operation").to_owned();
    let name = call["operationId"].as_str().unwrap_or(method).to_owned();
    call["operationId"] = json!(format!("{tag}_{name}"));
    if public {
        call["security"] = json!([]);
    }
    let is_blob = path.contains("/blobs/");
    // A blob's name is its content's: it can be written as often as one likes.
    let keyed = users && !is_blob && !matches!(method, "get" | "head");
    if keyed {
        let key = json!({ "$ref": "#/components/parameters/IdempotencyKey" });
        match call["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(key),
            None => call["parameters"] = json!([key]),
        }
    }
    if let Some(body) = call.get_mut("requestBody") {
        show_bytes(body);
    }
    let Some(responses) = call["responses"].as_object_mut() else { return };
    let tagged = path.contains("/preferences") || (is_blob && matches!(method, "get" | "head"));
    for (status, response) in responses.iter_mut() {
        let done = status.starts_with('2');
        describe(status, response);
        let mut headers = Vec::new();
        if !public {
            headers.extend([("RateLimit-Policy", "RateLimitPolicy"), ("RateLimit", "RateLimit")]);
        }
        if done && tagged {
            headers.push(("ETag", "ETag"));
        }
        if done && keyed {
            headers.push(("Idempotency-Replayed", "IdempotencyReplayed"));
        }
        for (name, component) in headers {
            response["headers"][name] = json!({ "$ref": format!("#/components/headers/{component}") });
        }
    }
    add_failures(responses, users, public);
}

/// Gives a response words where it has none, and a problem its own type.
fn describe(status: &str, response: &mut Value) {
    if response["description"].as_str().is_none_or(str::is_empty) {
        let word =
            StatusCode::from_bytes(status.as_bytes()).ok().and_then(|status| status.canonical_reason());
        response["description"] = json!(word.unwrap_or("any other failure"));
    }
    show_bytes(response);
    let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { return };
    let is_problem = |body: &Value| body["schema"]["$ref"] == "#/components/schemas/Problem";
    if content.get(JSON).is_some_and(is_problem)
        && let Some(body) = content.remove(JSON)
    {
        content.insert(PROBLEM.to_owned(), body);
    }
}

/// Says of a body that it is bytes, where it is.
fn show_bytes(body: &mut Value) {
    let content = body.get_mut("content").and_then(Value::as_object_mut);
    for (_, shown) in content.into_iter().flatten().filter(|(kind, _)| BYTES.contains(&kind.as_str())) {
        shown["schema"] = json!({ "type": "string", "format": "binary" });
    }
}

fn add_failures(responses: &mut Map<String, Value>, users: bool, public: bool) {
    let kind = if users { "Problem" } else { "Refusal" };
    let mut add = |status: &str, name: &str| {
        let reference = json!({ "$ref": format!("#/components/responses/{name}{kind}") });
        responses.entry(status).or_insert(reference);
    };
    if !public {
        for (status, name) in [("401", "Unauthorized"), ("403", "Forbidden"), ("429", "TooMany")] {
            add(status, name);
        }
    }
    add("503", "Unavailable");
    add("default", "Other");
}

/// Adds what calls refer to.
fn add_components(components: &mut Value) {
    components["securitySchemes"]["bearer"] = json!({
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "From your backend or `syncline token`. A server with `--open` asks for none.",
    });
    components["parameters"]["IdempotencyKey"] = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "The same request under the same key is made once in 24 hours and answers the same.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
    });
    let text = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    components["headers"] = json!({
        "RateLimitPolicy": text(
            "The quota: q requests come back in w seconds. Left out where nothing is limited.",
            "\"writes\";q=3000;w=60"),
        "RateLimit": text(
            "r requests are left. In t seconds the whole quota is there again; after 429 the next request goes through.",
            "\"writes\";r=2999;t=1"),
        "RetryAfter": { "description": "Seconds to wait.", "schema": { "type": "integer", "minimum": 1 } },
        "ETag": text("The tag of what is shown, for `If-Match`.", "\"5f2c...\""),
        "IdempotencyReplayed": text("Present where the answer is that of an earlier request with this key.", "true"),
    });
    components["schemas"]["Refusal"] = json!({
        "type": "object", "required": ["error"],
        "properties": { "error": {
            "type": "object", "required": ["code", "message"],
            "properties": {
                "code": { "type": "string", "description": "The stable word of the kind." },
                "message": { "type": "string", "description": "What happened and what to do." },
            },
        } },
    });
    let failures = [
        ("Unauthorized", "no token, or none that is accepted here"),
        ("Forbidden", "the token does not allow this"),
        ("TooMany", "more requests than the rate limit allows: wait as long as `Retry-After` says"),
        ("Unavailable", "what time mends: offer the same again"),
        ("Other", "any other failure"),
    ];
    for (kind, media) in [("Problem", PROBLEM), ("Refusal", JSON)] {
        for (name, description) in failures {
            let schema = json!({ "$ref": format!("#/components/schemas/{kind}") });
            let mut response =
                json!({ "description": description, "content": { media: { "schema": schema } } });
            if matches!(name, "TooMany" | "Unavailable") {
                response["headers"]["Retry-After"] = json!({ "$ref": "#/components/headers/RetryAfter" });
            }
            if matches!(name, "TooMany" | "Unauthorized") {
                for header in ["RateLimitPolicy", "RateLimit"] {
                    let shown = if header == "RateLimit" { header } else { "RateLimit-Policy" };
                    response["headers"][shown] = json!({ "$ref": format!("#/components/headers/{header}") });
                }
            }
            components["responses"][format!("{name}{kind}")] = response;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn document() -> Value {
        let (_, mut described) = crate::api::router().split_for_parts();
        described.merge(crate::api::uploads().split_for_parts().1);
        serde_json::from_str(&render(described)).expect("JSON")
    }

    fn walk<'a>(value: &'a Value, see: &mut impl FnMut(&'a Value)) {
        see(value);
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
            Value::Object(fields) => fields.values().for_each(|field| walk(field, see)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut count = 0;
        walk(&document, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let place = reference.strip_prefix('#').expect("a place in this document");
                assert!(document.pointer(place).is_some(), "{reference}");
                count += 1;
            }
        });
        assert!(count > 100, "{count}");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    }

    #[test]
    fn calls_have_names_of_their_own_and_say_how_they_fail() {
        let document = document();
        let mut names = HashSet::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, call) in methods.as_object().expect("methods") {
                let name = call["operationId"].as_str().expect("a name");
                assert!(names.insert(name.to_owned()), "{method} {path}: {name} is taken");
                assert!(call["summary"].as_str().is_some_and(|s| !s.is_empty()), "{method} {path}");
                let listed: HashSet<&str> = call["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|parameter| parameter["in"] == "path")
                    .filter_map(|parameter| parameter["name"].as_str())
                    .collect();
                let places: HashSet<&str> =
                    path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
                assert_eq!(listed, places, "{method} {path}");
                let responses = call["responses"].as_object().expect("responses");
                assert!(
                    responses.contains_key("default") && responses.contains_key("503"),
                    "{method} {path}"
                );
                assert_eq!(call["security"] == json!([]), PUBLIC.contains(&path.as_str()), "{path}");
                for (status, response) in responses {
                    let whole = match response["$ref"].as_str() {
                        Some(reference) => document.pointer(&reference[1..]).expect("leads somewhere"),
                        None => response,
                    };
                    assert!(whole["description"].as_str().is_some_and(|d| !d.is_empty()), "{path} {status}");
                    let failed = !status.starts_with(['2', '3']);
                    if path.starts_with(USERS) && failed && method != "head" {
                        assert!(whole["content"][PROBLEM].is_object(), "{method} {path} {status}: {whole}");
                    }
                }
            }
        }
    }
}
