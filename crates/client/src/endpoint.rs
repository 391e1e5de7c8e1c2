//! Where the server is: the URL that a person wrote, as what a socket needs.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{ClientError, Config};

/// A server's address, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// TLS is spoken.
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The URL of the upgrade request.
    pub(crate) url: String,
}

impl Endpoint {
    pub(crate) fn parse(config: &Config) -> Result<Self, ClientError> {
        let wrong = |reason: &str| ClientError::Configuration(format!("{reason}: {}", config.url));
        let (scheme, rest) =
            config.url.split_once("://").ok_or_else(|| wrong("a url begins with https:// or wss://"))?;
        let secure = match scheme {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(wrong("a url begins with https:// or wss://")),
        };
        let authority = rest.trim_end_matches('/').trim_end_matches("/sync");
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(wrong("a url names a host, and no path, query or password"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("the port is no port"))?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let mut url =
            format!("{}://{authority}/sync?device={}", if secure { "wss" } else { "ws" }, config.device);
        for (name, value) in [("deviceName", &config.device_name), ("deviceKind", &config.device_kind)] {
            if let Some(value) = value {
                url.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        Ok(Self { secure, host: host.to_owned(), port, url })
    }
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => port.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, ClientError> {
        let mut config =
            Config::new(url.to_owned(), "ada".to_owned(), "phone".to_owned(), "folder".to_owned());
        config.device_name = Some("Ada's phone".to_owned());
        Endpoint::parse(&config)
    }

    #[test]
    fn a_url_says_where_and_whether_tls_is_spoken() {
        let at = parse("https://chat.example/").expect("a url");
        assert_eq!((at.secure, &*at.host, at.port), (true, "chat.example", 443));
        assert_eq!(at.url, "wss://chat.example/sync?device=phone&deviceName=Ada%27s%20phone");
        let at = parse("ws://[::1]:8787/sync").expect("a url");
        assert_eq!((at.secure, &*at.host, at.port), (false, "::1", 8787));
        for bad in ["chat.example", "ftp://x", "https://", "https://x/y", "https://a@b", "http://x:port"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
