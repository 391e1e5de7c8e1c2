//! A client of server-sent events: it reads what comes, event by event.

use anyhow::{Context, Result, bail};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{DEADLINE, Server, http};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// The id to go on behind; empty where it has none.
    pub id: String,
    /// Its data.
    pub data: Value,
}

/// A stream of events.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    text: String,
    /// Comments that came: signs of life.
    pub comments: usize,
}

impl Stream {
    /// Asks for a user's events, behind an id where one is given.
    ///
    /// # Errors
    /// The status of a refusal.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn open(
        server: &Server,
        user: &str,
        token: &str,
        after: Option<&str>,
    ) -> Result<Self, StatusCode> {
        let mut request = http().get(server.url(&format!("/v1/users/{user}/events"))).bearer_auth(token);
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("an answer");
        if !response.status().is_success() {
            return Err(response.status());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self { response, text: String::new(), comments: 0 })
    }

    /// Waits for the next event; none where the stream has ended.
    ///
    /// # Errors
    /// Nothing comes in time, or what comes is no event.
    pub async fn next(&mut self) -> Result<Option<Told>> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let told = parse(block)?;
                self.text = rest.to_owned();
                match told {
                    Some(told) => return Ok(Some(told)),
                    None => self.comments += 1,
                }
            }
            let chunk = timeout_at(deadline, self.response.chunk()).await.context("no event in time")?;
            match chunk {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk)?),
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }

    /// Waits for the next event, which has to come.
    ///
    /// # Panics
    /// It does not.
    pub async fn told(&mut self) -> Told {
        self.next().await.expect("an event").expect("the stream goes on")
    }

    /// Waits for so many events.
    ///
    /// # Panics
    /// They do not come.
    pub async fn many(&mut self, count: usize) -> Vec<Told> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.told().await);
        }
        all
    }
}

fn parse(block: &str) -> Result<Option<Told>> {
    let mut told = Told { name: String::new(), id: String::new(), data: Value::Null };
    for line in block.lines() {
        match line.split_once(':') {
            Some(("", _)) => return Ok(None),
            Some(("event", name)) => name.trim_start().clone_into(&mut told.name),
            Some(("id", id)) => id.trim_start().clone_into(&mut told.id),
            Some(("data", data)) => told.data = serde_json::from_str(data)?,
            Some(("retry", _)) => {}
            _ => bail!("not a line of an event: {line:?}"),
        }
    }
    Ok(Some(told))
}
