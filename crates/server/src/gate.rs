//! The gate before a socket's reader: it follows the headers of WebSocket frames as they pass, so that memory is
//! granted before a message is read, not counted afterwards.
//!
//! The reader behind it allocates what a header announces. The gate holds back the last byte of a header until
//! the frame is within the limit of its connection and, where it is large, until its share of the memory that
//! all large messages have together is taken. What has its share has to come on at the least rate ([`Rate`]), or gives it
//! back with its connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_util::sync::PollSemaphore;

use crate::pace::Rate;

/// The longest header: two bytes, eight of length, four of mask.
const HEADER: usize = 14;

/// Why the gate lets nothing more through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shut {
    /// A frame over the limit that holds before authentication.
    #[error("too much before a token: authenticate first")]
    PreAuth,
    /// No share of the memory for large messages came free in time.
    #[error("too many large messages at once: reconnect in a while")]
    Starved,
    /// A message that has its share comes too slowly.
    #[error("a large message came too slowly: reconnect")]
    Slow,
}

/// What the gate of every connection shares.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    /// The memory of large messages, in KiB.
    pub(crate) pool: Arc<Semaphore>,
    /// The part of it that those have who have not shown a token yet: they cannot take what the others need.
    pub(crate) strangers: Arc<Semaphore>,
    /// Frames above this many bytes are large.
    pub(crate) large: usize,
    /// Frames above this many bytes pass without a share: the reader refuses them before it allocates.
    pub(crate) most: usize,
    /// How long a share is waited for, and how fast what has one has to come.
    pub(crate) rate: Rate,
}

/// A wait for a share.
struct Wait {
    kib: u32,
    pool: PollSemaphore,
    until: Pin<Box<Sleep>>,
}

/// The time that a message with a share has.
struct Pace {
    due: Pin<Box<Sleep>>,
    /// Since when nobody has asked for more: this is not the sender's time.
    paused: Option<Instant>,
}

/// A byte stream that is read through the gate.
pub(crate) struct Gate<S> {
    inner: S,
    shares: Arc<Shares>,
    /// The longest frame that may pass; `None` once someone is let in: the reader's own limit holds then.
    limit: Option<usize>,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    have: usize,
    /// The share comes from the part for strangers.
    strange: bool,
    /// Bytes of the message's frames so far, while it is not whole.
    message: u64,
    /// Bytes of the frame's payload that are still to come.
    payload: u64,
    /// The frame whose header is complete may pass.
    granted: bool,
    wait: Option<Box<Wait>>,
    share: Option<OwnedSemaphorePermit>,
    /// While a message that has a share is not whole.
    pace: Option<Box<Pace>>,
    /// Read, and not let through yet.
    held: Vec<u8>,
    /// Bytes let through, ever.
    passed: u64,
}

impl<S> Gate<S> {
    /// Puts a gate before a stream at a frame's boundary. `limit` holds until [`Gate::lift`].
    pub(crate) fn new(inner: S, shares: Arc<Shares>, limit: usize) -> Self {
        Self {
            inner,
            shares,
            limit: Some(limit),
            header: [0; HEADER],
            have: 0,
            message: 0,
            strange: false,
            payload: 0,
            granted: false,
            wait: None,
            share: None,
            pace: None,
            held: Vec::new(),
            passed: 0,
        }
    }

    /// Puts bytes that were read before into the gate.
    pub(crate) fn with_read(mut self, read: &[u8]) -> Self {
        self.held = read.to_vec();
        self
    }

    /// Lifts the limit that holds before authentication.
    pub(crate) fn lift(&mut self) {
        self.limit = None;
    }

    /// Hands over what was taken for the message that has been read.
    pub(crate) fn take_share(&mut self) -> Option<OwnedSemaphorePermit> {
        self.share.take()
    }

