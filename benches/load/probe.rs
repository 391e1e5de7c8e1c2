//! A single device that goes step by step: opens a document, looks at what it gets, and times it.

use crate::device::{Web, dial, opening};
use crate::target::Address;
use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::time::{Duration, Instant};
use syncline_benches::wire::{self, Dialect, Heard};
use tokio_tungstenite::tungstenite::protocol::Message;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Probe {
    web: Web,
    dialect: Dialect,
    address: Bytes,
}

/// What a first sync brought.
pub(crate) struct Synced {
    /// The update in the server's SyncStep2.
    pub(crate) update: Bytes,
    /// From our SyncStep1 to the server's SyncStep2.
    pub(crate) step2_in: Duration,
    /// From our SyncStep1 until both SyncSteps were exchanged.
    pub(crate) synced_in: Duration,
    /// Bytes of sync messages, sent and received.
    pub(crate) sent_bytes: usize,
    pub(crate) received_bytes: usize,
}

impl Probe {
    pub(crate) async fn open(
        target: &Address,
        document: &str,
        dialect: Dialect,
        number: usize,
    ) -> anyhow::Result<Self> {
        let web = dial(target, document, dialect, number, 64 * 1024).await?;
        Ok(Self { web, dialect, address: wire::address(dialect, document) })
    }

    /// Syncs as a device that has `state_vector` and offers `offline` when it is asked.
    pub(crate) async fn sync(&mut self, state_vector: &[u8], offline: &[u8]) -> anyhow::Result<Synced> {
        let started = Instant::now();
        for frame in opening(self.dialect, &self.address, state_vector) {
            self.web.feed(Message::Binary(frame)).await?;
        }
        self.web.flush().await?;
        let mut update = None;
        let mut received_bytes = 0;
        let mut sent_bytes = 0;
        let mut asked = false;
        let mut step2_in = Duration::ZERO;
        while update.is_none() || !asked {
            let frame = self.next().await?;
            match wire::read_frame(self.dialect, &self.address, &frame) {
                Some(Heard::SyncStep1(_)) => {
                    let answer = wire::sync_frame(&self.address, 1, offline);
                    sent_bytes = answer.len();
                    self.web.send(Message::Binary(answer)).await?;
                    asked = true;
                }
                Some(Heard::SyncStep2(bytes)) => {
                    step2_in = started.elapsed();
                    received_bytes = frame.len();
                    update = Some(frame.slice_ref(bytes));
                }
                Some(Heard::Denied(reason)) => bail!("denied: {}", String::from_utf8_lossy(reason)),
                _ => {}
            }
        }
        let update = update.context("no SyncStep2")?;
        Ok(Synced { update, step2_in, synced_in: started.elapsed(), sent_bytes, received_bytes })
    }

    /// Sends sync messages that are already framed for plain devices.
    pub(crate) async fn send_plain(&mut self, frames: impl Iterator<Item = Bytes>) -> anyhow::Result<()> {
        for frame in frames {
            let frame =
                if self.address.is_empty() { frame } else { [&self.address[..], &frame].concat().into() };
            self.web.feed(Message::Binary(frame)).await?;
        }
        self.web.flush().await?;
        Ok(())
    }

    /// Waits for a message that `wanted` takes; keep-alives do not lengthen the wait.
    pub(crate) async fn await_message(
        &mut self,
        mut wanted: impl FnMut(&Heard<'_>) -> bool,
    ) -> anyhow::Result<Instant> {
        let search = async {
            loop {
                let frame = self.next().await?;
                if let Some(heard) = wire::read_frame(self.dialect, &self.address, &frame)
                    && wanted(&heard)
                {
                    return Ok(Instant::now());
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.context("what was awaited never came")?
    }

    /// The next update that comes within `patience`: some servers answer SyncStep1 before they have loaded.
    pub(crate) async fn late_update(&mut self, patience: Duration) -> anyhow::Result<Option<Bytes>> {
        let search = async {
            loop {
                let frame = self.next().await?;
                if let Some(Heard::Update(update) | Heard::SyncStep2(update)) =
                    wire::read_frame(self.dialect, &self.address, &frame)
                {
                    return Ok(frame.slice_ref(update));
                }
            }
        };
        match tokio::time::timeout(patience, search).await {
            Ok(found) => found.map(Some),
            Err(_silence) => Ok(None),
        }
    }

    async fn next(&mut self) -> anyhow::Result<Bytes> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.web.next())
                .await
                .context("the server went silent")?
                .context("the server ended the connection")??;
            match message {
                Message::Binary(frame) => return Ok(frame),
                Message::Close(reason) => bail!("closed by the server: {reason:?}"),
                _ => {}
            }
        }
    }
}

/// A runtime for probes, which go one after the other.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
