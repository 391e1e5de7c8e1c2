//! A device that reads too slowly costs bounded memory and is told to sync again; nobody waits for it.

use syncline_protocol::frame::{Dialect, Reply};
use syncline_tests::{Client, Event, Witness, limited};
use tokio::net::TcpSocket;

/// More than the queue and what the kernel keeps for two sockets, less than what a client takes as one frame.
const BYTES: usize = 14 << 20;
const WORD: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_not_read_is_closed_with_resync() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited::start(&folder, &["--open"], &[("outbound_bytes", 256 << 10)]).expect("ready");
    let tcp = TcpSocket::new_v4().expect("a socket");
    tcp.set_recv_buffer_size(16 << 10).expect("a small buffer");
    let stream = tcp.connect(server.address()).await.expect("connected");
    let upgraded = Client::over(stream, server.address(), "/sync/doc", &[]).await.expect("an answer");
    let mut reader = upgraded.expect("upgraded");
    reader.send(&Reply::SyncStep1(&[0])).await.expect("sent");
    reader.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.expect("synced");
    reader.send(&Reply::SyncStep2(&[0, 0])).await.expect("sent");

    let mut writer = Witness::fresh(server.address(), Dialect::Hocuspocus, "doc", 1).await.expect("synced");
    let word = "x".repeat(WORD);
    for _ in 0..BYTES / WORD {
        writer.write(&word).await.expect("sent");
        writer.until_saved().await.expect("nobody waits for the reader");
    }
    // What the kernel took is still there to read; what follows is the reason, and not a gap.
    let (code, reason) = reader.closed().await.expect("closed");
    assert_eq!(code, 1013, "{reason}");
    assert!(reason.starts_with("resync"), "{reason}");
    // Its client comes back and has it all.
    let mut again = Witness::fresh(server.address(), Dialect::Plain, "doc", 2).await.expect("synced");
    again.until_same(&writer).await.expect("the same");
}
