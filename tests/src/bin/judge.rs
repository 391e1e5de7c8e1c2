//! The document as the server keeps it, for tests in other languages: JSON lines in, JSON lines out.
//!
//! `tests/interop/traffic.test.mjs` feeds it what real Yjs writes. It treats gaps as a session does: an update with one
//! is parked whole until a SyncStep2 has come, a SyncStep2 with one is cut, its rest kept and tried again whenever
//! something was applied. A refusal, which honest traffic never earns, is an answer with `error` in it, and the last
//! one for its document.
//!
//! | in, besides `doc` | out |
//! |---|---|
//! | `update` | nothing |
//! | `step2` | nothing |
//! | `vector` (null) | `{doc, vector}` |
//! | `diff`: a state vector | `{doc, diff}` |
//! | `reload` (null): from disk | nothing |
//! | `end` (null): everything was sent | `{doc, vector, state, waiting}` |

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, Write},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use syncline_document::{Absorbed, Replica};
use syncline_protocol::{limits::Limits, state_vector};

#[derive(Debug, Deserialize)]
struct Line {
    doc: u64,
    #[serde(flatten)]
    request: Request,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Update(String),
    Step2(String),
    Vector(()),
    Diff(String),
    Reload(()),
    End(()),
}

/// A document and what waits for it.
#[derive(Debug, Default)]
struct Document {
    replica: Replica,
    /// What was journalled.
    journal: Vec<Vec<u8>>,
    parked: Vec<Vec<u8>>,
    pending: Vec<Vec<u8>>,
    limits: Limits,
}

impl Document {
    /// Takes an Update. With a gap it is parked as it is.
    fn update(&mut self, update: &[u8]) -> Result<()> {
        if self.take(update, false)?.is_some() {
            self.parked.push(update.to_vec());
        }
        Ok(())
    }

    /// Takes a SyncStep2, then what it releases.
    fn step2(&mut self, update: &[u8]) -> Result<()> {
        let rest = self.take(update, true)?;
        self.pending.extend(rest);
        for update in std::mem::take(&mut self.parked) {
            let rest = self.take(&update, true)?;
            self.pending.extend(rest);
        }
        self.retry()
    }

    /// Tries what is pending until nothing moves.
    fn retry(&mut self) -> Result<()> {
        loop {
            let before = self.journal.len();
            for update in std::mem::take(&mut self.pending) {
                let rest = self.take(&update, true)?;
                self.pending.extend(rest);
            }
            if self.journal.len() == before {
                return Ok(());
            }
        }
    }

    /// Takes what can be taken and returns what waits.
    fn take(&mut self, update: &[u8], cut: bool) -> Result<Option<Vec<u8>>> {
        match self.replica.absorb(update, &self.limits) {
            Absorbed::Applied(applied) => {
                if applied.novel {
                    self.journal.push(update.to_vec());
                }
                Ok(None)
            }
            Absorbed::Gap { .. } if !cut => Ok(Some(update.to_vec())),
            Absorbed::Gap { closed, rest } => {
                if let Some(closed) = closed {
                    ensure!(self.take(&closed, false)?.is_none(), "the closed part has a gap");
                }
                Ok(Some(rest.to_vec()))
            }
            Absorbed::Refused(refusal) => bail!("refused: {} ({refusal})", refusal.code()),
            Absorbed::Broken(broken) => bail!("broken: {broken}"),
        }
    }

    /// Goes to disk and comes back: from a checkpoint, which must say the same as the journal.
    fn reload(&mut self) -> Result<()> {
        let state = self.replica.encode_state()?;
        let replayed = Replica::load(self.journal.iter().map(Vec::as_slice))?;
        let folded = Replica::load([&state[..]])?;
        for other in [&replayed, &folded] {
            ensure!(
                vector(other)? == vector(&self.replica)?,
                "a reload has another state vector than the document"
            );
        }
        self.replica = folded;
        self.journal = vec![state.to_vec()];
        Ok(())
    }

    fn answer(&mut self, doc: u64, request: &Request) -> Result<Option<Value>> {
        match request {
            Request::Update(update) => self.update(&decode(update)?)?,
            Request::Step2(update) => self.step2(&decode(update)?)?,
            Request::Reload(_) => self.reload()?,
            Request::Vector(_) => {
                let vector = BASE64_STANDARD.encode(self.replica.state_vector());
                return Ok(Some(json!({ "doc": doc, "vector": vector })));
            }
            Request::Diff(theirs) => {
                let theirs = decode(theirs)?;
                state_vector::parse(&theirs, &self.limits).context("a state vector")?;
                let diff = BASE64_STANDARD.encode(self.replica.diff(&theirs)?);
                return Ok(Some(json!({ "doc": doc, "diff": diff })));
            }
            Request::End(_) => {
                self.step2(&[0, 0])?;
                self.reload()?;
                return Ok(Some(json!({
                    "doc": doc,
                    "vector": BASE64_STANDARD.encode(self.replica.state_vector()),
                    "state": BASE64_STANDARD.encode(self.replica.encode_state()?),
                    "waiting": self.parked.len() + self.pending.len(),
                })));
            }
        }
        Ok(None)
    }
}

fn decode(text: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(text).context("base64")
}

fn vector(replica: &Replica) -> Result<state_vector::StateVector> {
    Ok(state_vector::parse(&replica.state_vector(), &Limits::stored())?)
}

fn serve() -> Result<()> {
    let mut documents: HashMap<u64, Document> = HashMap::new();
    let mut failed = HashSet::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line: Line = serde_json::from_str(&line?).context("one request a line")?;
        if failed.contains(&line.doc) {
            continue;
        }
        let ends = matches!(line.request, Request::End(_));
        let answer = documents.entry(line.doc).or_default().answer(line.doc, &line.request);
        if ends || answer.is_err() {
            documents.remove(&line.doc);
        }
        let answer = answer.unwrap_or_else(|error| {
            failed.insert(line.doc);
            Some(json!({ "doc": line.doc, "error": format!("{error:#}"), "request": format!("{:?}", line.request) }))
        });
        if let Some(answer) = answer {
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    // Nested types are walked with recursion: the stack is that of the server's threads.
    let worker = std::thread::Builder::new().stack_size(16 << 20).spawn(serve)?;
    worker.join().map_err(|_| anyhow::anyhow!("panicked"))?
}