    /// Returns how many bytes have passed: a long message on a slow network shows no other sign of life.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    pub(crate) fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Follows fresh bytes; returns how many of them may pass. Fewer than all where a share has to be waited for.
    fn follow(&mut self, fresh: &[u8]) -> Result<usize, Shut> {
        let mut at = 0;
        while at < fresh.len() {
            if self.payload > 0 {
                let rest = usize::try_from(self.payload).unwrap_or(usize::MAX);
                let skipped = rest.min(fresh.len() - at);
                self.payload -= skipped as u64;
                at += skipped;
                self.rest_if_whole();
                continue;
            }
            self.header[self.have] = fresh[at];
            let Some(length) = announced(&self.header[..=self.have]) else {
                self.have += 1;
                at += 1;
                continue;
            };
            let (last, control) = (self.header[0] & 0x80 != 0, self.header[0] & 0x08 != 0);
            // The parts of a message are gathered by the reader: together they are as large as one frame.
            let message = if control { length } else { self.message.saturating_add(length) };
            if self.limit.is_some_and(|limit| message > limit as u64) {
                // What came before it passes first.
                return if at > 0 { Ok(at) } else { Err(Shut::PreAuth) };
            }
            let large = message > self.shares.large as u64 && message <= self.shares.most as u64;
            if large && !std::mem::take(&mut self.granted) {
                self.wait = Some(self.wait_for(message));
                return Ok(at);
            }
            (self.have, self.payload) = (0, length);
            if !control {
                self.message = if last { 0 } else { message };
            }
            at += 1;
            self.rest_if_whole();
        }
        Ok(at)
    }

    /// Begins to wait for what a message of that length so far needs beyond what it has.
    fn wait_for(&mut self, message: u64) -> Box<Wait> {
        let has = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if has == 0 {
            self.strange = self.limit.is_some();
        }
        // A message keeps to the pool that it began with.
        let pool = if self.strange { &self.shares.strangers } else { &self.shares.pool };
        Box::new(Wait {
            kib: u32::try_from(message >> 10)
                .unwrap_or(u32::MAX)
                .saturating_sub(u32::try_from(has).unwrap_or(0)),
            pool: PollSemaphore::new(pool.clone()),
            until: Box::pin(tokio::time::sleep_until(self.shares.rate.begin())),
        })
    }

    fn poll_share(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Shut>> {
        let Some(wait) = &mut self.wait else { return Poll::Ready(Ok(())) };
        if let Poll::Ready(permit) = wait.pool.poll_acquire_many(cx, wait.kib) {
            self.wait = None;
            self.granted = true;
            match (&mut self.share, permit) {
                // Parts of one message.
                (Some(share), Some(permit)) => share.merge(permit),
                (share, permit) => *share = permit,
            }
            let due = Box::pin(tokio::time::sleep_until(self.shares.rate.begin()));
            self.pace = Some(Box::new(Pace { due, paused: None }));
            return Poll::Ready(Ok(()));
        }
        ready!(wait.until.as_mut().poll(cx));
        Poll::Ready(Err(Shut::Starved))
    }
}

impl<S> Gate<S> {
    /// More is asked for: the sender's time goes on.
    fn resume(&mut self) {
        if let Some(pace) = &mut self.pace
            && let Some(paused) = pace.paused.take()
        {
            let due = pace.due.deadline() + paused.elapsed();
            pace.due.as_mut().reset(due);
        }
    }

    /// Stops the sender's time once its message is whole.
    fn rest_if_whole(&mut self) {
        if self.message == 0 && self.payload == 0 {
            self.pace = None;
        }
    }

    /// Takes note of bytes that came.
    fn advance(&mut self, bytes: usize) {
        if let Some(pace) = &mut self.pace {
            let due = self.shares.rate.moved(pace.due.deadline(), bytes);
            pace.due.as_mut().reset(due);
            pace.paused = Some(Instant::now());
        }
    }

    /// Waits for the end of the sender's time.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match &mut self.pace {
            Some(pace) => pace.due.as_mut().poll(cx).map(|()| io::Error::other(Shut::Slow)),
            None => Poll::Pending,
        }
    }
}

