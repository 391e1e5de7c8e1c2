//! Writes messages to a socket as WebSocket frames (RFC 6455, 5.2), many in one write.
//!
//! The WebSocket library keeps the largest buffer that a connection ever needed, and copies every message into
//! it. Here a socket that is idle keeps nothing, and a large message, such as a whole document, is written from
//! the memory that all its readers share.

use std::{cell::Cell, collections::VecDeque, io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Messages above this many bytes are not copied; what is gathered is written when it reaches this.
const GATHERED: usize = 16 << 10;
/// A final frame of a binary message.
const BINARY: u8 = 0x82;

thread_local! {
    /// A buffer to gather in: sockets that write use it one after the other.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Writes every message and empties the queue. A reader may be slow: each part has `limit` for itself.
///
/// # Errors
/// Those of the stream, `TimedOut` where nothing moved for that long; some messages may have been written in part.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    wire: &mut W,
    messages: &mut VecDeque<Bytes>,
    limit: Duration,
) -> io::Result<()> {
    let mut gathered = SPARE.take();
    gathered.clear();
    for message in messages.drain(..) {
        put_header(message.len(), &mut gathered);
        let large = message.len() > GATHERED;
        if !large {
            gathered.extend_from_slice(&message);
        }
        if large || gathered.len() > GATHERED {
            write(wire, &gathered, limit).await?;
            gathered.clear();
        }
        if large {
            write(wire, &message, limit).await?;
        }
    }
    write(wire, &gathered, limit).await?;
    SPARE.set(gathered);
    timeout(limit, wire.flush()).await?
}

async fn write<W: AsyncWrite + Unpin>(wire: &mut W, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(limit, wire.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
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
    use futures_util::StreamExt;
    use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

    use super::*;

    #[tokio::test]
    async fn a_client_reads_messages_of_every_length_in_order() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, GATHERED, GATHERED + 1, 300_000, 3];
        let sent: Vec<Bytes> = lengths.iter().map(|length| Bytes::from(vec![7; *length])).collect();
        let (mut ours, theirs) = tokio::io::duplex(1 << 10);
        let mut queue: VecDeque<Bytes> = sent.iter().cloned().collect();
        let written = async {
            write_all(&mut ours, &mut queue, Duration::from_secs(60)).await.expect("the client reads");
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
}
