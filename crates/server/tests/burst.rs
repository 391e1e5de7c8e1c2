//! Many frames in one read: the connection handles each of them, wherever it pauses in between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use syncline_protocol::{
    frame::{Reply, encode},
    lib0::write_var_uint,
};
use syncline_server::{config::Config, serve::serve};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_tungstenite::{client_async, tungstenite::Message};

const UPDATES: u64 = 500;

/// The next character that client 7 types.
fn letter(clock: u64) -> Bytes {
    let mut update = vec![1, 1, 7];
    write_var_uint(&mut update, clock);
    match clock.checked_sub(1) {
        None => update.extend_from_slice(&[4, 1, 1, b't']),
        Some(before) => {
            update.extend_from_slice(&[0x84, 7]);
            write_var_uint(&mut update, before);
        }
    }
    update.extend_from_slice(&[1, b'x', 0]);
    encode(None, &Reply::Update(&update))
}

#[tokio::test]
async fn every_update_of_a_burst_is_saved_and_comes_back_in_order() {
    let data = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, data: data.path().to_owned(), open: true, ..Config::default() };
    let (told, tell) = oneshot::channel();
    tokio::spawn(serve(config, |address| told.send(address.to_owned()).unwrap()));
    let address = tell.await.unwrap().replace("http://", "");
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut socket, _) = client_async(format!("ws://{address}/sync/burst"), stream).await.unwrap();

    let begin = [encode(None, &Reply::SyncStep1(&[0])), encode(None, &Reply::SyncStep2(&[0, 0]))];
    let updates: Vec<Bytes> = (0..UPDATES).map(letter).collect();
    for frame in begin.iter().chain(&updates) {
        socket.feed(Message::Binary(frame.clone())).await.unwrap();
    }
    socket.flush().await.unwrap();
    let mut echoes = Vec::new();
    while echoes.len() < updates.len() {
        if let Message::Binary(frame) = socket.next().await.unwrap().unwrap()
            && frame.starts_with(&[0, 2])
        {
            echoes.push(frame);
        }
    }
    assert!(echoes == updates);
}