/// Returns the payload's length that a header announces, once it is complete.
fn announced(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if header.len() < 2 + extended + mask {
        return None;
    }
    let length = header[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some(if extended == 0 { u64::from(second & 0x7f) } else { length })
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            ready!(gate.poll_share(cx)).map_err(io::Error::other)?;
            gate.resume();
            let start = buf.filled().len();
            if gate.held.is_empty() {
                match Pin::new(&mut gate.inner).poll_read(cx, buf) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => return gate.poll_pace(cx).map(Err),
                }
            } else {
                let count = gate.held.len().min(buf.remaining());
                buf.put_slice(&gate.held[..count]);
                gate.held.drain(..count);
                if gate.held.is_empty() {
                    gate.held = Vec::new();
                }
            }
            let fresh = &buf.filled()[start..];
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let passed = gate.follow(fresh).map_err(io::Error::other)?;
            gate.passed += passed as u64;
            gate.advance(passed);
            if passed < fresh.len() {
                gate.held.splice(..0, fresh[passed..].iter().copied());
                buf.set_filled(start + passed);
            }
            // Nothing at all would read as the end of the stream.
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shares(pool: &Arc<Semaphore>) -> Arc<Shares> {
        patient(pool, Duration::from_secs(60))
    }

    fn patient(pool: &Arc<Semaphore>, patience: Duration) -> Arc<Shares> {
        Arc::new(Shares {
            pool: pool.clone(),
            strangers: pool.clone(),
            large: 2 << 10,
            most: 8 << 10,
            rate: Rate { patience, bytes_per_s: 100 },
        })
    }

    /// A client's frame: masked, of that length.
    fn frame(length: u16) -> Vec<u8> {
        let mut frame = vec![0x82, 0x80 | 126];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[1, 2, 3, 4]);
        frame.resize(frame.len() + usize::from(length), 9);
        frame
    }

    #[tokio::test]
    async fn what_comes_in_goes_out_however_it_is_cut() {
        let sent: Vec<u8> = [0, 1, 3_000, 125, 2_048, 2_049, 8_000].into_iter().flat_map(frame).collect();
        for step in [1, 2, 3, 7, 1_000] {
            let (client, server) = tokio::io::duplex(step);
            let pool = Arc::new(Semaphore::new(64));
            let mut gate = Gate::new(server, shares(&pool), 10_000).with_read(&sent[..5]);
            let (mut client, rest) = (client, sent[5..].to_vec());
            let writing = tokio::spawn(async move { client.write_all(&rest).await });
            let mut read = Vec::new();
            gate.read_to_end(&mut read).await.expect("nothing is refused");
            writing.await.expect("no panic").expect("the gate reads");
            assert!(read == sent, "steps of {step}");
            assert_eq!(gate.passed(), sent.len() as u64);
            let share = gate.take_share().expect("large frames take shares");
            assert_eq!(share.num_permits(), 7, "of the largest frame: none was handed over between");
        }
    }

    #[tokio::test]
    async fn the_parts_of_a_message_count_together() {
        let part = |last: bool, first: bool| {
            let mut part = frame(900);
            part[0] = u8::from(last) << 7 | if first { 2 } else { 0 };
            part
        };
        let parts = [part(false, true), part(false, false), part(false, false), part(true, false)].concat();
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let pool = Arc::new(Semaphore::new(64));
        let mut gate = Gate::new(server, shares(&pool), 10_000);
        client.write_all(&parts).await.expect("room");
        gate.read_exact(&mut vec![0; parts.len()]).await.expect("it passes");
        assert_eq!(gate.take_share().map(|share| share.num_permits()), Some(3), "of 3,600 bytes");
        let mut gate = {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            client.write_all(&parts).await.expect("room");
            Gate::new(server, shares(&pool), 2_000)
        };
        let error =
            gate.read_exact(&mut vec![0; parts.len()]).await.expect_err("the third is over the limit");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Shut::PreAuth));
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_before_authentication_does_not_pass() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut gate = Gate::new(server, shares(&Arc::new(Semaphore::new(64))), 1_000);
        client.write_all(&frame(1_000)).await.expect("room");
        client.write_all(&frame(1_001)).await.expect("room");
        let mut read = vec![0; frame(1_000).len()];
        gate.read_exact(&mut read).await.expect("the first one is within the limit");
        let error = gate.read_exact(&mut read).await.expect_err("the second one is not");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Shut::PreAuth));
    }

    #[tokio::test]
    async fn a_large_frame_waits_for_its_share() {
        let pool = Arc::new(Semaphore::new(4));
        let taken = pool.clone().acquire_many_owned(2).await.expect("open");
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut gate = Gate::new(server, shares(&pool), 10_000);
        client.write_all(&frame(3_000)).await.expect("room");
        client.write_all(&frame(4_000)).await.expect("room");
        let mut read = vec![0; frame(3_000).len()];
        gate.read_exact(&mut read).await.expect("two KiB are free");
        let first = gate.take_share();
        let mut read = vec![0; frame(4_000).len()];
        let mut second = std::pin::pin!(gate.read_exact(&mut read));
        assert!(futures_util::poll!(second.as_mut()).is_pending(), "three KiB are not");
        drop((first, taken));
        second.await.expect("now they are");
    }

    #[tokio::test]
    async fn a_share_is_not_waited_for_for_ever() {
        let pool = Arc::new(Semaphore::new(1));
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut gate = Gate::new(server, patient(&pool, Duration::from_millis(20)), 10_000);
        client.write_all(&frame(3_000)).await.expect("room");
        let error = gate.read_exact(&mut vec![0; 3_000]).await.expect_err("nobody gives one back");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Shut::Starved));
    }

    #[tokio::test]
    async fn a_message_that_stops_coming_does_not_hold_its_share() {
        let pool = Arc::new(Semaphore::new(4));
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut gate = Gate::new(server, patient(&pool, Duration::from_millis(20)), 10_000);
        // A byte buys ten milliseconds: not enough for ever.
        client.write_all(&frame(4_000)[..20]).await.expect("room");
        let mut read = vec![0; 4_000];
        let ended = tokio::time::timeout(LONG, gate.read_exact(&mut read)).await.expect("it ends");
        let error = ended.expect_err("nothing more comes");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Shut::Slow));
        drop(gate);
        assert_eq!(pool.available_permits(), 4);
    }

    #[tokio::test]
    async fn a_message_that_trickles_in_does_not_hold_its_share() {
        let pool = Arc::new(Semaphore::new(4));
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut gate = Gate::new(server, patient(&pool, Duration::from_millis(300)), 10_000);
        let trickle = tokio::spawn(async move {
            // Each byte takes three times as long as it buys.
            for byte in frame(4_000) {
                if client.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
        let mut read = vec![0; 4_000];
        let ended = tokio::time::timeout(LONG, gate.read_exact(&mut read)).await.expect("it ends");
        let error = ended.expect_err("33 bytes a second are too few");
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&Shut::Slow));
        drop(gate);
        trickle.await.expect("no panic");
    }

    #[tokio::test]
    async fn time_in_which_nobody_reads_is_not_the_senders() {
        let pool = Arc::new(Semaphore::new(4));
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut gate = Gate::new(server, patient(&pool, Duration::from_secs(1)), 10_000);
        let sent = frame(4_000);
        client.write_all(&sent[..2_000]).await.expect("room");
        gate.read_exact(&mut vec![0; 2_000]).await.expect("what has come");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let mut rest = vec![0; sent.len() - 2_000];
        let mut reading = std::pin::pin!(gate.read_exact(&mut rest));
        assert!(futures_util::poll!(reading.as_mut()).is_pending(), "its time is not over");
        client.write_all(&sent[2_000..]).await.expect("room");
        reading.await.expect("within its time");
        assert!(gate.pace.is_none(), "no time runs between messages");
    }

    #[tokio::test]
    async fn a_frame_that_the_reader_refuses_takes_no_share() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let pool = Arc::new(Semaphore::new(4));
        let mut gate = Gate::new(server, shares(&pool), 10_000);
        gate.lift();
        client.write_all(&frame(9_000)).await.expect("room");
        let mut read = vec![0; frame(9_000).len()];
        gate.read_exact(&mut read).await.expect("it passes");
        assert_eq!(pool.available_permits(), 4);
    }
}
