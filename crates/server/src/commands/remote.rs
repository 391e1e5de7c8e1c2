//! A running server, as the commands ask it: its admin endpoints over HTTP.

use std::{fs::File, io::Write, sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use percent_encoding::utf8_percent_encode;
use reqwest::{Body, Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::{cli::Failure, commands::progress::REFUSED, serve::StopSignal};

/// How long a server may think about a question.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take for a file, or for all of a user's state, before it says a word.
const TRANSFER: Duration = Duration::from_secs(3_600);
/// Bytes of a file that are sent at a time.
const PIECE: usize = 64 << 10;
/// The longest line of an answer.
const LINE_BYTES: usize = 4 << 20;

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
        Self::with_patience(base, token, PATIENCE)
    }

    /// As [`Remote::new`], for calls that take long before they are answered.
    pub(super) fn patient(base: &str, token: Option<&str>) -> Result<Self, Failure> {
        Self::with_patience(base, token, TRANSFER)
    }

    fn with_patience(base: &str, token: Option<&str>, patience: Duration) -> Result<Self, Failure> {
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
            .read_timeout(patience)
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

    /// Sends nothing, to learn whether something would be taken: a server that refuses a large file while it is on its
    /// way cannot always say why.
    pub(super) fn offer(&self, path: &str) -> Result<(), Failure> {
        self.runtime.block_on(async { self.call(Method::POST, path, Body::default()).await.map(drop) })
    }

    /// Sends a file and passes the lines of the answer on. `sent` learns how much is on its way, of how much.
    pub(super) fn send(
        &self,
        path: &str,
        file: File,
        sent: impl Fn(u64, u64) + Send + Sync + 'static,
        line: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut stop = StopSignal::new().map_err(|error| Failure::Check(error.to_string()))?;
            tokio::select! {
                biased;
                () = stop.come() => Err(Failure::Check(
                    "interrupted: the server goes on with what it has got; import the same again to be sure".to_owned(),
                )),
                done = self.exchange(path, file, sent, line) => done,
            }
        })
    }

    async fn exchange(
        &self,
        path: &str,
        file: File,
        sent: impl Fn(u64, u64) + Send + Sync + 'static,
        line: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let of = file.metadata().map_or(0, |metadata| metadata.len());
        let pieces = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE);
        let mut total = 0;
        let body = Body::wrap_stream(pieces.inspect_ok(move |piece| {
            total += piece.len() as u64;
            sent(total, of);
        }));
        let mut response = self.send_request(Method::POST, path, body).await?;
        if REFUSED.contains(&response.status().as_u16()) {
            // The file is refused before a line was told of it: the same problem as a line.
            let problem = response.json::<serde_json::Value>().await.map_err(|error| self.failed(&error))?;
            return line(serde_json::json!({ "problem": problem }).to_string().as_bytes());
        }
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            text.extend_from_slice(&chunk);
            let Some(last) = text.iter().rposition(|byte| *byte == b'\n') else {
                if text.len() > LINE_BYTES {
                    return Err(Failure::Check(format!("{}: it answers in another way", self.base)));
                }
                continue;
            };
            text[..last].split(|byte| *byte == b'\n').try_for_each(&mut *line)?;
            text.drain(..=last);
        }
        Ok(())
    }

    async fn ask(&self, path: &str) -> Result<Response, Failure> {
        self.call(Method::GET, path, Body::default()).await
    }

    async fn call(&self, method: Method, path: &str, body: Body) -> Result<Response, Failure> {
        let response = self.send_request(method, path, body).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    async fn send_request(&self, method: Method, path: &str, body: Body) -> Result<Response, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(|error| self.failed(&error))
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        let reason = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|body| {
                let words = body.pointer("/error/message").or_else(|| body.pointer("/detail"));
                words?.as_str().map(str::to_owned)
            })
            .unwrap_or_else(|| format!("it answered {status}"));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Usage(format!("--token: {reason}")),
            _ => Failure::Check(format!("{}: {reason}", self.base)),
        }
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

/// Encodes text as one segment of a path, or one value of a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
