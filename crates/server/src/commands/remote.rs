//! A running server, as the commands ask it: its admin endpoints over HTTP.

use std::{io::Write, sync::Arc, time::Duration};

use reqwest::{Client, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::cli::Failure;

/// A server and a token for it.
pub(super) struct Remote {
    client: Client,
    runtime: tokio::runtime::Runtime,
    base: String,
    token: Option<String>,
}

impl Remote {
    /// Prepares to ask a server; nothing is sent yet.
    pub(super) fn new(base: &str, token: Option<&str>) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("--server {base}: {error}"));
        let scheme = base.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(wrong(&"write a URL such as http://127.0.0.1:8787"));
        }
        // Private certificate authorities: SSL_CERT_FILE is honoured.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been first: it installed the same one.
            let _ = rustls::crypto::CryptoProvider::install_default(Arc::unwrap_or_clone(provider));
        }
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| wrong(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Check(format!("no runtime: {error}")))?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { client, runtime, base, token: token.map(str::to_owned) })
    }

    /// Asks for JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.runtime.block_on(async {
            let response = self.ask(path).await?;
            response.json().await.map_err(|error| self.failed(&error))
        })
    }

    /// Asks for bytes and writes them; returns how many there were.
    pub(super) fn copy(&self, path: &str, to: &mut dyn Write) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut response = self.ask(path).await?;
            let mut total = 0;
            while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
                to.write_all(&chunk).map_err(|error| Failure::Check(format!("cannot write: {error}")))?;
                total += chunk.len() as u64;
            }
            Ok(total)
        })
    }

    async fn ask(&self, path: &str) -> Result<Response, Failure> {
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let reason = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|body| body.pointer("/error/message")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("it answered {status}"));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Usage(format!("--token: {reason}")),
            _ => Failure::Check(format!("{}: {reason}", self.base)),
        })
    }

    fn failed(&self, error: &reqwest::Error) -> Failure {
        // The innermost cause says it in words; the URL may bear no secret, but is known anyway.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Failure::Check(format!("cannot talk to {}: {cause}", self.base))
    }
}
