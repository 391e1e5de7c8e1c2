//! Writes messages to a socket as WebSocket frames (RFC 6455, 5.2), many in one write.
//!
//! The WebSocket library keeps the largest buffer that a connection ever needed, and copies every message into
//! it. Here a socket that is idle keeps nothing, and a large message, such as a whole document, is written from
//! the memory that all its readers share.

use std::{cell::Cell, collections::VecDeque, io};

use bytes::Bytes;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use crate::pace::Rate;

/// Messages above this many bytes are not copied; what is gathered is written when it reaches this.
const GATHERED: usize = 16 << 10;
/// A final frame of a binary message.
const BINARY: u8 = 0x82;

thread_local! {
    /// A buffer to gather in: sockets that write use it one after the other.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes every message and empties the queue. A reader may be slow, but not slower than `rate`.
///
/// # Errors
/// Those of the stream, `TimedOut` where too little moved; some messages may have been written in part.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    wire: &mut W,
    messages: &mut VecDeque<Bytes>,
    rate: Rate,
) -> io::Result<()> {
    let mut due = rate.begin();
    let mut gathered = SPARE.take();
    gathered.clear();
    for message in messages.drain(..) {
        put_header(message.len(), &mut gathered);
        let large = message.len() > GATHERED;
        if !large {
            gathered.extend_from_slice(&message);
        }
        if large || gathered.len() > GATHERED {
            write(wire, &gathered, rate, &mut due).await?;
            gathered.clear();
        }
        if large {
            write(wire, &message, rate, &mut due).await?;
        }
    }
    write(wire, &gathered, rate, &mut due).await?;
    SPARE.set(gathered);
    timeout_at(due, wire.flush()).await?
}

async fn write<W: AsyncWrite + Unpin>(
    wire: &mut W,
    mut bytes: &[u8],
    rate: Rate,
    due: &mut Instant,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout_at(*due, wire.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *due = rate.moved(*due, written);
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Puts the header of a server's frame: servers do not mask.
fn put_header(length: usize, out: &mut Vec<u8>) {
    out.push(BINARY);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(middle)) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use tokio::io::AsyncReadExt;
    use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

    use super::*;

    const RATE: Rate = Rate { patience: Duration::from_secs(30), bytes_per_s: 1_000 };

    #[tokio::test]
    async fn a_client_reads_messages_of_every_length_in_order() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, GATHERED, GATHERED + 1, 300_000, 3];
        let sent: Vec<Bytes> = lengths.iter().map(|length| Bytes::from(vec![7; *length])).collect();
        let (mut ours, theirs) = tokio::io::duplex(1 << 10);
        let mut queue: VecDeque<Bytes> = sent.iter().cloned().collect();
        let written = async {
            write_all(&mut ours, &mut queue, RATE).await.expect("the client reads");
            drop(ours);
        };
        let read = async {
            let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
            let data = client.filter_map(async |message| Some(message.ok()?.into_data()));
            data.collect::<Vec<_>>().await
        };
        let ((), received) = tokio::join!(written, read);
        assert_eq!(received, sent);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_takes_a_few_bytes_now_and_then_is_given_up() {
        let rate = Rate { patience: Duration::from_millis(200), bytes_per_s: 100_000 };
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 10);
        let mut queue = VecDeque::from([Bytes::from(vec![7; 300_000])]);
        let reader = tokio::spawn(async move {
            while theirs.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let writing = write_all(&mut ours, &mut queue, rate);
        let ended = tokio::time::timeout(Duration::from_secs(20), writing).await.expect("it ends");
        let error = ended.expect_err("200 bytes a second");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(ours);
        reader.await.expect("no panic");
    }
}
