//! Logs: `tracing` on stderr, text or JSON. Never a token, never a message's text.

use std::{borrow::Cow, io::IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Query parameters whose values are secrets, or words of a person.
const SECRET_PARAMETERS: [&str; 3] = ["token", "access_token", "q"];

/// Starts logging for the process.
///
/// # Errors
/// Says what is wrong with the filter, or that logging was started before.
pub fn start(filter: &str, json: bool) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        format!("--log {filter}: {error}; write a level or target=level, such as info,syncline_server=debug")
    })?;
    let colours = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(colours).with_writer(std::io::stderr)).try_init()
    };
    started.map_err(|error| error.to_string())
}

/// Returns a request target with the values of secret parameters taken out, for logs.
pub fn redact(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
    let is_secret = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        SECRET_PARAMETERS.iter().any(|secret| secret.eq_ignore_ascii_case(name) || name.contains('%'))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(target);
    }
    let redacted: Vec<Cow<'_, str>> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(pair) => Cow::Owned(format!("{name}=***")),
            _ => Cow::Borrowed(pair),
        })
        .collect();
    Cow::Owned(format!("{path}?{}", redacted.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_urls_do_not_reach_the_log() {
        assert_eq!(redact("/sync/doc?token=abc.def&device=phone"), "/sync/doc?token=***&device=phone");
        assert_eq!(redact("/sync?a=1&Access_Token=x"), "/sync?a=1&Access_Token=***");
        assert_eq!(redact("/sync?%74oken=x"), "/sync?%74oken=***", "an escaped name may hide one");
        assert_eq!(redact("/sync?device=phone&status=1"), "/sync?device=phone&status=1");
        assert_eq!(redact("/sync"), "/sync");
    }
}
