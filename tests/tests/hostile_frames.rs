//! Hostile frames, from the document's own devices and from others: each costs its own connection, with one close
//! code, and nothing else. A good connection of the same document and one of another go on; the document stays
//! whole; the server's memory does not grow.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use syncline_protocol::{
    frame::{Dialect, Reply},
    lib0::{write_buf, write_str},
};
use syncline_tests::{
    Client, DEADLINE, Event, Server, Witness, limited, token,
    witness::{self, DIALECTS, awareness},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

const DOCUMENT: &str = "ada/notes";
/// Claims 2^28 of whatever is counted.
const CLAIM: &[u8] = &[0x80, 0x80, 0x80, 0x80, 0x01];
const GROWTH: u64 = 50 << 20;

/// A server with two users, their documents and the good connections that must not notice anything.
struct World {
    server: Server,
    folder: TempDir,
    ada: String,
    eve: String,
    /// Good connections: two on the document under attack, one on another.
    good: [Witness; 3],
    words: usize,
    resident: u64,
}

impl World {
    async fn start(limits: &[(&str, u64)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = limited::start(&folder, &[], limits)?;
        let ada = token(server.data(), "ada", &["--device", "laptop"]);
        let eve = token(server.data(), "eve", &["--device", "lair"]);
        let bob = token(server.data(), "bob", &[]);
        let mut good = [
            Witness::new(Dialect::Plain, DOCUMENT, 1).with_token(&ada),
            Witness::new(Dialect::Hocuspocus, DOCUMENT, 2).with_token(&ada),
            Witness::new(Dialect::Ysweet, "bob/other", 3).with_token(&bob),
        ];
        for device in &mut good {
            device.sync(server.address()).await?;
        }
        let mut world = Self { server, folder, ada, eve, good, words: 0, resident: 0 };
        world.goes_on("the beginning").await?;
        world.resident = world.server.resident_bytes()?;
        Ok(world)
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Every good connection edits, is told that it is saved, and sees what the others do.
    async fn goes_on(&mut self, after: &str) -> Result<()> {
        self.words += 1;
        let word = format!("{} ", self.words);
        for device in &mut self.good {
            let gone_on = async {
                device.write(&word).await?;
                device.until_saved().await
            };
            gone_on.await.with_context(|| format!("after {after}"))?;
        }
        let [first, second, _] = &mut self.good;
        first.until("the other's word", |device| device.text().matches(&word).count() == 2).await?;
        second.until_same(first).await.with_context(|| format!("after {after}"))
    }

    /// The document is what it was, also after a restart, and memory has not grown.
    async fn ends_whole(mut self) -> Result<()> {
        self.goes_on("everything").await?;
        let resident = self.server.resident_bytes()?;
        let grown = resident.saturating_sub(self.resident);
        eprintln!("resident: {} KiB at first, {} KiB at last", self.resident >> 10, resident >> 10);
        ensure!(grown < GROWTH, "the server has grown by {} MiB", grown >> 20);
        let fresh = || Witness::new(Dialect::Plain, DOCUMENT, 9).with_token(&self.ada);
        let mut before = fresh();
        before.sync(self.server.address()).await?;
        ensure!(before.content() == self.good[0].content(), "a fresh device sees something else");
        ensure!(self.server.terminate()?.success(), "not a clean end");
        let mut server = self.server.restart()?;
        let mut after = fresh();
        after.sync(server.address()).await?;
        ensure!(after.content() == before.content(), "the document is another one after a restart");
        ensure!(server.terminate()?.success(), "not a clean end");
        drop(self.folder);
        Ok(())
    }
}

/// Waits for the one close code, and checks that nothing follows.
async fn closed_with(client: &mut Client, code: u16, what: &str) -> Result<()> {
    let (seen, reason) = client.closed().await.with_context(|| what.to_owned())?;
    ensure!(seen == code, "{what}: closed with {seen} {reason:?} instead of {code}");
    ensure!(!reason.is_empty(), "{what}: closed without words");
    let after = client.next().await?;
    ensure!(matches!(after, Event::Closed(1006, _)), "{what}: {after:?} after the close");
    Ok(())
}

fn frame(dialect: Dialect, document: &str, rest: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    if dialect == Dialect::Hocuspocus {
        write_str(&mut frame, document);
    }
    frame.extend_from_slice(rest);
    frame.into()
}

fn with_buf(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = head.to_vec();
    write_buf(&mut frame, payload);
    frame
}

/// What follows the address in frames that close the connection with 4400, whoever sends them.
fn malformed(dialect: Dialect) -> Vec<(&'static str, Vec<u8>)> {
    let mut cases = vec![
        ("a varint without end", vec![0xff; 12]),
        ("a varint that is too large", vec![0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("a varint that is not minimal", vec![0x80, 0x00, 0x01, 0x00]),
        ("a length that is not minimal", vec![0, 0, 0x81, 0x00, 0x00]),
        ("no sync message", vec![0]),
        ("no length", vec![0, 0]),
        ("fewer bytes than claimed", vec![0, 2, 9, 1, 2]),
        ("a length of 2^28", [&[0, 2], CLAIM].concat()),
        ("bytes after a SyncStep1", vec![0, 0, 1, 0, 0]),
        ("1,000 SyncStep1 in one frame", [0, 0, 1, 0].repeat(1_000)),
        ("an unknown sync message", vec![0, 3, 1, 0]),
        ("an unknown type", vec![55, 1, 0]),
        ("the type of a server's ping", vec![9]),
    ];
    let more: &[(&'static str, &[u8])] = match dialect {
        Dialect::Hocuspocus => &[
            ("SyncReply, which servers send to servers", &[4, 0, 1, 0]),
            ("BroadcastStateless, which servers send to servers", &[6, 1, b'x']),
            ("SyncStatus, which servers send", &[8, 1]),
            ("a denial, which servers send", &[2, 1, 1, b'x']),
            ("Authenticated, which servers send", &[2, 2, 8, b'r', b'e', b'a', b'd', b'o', b'n', b'l', b'y']),
            ("a token that is not UTF-8", &[2, 0, 2, 0xff, 0xfe]),
            ("CLOSE with more", &[7, 0]),
        ],
        Dialect::Plain | Dialect::Ysweet => &[
            ("Auth, which servers send", &[2, 0, 1, b'x']),
            ("a 102 with more", &[102, 2, 1, 1]),
            ("a 102 without a version", &[102, 0]),
            ("a text that is not UTF-8", &[110, 2, 0xff, 0xfe]),
        ],
    };
    cases.extend(more.iter().map(|(what, bytes)| (*what, bytes.to_vec())));
    cases
}

/// As [`malformed`], where the fault is in the payload: whoever has no access is not looked at that far.
fn malformed_payloads() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a state vector that claims 2^28 clients", with_buf(&[0, 0], CLAIM)),
        ("an empty state vector message", vec![0, 0, 0]),
        ("awareness that claims 2^28 states", with_buf(&[1], CLAIM)),
        ("awareness that is not JSON", with_buf(&[1], &awareness(7, 1, "{\"name\":"))),
        ("awareness over 4 KiB", with_buf(&[1], &awareness(7, 1, &format!("\"{}\"", "x".repeat(5_000))))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_frame_costs_its_own_connection_and_nothing_else() -> Result<()> {
    let mut world = World::start(&[("held_per_address", 64)]).await?;
    let address = world.address();
    for dialect in DIALECTS {
        let (ada, eve) = (world.ada.clone(), world.eve.clone());
        for (what, bytes) in malformed(dialect).into_iter().chain(malformed_payloads()) {
            let what = format!("{dialect:?}, {what}");
            // The document's own device, in the middle of a good connection.
            let mut own = Witness::new(dialect, DOCUMENT, 77).with_token(&ada);
            own.sync(address).await?;
            own.client()?.send_frame(frame(dialect, DOCUMENT, &bytes)).await?;
            closed_with(own.client()?, 4400, &what).await?;
            // Another user, on a document of its own.
            let mut elsewhere = Witness::new(dialect, "eve/lair", 78).with_token(&eve);
            elsewhere.sync(address).await?;
            elsewhere.client()?.send_frame(frame(dialect, "eve/lair", &bytes)).await?;
            closed_with(elsewhere.client()?, 4400, &what).await?;
        }
        for (what, bytes) in malformed(dialect) {
            if dialect == Dialect::Ysweet {
                // Others do not get past the upgrade there.
                break;
            }
            // Another user, as the first frame on this document. On a plain path the first byte tells the family.
            if dialect == Dialect::Plain && bytes[0] != 0 {
                continue;
            }
            let mut stranger = witness::open(address, dialect, DOCUMENT, &eve).await?;
            stranger.send_frame(frame(dialect, DOCUMENT, &bytes)).await?;
            closed_with(&mut stranger, 4400, &format!("a stranger's first frame, {dialect:?}, {what}"))
                .await?;
        }
        world.goes_on(&format!("malformed frames of {dialect:?}")).await?;
    }
    for (what, message) in [
        ("an empty frame", Message::Binary(Bytes::new())),
        ("a text frame", Message::Text("00".into())),
        ("a server's ping without address", Message::Binary(Bytes::from_static(&[9]))),
    ] {
        for (dialect, synced) in DIALECTS.into_iter().flat_map(|dialect| [(dialect, true), (dialect, false)])
        {
            let mut own = Witness::new(dialect, DOCUMENT, 77).with_token(&world.ada);
            let what = format!("{dialect:?}, synced: {synced}, {what}");
            if synced {
                own.sync(address).await?;
                own.client()?.send_message(message.clone()).await?;
                closed_with(own.client()?, 4400, &what).await?;
            } else {
                let mut first = witness::open(address, dialect, DOCUMENT, &world.ada).await?;
                first.send_message(message.clone()).await?;
                closed_with(&mut first, 4400, &what).await?;
            }
        }
    }
    // A plain frame where no document is named.
    let mut nameless = Client::connect(address, "/sync").await?;
    nameless.send_frame(Bytes::from_static(&[0, 0, 1, 0])).await?;
    closed_with(&mut nameless, 4400, "a plain frame without a document").await?;
    world.ends_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_closed_while_the_others_go_on() -> Result<()> {
    let mut world = World::start(&[]).await?;
    let address = world.address();
    for (dialect, document) in
        DIALECTS.into_iter().flat_map(|dialect| [(dialect, DOCUMENT), (dialect, "eve/lair")])
    {
        let token = if document == DOCUMENT { &world.ada } else { &world.eve };
        let attacker = || Witness::new(dialect, document, 77).with_token(token);

        let what = format!("{dialect:?} on {document}, SyncStep1 without end");
        let mut flood = attacker();
        flood.sync(address).await?;
        for _ in 0..1_000 {
            if flood.client()?.send(&Reply::SyncStep1(&[0])).await.is_err() {
                break;
            }
        }
        closed_with(flood.client()?, 1013, &what).await?;

        let what = format!("{dialect:?} on {document}, pings without end");
        let mut flood = attacker();
        flood.sync(address).await?;
        for _ in 0..20_000 {
            let ping = Message::Ping(Bytes::from_static(&[7; 125]));
            if flood.client()?.send_message(ping).await.is_err() {
                break;
            }
        }
        closed_with(flood.client()?, 1013, &what).await?;

        let what = format!("{dialect:?} on {document}, a frame over the limit");
        let mut big = attacker();
        big.sync(address).await?;
        let update = vec![0; 33 << 20];
        let frame = frame(dialect, document, &with_buf(&[0, 2], &update));
        // The server need not read it all.
        let _ = big.client()?.send_frame(frame).await;
        closed_with(big.client()?, 1009, &what).await?;
        world.goes_on(&what).await?;
    }
    world.ends_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_a_token_a_connection_gets_little_time_and_room() -> Result<()> {
    let mut world = World::start(&[("pre_auth_ms", 1_500), ("header_read_ms", 1_500)]).await?;
    let address = world.address();
    let flood = async |what: &str, frames: &mut dyn Iterator<Item = Bytes>| -> Result<()> {
        let mut client = Client::connect(address, "/sync").await?;
        for frame in frames {
            if client.send_frame(frame).await.is_err() {
                break;
            }
        }
        closed_with(&mut client, 4205, what).await
    };
    let step1 = |document: &str| frame(Dialect::Hocuspocus, document, &[0, 0, 1, 0]);
    flood("too many messages", &mut (0..1_100).map(|_| step1(DOCUMENT))).await?;
    flood("too many documents", &mut (0..110).map(|n| step1(&format!("ada/{n}")))).await?;
    let large = frame(Dialect::Hocuspocus, DOCUMENT, &with_buf(&[0, 2], &vec![0; 1 << 20]));
    flood("too many bytes", &mut (0..7).map(|_| large.clone())).await?;
    world.goes_on("floods before a token").await?;

    // All of these wait at the same time.
    let mut silent = Vec::new();
    for path in
        ["/sync".to_owned(), format!("/sync/{DOCUMENT}"), format!("/sync/{DOCUMENT}?token={}", world.ada)]
    {
        silent.push((Client::connect(address, &path).await?, format!("no first frame on {path}")));
    }
    let mut tokenless = Client::connect(address, "/sync").await?;
    tokenless.send_frame(step1(DOCUMENT)).await?;
    silent.push((tokenless, "no token".to_owned()));
    let mut half_open = Vec::new();
    for head in ["", "GET /sync HTTP/1.1\r\nHost: x\r\n", "GET /sync HTTP/1.1\r\nUpgrade: websocket\r\nX: "] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(head.as_bytes()).await?;
            half_open.push((stream, head));
        }
    }
    for (client, what) in &mut silent {
        closed_with(client, 4408, what).await?;
    }
    for (stream, head) in &mut half_open {
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        ensure!(ended.is_ok(), "the server waits for ever for what follows {head:?}");
    }
    world.goes_on("half-open handshakes").await?;
    world.ends_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_trickles_in_is_cut_off() -> Result<()> {
    let mut world = World::start(&[("header_read_ms", 1_000)]).await?;
    let mut stream = TcpStream::connect(world.address()).await?;
    stream.write_all(b"GET /sync HTTP/1.1\r\nHost: x\r\nX-Slow: ").await?;
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while writer.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    let mut rest = Vec::new();
    let cut_off = async {
        tokio::select! {
            _ = reader.read_to_end(&mut rest) => {}
            () = trickle => {}
        }
    };
    timeout(DEADLINE, cut_off).await.context("the server still listens")?;
    world.goes_on("a slow header").await?;
    world.ends_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_is_not_ours_is_refused_before_the_upgrade() -> Result<()> {
    let mut world = World::start(&[]).await?;
    let address = world.address();
    let own = format!("http://{address}");
    for (origin, allowed) in [
        (own.as_str(), true),
        ("null", false),
        ("https://evil.example", false),
        ("http://localhost:3000", false),
        ("file://", false),
    ] {
        for path in ["/sync", "/sync/ada/notes", "/d/ada/notes/ws/ada/notes"] {
            let path = format!("{path}?token={}", world.ada);
            let answer = Client::try_connect(address, &path, &[("Origin", origin)]).await?;
            match answer {
                Ok(_) => ensure!(allowed, "{origin} was let in on {path}"),
                Err(status) => {
                    ensure!(!allowed && status == 403, "{origin} on {path}: {status}");
                }
            }
        }
    }
    world.goes_on("wrong origins").await?;
    world.ends_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_sockets_are_held_but_not_without_end() -> Result<()> {
    let mut world = World::start(&[("held_per_address", 4), ("held_ms", 2_000)]).await?;
    let address = world.address();
    let path = format!("/sync/{DOCUMENT}?token={}", world.eve);
    let step1 = Reply::SyncStep1(&[0]);
    let mut early = Client::connect(address, &path).await?;
    let mut held = Vec::new();
    for path in [path.clone(), path.clone(), format!("/sync/{DOCUMENT}"), format!("/sync/{DOCUMENT}?token=x")]
    {
        let mut stranger = Client::connect(address, &path).await?;
        stranger.send(&step1).await?;
        let denied = stranger.next().await?;
        ensure!(matches!(denied, Event::Denied(_)), "{denied:?}");
        // It is held, and what it sends is not looked at.
        stranger.send(&Reply::Update(CLAIM)).await?;
        held.push((stranger, if path.ends_with(&world.eve) { 4403 } else { 4401 }));
    }
    // The one that was upgraded before the places were taken is closed, the next one is not upgraded.
    early.send(&step1).await?;
    closed_with(&mut early, 4403, "no place to be held").await?;
    let full = Client::try_connect(address, &path, &[]).await?;
    ensure!(full.err().is_some_and(|status| status == 429), "one more was let in");
    let ysweet = format!("/d/{DOCUMENT}/ws/{DOCUMENT}?token={}", world.eve);
    let ysweet = Client::try_connect(address, &ysweet, &[]).await?;
    ensure!(ysweet.err().is_some_and(|status| status == 401), "y-sweet is refused at the upgrade");
    // Who has access is not held up by them.
    world.goes_on("held sockets").await?;
    for (stranger, code) in &mut held {
        closed_with(stranger, *code, "a held socket's end").await?;
    }
    drop(held);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let again = async {
        loop {
            if let Ok(client) = Client::try_connect(address, &path, &[]).await? {
                return anyhow::Ok(client);
            }
            ticks.tick().await;
        }
    };
    let mut again = timeout(DEADLINE, again).await.context("the places are never free again")??;
    again.send(&step1).await?;
    ensure!(matches!(again.next().await?, Event::Denied(_)), "held again");
    world.ends_whole().await
}
