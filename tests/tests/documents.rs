//! One document, whatever its name is spelt like, however large it arrives, whether it is in memory or not, and
//! even where part of it is still missing.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use syncline_protocol::{
    frame::{Dialect, Reply},
    lib0::write_var_uint,
};
use syncline_tests::{
    Client, DEADLINE, Event, Server, Witness, limited,
    rest::{ask, get, update_of},
    run,
    witness::{self, DIALECTS},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval},
};
use yrs::Text;

/// Documents leave memory as soon as nobody uses them.
const EVICT: &[(&str, u64)] = &[("evict_after_ms", 50)];

fn inspect(data: &Path, document: &str) -> Result<Value> {
    let output = run(["inspect".as_ref(), "--data".as_ref(), data.as_os_str(), "--json".as_ref()]);
    ensure!(output.status.success(), "inspect: {}", String::from_utf8_lossy(&output.stderr));
    let listing: Value = serde_json::from_slice(&output.stdout)?;
    let rows = listing["documents"].as_array().context("no documents")?;
    rows.iter().find(|row| row["name"] == document).cloned().context("the document is not listed")
}

async fn metrics(server: &Server) -> Result<String> {
    let mut stream = TcpStream::connect(server.address()).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Waits until no document is in memory, and some ticks of the server longer: the count is as old as its last one.
async fn evicted(server: &Server) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let mut ticks = interval(Duration::from_millis(20));
    let mut empty = 0;
    while empty < 15 {
        ensure!(Instant::now() < deadline, "the document stays in memory:\n{}", metrics(server).await?);
        ticks.tick().await;
        let none = metrics(server).await?.lines().any(|line| line == "syncline_documents_open 0");
        empty = if none { empty + 1 } else { 0 };
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_one_document_in_every_dialect_and_spelling() -> Result<()> {
    let server = Server::open()?;
    let address = server.address();
    let mut first = Witness::fresh(address, Dialect::Hocuspocus, "a b/ws/c\u{e9}", 1).await?;
    let mut wanted = Vec::new();
    for (at, path) in [
        "/sync/a%20b/ws/c\u{e9}",
        "/sync/a%20b%2Fws%2Fc%C3%A9",
        "/sync/%61%20b/ws/c%c3%a9?token=ignored",
        "/d/a%20b/ws/c%C3%A9/ws/a%20b/ws/c%C3%A9",
        "/d/a%20b%2Fws%2Fc%C3%A9/ws/a%20b/ws/c%C3%A9",
        "/d/a%20b%2Fws%2Fc%C3%A9/ws/a%20b%2Fws%2Fc%C3%A9",
    ]
    .into_iter()
    .enumerate()
    {
        let path = path.replace('\u{e9}', "%C3%A9");
        let mut device = Witness::new(Dialect::Plain, "-", 100 + at as u64);
        let update = device.edit_offline(|text, _, txn| text.push(txn, &format!("{at};")))?;
        let mut client = Client::connect(address, &path).await.with_context(|| path.clone())?;
        client.send(&Reply::SyncStep1(&[0])).await?;
        client.send(&Reply::Update(&update)).await?;
        wanted.push(format!("{at};"));
        let everything = |device: &Witness| wanted.iter().all(|word| device.text().contains(word));
        first.until(&path, everything).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_document_comes_back_whole_and_takes_edits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = limited::start(&folder, &["--open"], EVICT)?;
    let address = server.address();
    let mut writer = Witness::new(Dialect::Plain, "cold", 1);
    for round in 0..6 {
        writer.sync(address).await?;
        for word in 0..20 {
            writer.write(&format!("{round}.{word} ")).await?;
        }
        writer.until_saved().await?;
        writer.disconnect();
        evicted(&server).await?;
        // A device that has nothing is answered with the checkpoint, and is asked for what the server lacks.
        let dialect = DIALECTS[round % DIALECTS.len()];
        let mut fresh = Witness::fresh(address, dialect, "cold", 1_000 + round as u64).await?;
        ensure!(fresh.content() == writer.content(), "round {round}: another document came back");
        // An edit on top of it needs the document.
        fresh.write(&format!("{round}! ")).await?;
        fresh.until_saved().await?;
        fresh.disconnect();
        evicted(&server).await?;
        writer.sync(address).await?;
        writer.until_same(&fresh).await?;
        writer.disconnect();
    }
    Ok(())
}

/// Writes an update of `count` messages in an array: maps of three entries.
fn many_messages(count: u64) -> Vec<u8> {
    const CLIENT: u64 = 77;
    let mut update = vec![1];
    for number in [4 * count, CLIENT, 0] {
        write_var_uint(&mut update, number);
    }
    for message in 0..count {
        if message == 0 {
            update.extend_from_slice(&[7, 1, 1, b'a', 1]);
        } else {
            update.push(0x87);
            write_var_uint(&mut update, CLIENT);
            write_var_uint(&mut update, 4 * (message - 1));
            update.push(1);
        }
        for key in [b'f', b't', b'i'] {
            update.extend_from_slice(&[0x28, 0]);
            write_var_uint(&mut update, CLIENT);
            write_var_uint(&mut update, 4 * message);
            update.extend_from_slice(&[1, key, 1, 119, 5, b'h', b'e', b'l', b'l', b'o']);
        }
    }
    update.push(0);
    update
}

/// Writes an update of `count` clients with one character each.
fn many_clients(count: u64) -> Vec<u8> {
    let mut update = Vec::new();
    write_var_uint(&mut update, count);
    for client in (1..=count).rev() {
        update.push(1);
        write_var_uint(&mut update, 10_000 + client);
        update.extend_from_slice(&[0, 4, 1, 1, b't', 1, b'x']);
    }
    update.push(0);
    update
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_first_sync_passes() -> Result<()> {
    let server = Server::open()?;
    let mut ten_megabytes = Witness::new(Dialect::Plain, "large/text", 1);
    ten_megabytes.edit_offline(|text, _, txn| text.push(txn, &"0123456789".repeat(1_000_000)))?;

    let mut messages = Witness::new(Dialect::Hocuspocus, "large/messages", 2);
    messages.apply(&many_messages(100_000))?;
    messages.edit_offline(|text, _, txn| text.push(txn, "all sent"))?;

    let mut clients = Witness::new(Dialect::Ysweet, "large/clients", 3);
    clients.apply(&many_clients(5_000))?;
    clients.edit_offline(|text, _, txn| text.push(txn, "one more"))?;

    let all = [&mut ten_megabytes, &mut messages, &mut clients];
    let names = ["large/text", "large/messages", "large/clients"];
    for device in all {
        let started = Instant::now();
        device.sync(server.address()).await?;
        device.until_saved().await?;
        eprintln!("{:?}: saved after {:?}", device.dialect, started.elapsed());
    }
    let server = server.restart()?;
    for (at, (device, name)) in [&ten_megabytes, &messages, &clients].into_iter().zip(names).enumerate() {
        for dialect in DIALECTS {
            let started = Instant::now();
            let fresh = Witness::fresh(server.address(), dialect, name, 50 + at as u64).await;
            eprintln!("{name} {dialect:?}: opened after {:?}", started.elapsed());
            let fresh = fresh.with_context(|| format!("{name} for {dialect:?}"))?;
            ensure!(fresh.content() == device.content(), "{name} is another document for {dialect:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_offline_edits_are_saved_at_once_in_every_dialect() -> Result<()> {
    let mut server = Server::open()?;
    let mut devices = Vec::new();
    for (at, dialect) in DIALECTS.into_iter().enumerate() {
        let mut device = Witness::new(dialect, "offline", 1 + at as u64);
        for word in 0..3_000 {
            device.edit_offline(|text, map, txn| {
                text.push(txn, &format!("{at}.{word} "));
                if word % 10 == 0 {
                    yrs::Map::insert(map, txn, format!("{at}.{}", word % 100), word.to_string());
                }
            })?;
        }
        device.sync(server.address()).await?;
        device.until_saved().await?;
        devices.push(device);
    }
    // At this very moment everything is on disk.
    server.kill()?;
    let server = server.restart()?;
    let fresh = Witness::fresh(server.address(), Dialect::Plain, "offline", 9).await?;
    for device in &mut devices {
        device.sync(server.address()).await?;
        device.until_same(&fresh).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_missing_edits_is_kept_shown_and_applied_when_they_come() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = limited::start(&folder, &["--open"], EVICT)?;
    for (at, dialect) in DIALECTS.into_iter().enumerate() {
        let name = format!("gap/{at}");
        let mut author = Witness::new(Dialect::Plain, &name, 1);
        let missing = author.edit_offline(|text, _, txn| text.push(txn, "first "))?;
        let waiting = author.edit_offline(|text, _, txn| text.push(txn, "second"))?;

        // Another device has only the second edit, and brings it as its SyncStep2.
        let mut bearer = witness::open(server.address(), dialect, &name, "").await?;
        if dialect == Dialect::Hocuspocus {
            bearer.send_auth("", None).await?;
        }
        bearer.send(&Reply::SyncStep1(&[0])).await?;
        if dialect == Dialect::Ysweet {
            bearer.send(&Reply::Version(7)).await?;
        }
        bearer.until(|event| matches!(event, Event::Step1(_)).then_some(())).await?;
        bearer.send(&Reply::SyncStep2(&waiting)).await?;
        let asked = bearer
            .until(|event| match event {
                Event::Status(true) | Event::Version(7) => Some(false),
                Event::Update(echo) => (*echo == waiting).then_some(false),
                Event::Step1(_) => Some(true),
                _ => None,
            })
            .await?;
        ensure!(!asked, "{dialect:?}: asked again for what it does not have");
        drop(bearer);

        // It was called saved: it is there after a crash, and nobody sees it yet.
        server.kill()?;
        let row = inspect(server.data(), &name)?;
        ensure!(row["pending"] == 1, "{dialect:?}: {row}");
        server = server.restart()?;
        let mut reader = Witness::fresh(server.address(), dialect, &name, 2).await?;
        ensure!(reader.text().is_empty(), "shown before it is whole: {:?}", reader.text());

        // The missing edit comes, from a device that has no more than that.
        let mut other = Witness::fresh(server.address(), Dialect::Plain, &name, 3).await?;
        other.client()?.send(&Reply::Update(&missing)).await?;
        reader.until("both edits", |reader| reader.text() == "first second").await?;
        other.disconnect();
        reader.disconnect();
        evicted(&server).await?;
        let fresh = Witness::fresh(server.address(), dialect, &name, 4).await?;
        ensure!(fresh.text() == "first second", "{:?}", fresh.text());
        drop(fresh);
        evicted(&server).await?;
        ensure!(server.terminate()?.success(), "a clean end");
        let row = inspect(server.data(), &name)?;
        ensure!(row["pending"] == 0, "{dialect:?}, still: {row}");
        server = server.restart()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_document_refuses_edits_in_words_and_goes_on_being_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = limited::start(&folder, &["--open"], &[("document_bytes", 20_000)])?;
    let mut writer = Witness::fresh(server.address(), Dialect::Plain, "full", 1).await?;
    while writer.reasons().is_empty() {
        ensure!(writer.made() < 100, "the document is never full");
        writer.write(&"x".repeat(1_000)).await?;
        let made = writer.made();
        writer.until("an answer", |writer| writer.saved() == made || !writer.reasons().is_empty()).await?;
    }
    let saved = writer.saved();
    ensure!((10..=20).contains(&saved), "full after {saved} edits");
    ensure!(writer.reasons()[0].contains("full"), "{:?}", writer.reasons());
    for dialect in DIALECTS {
        let mut late = Witness::fresh(server.address(), dialect, "full", 2).await?;
        ensure!(late.text().len() as u64 == saved * 1_000, "{dialect:?} reads {} bytes", late.text().len());
        late.write(&"y".repeat(1_000)).await?;
        late.until_refused().await?;
        ensure!(late.saved() == 0, "{dialect:?} was told that it is saved");
    }
    // Another document is not full.
    let mut other = Witness::fresh(server.address(), Dialect::Plain, "empty", 3).await?;
    other.write("room").await?;
    other.until_saved().await?;
    server.kill()?;
    let server = server.restart()?;
    let fresh = Witness::fresh(server.address(), Dialect::Plain, "full", 4).await?;
    ensure!(fresh.text() == "x".repeat(1_000 * usize::try_from(saved)?), "another document came back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_memory_for_open_documents_others_wait_until_some_leave() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let limits = [("open_bytes", 100_000), ("reload_after_ms", 50), ("evict_after_ms", 600_000)];
    let server = limited::start(&folder, &["--open"], &limits)?;
    let large = update_of(&"words ".repeat(30_000));
    let opened = ask(&server, "POST", "/d/large/update", "", large).await;
    ensure!(opened.status() == StatusCode::OK, "there was room: {}", opened.status());
    let post = || ask(&server, "POST", "/d/small/update", "", update_of("few words"));
    let refused = post().await;
    ensure!(refused.status() == StatusCode::SERVICE_UNAVAILABLE, "no room: {}", refused.status());
    ensure!(refused.headers().contains_key("retry-after"), "it is only for now");
    ensure!(metrics(&server).await?.contains("reason=\"open_bytes\""), "it is counted");
    // Unused for a second, the large one leaves, long before the ten minutes it might have stayed.
    let deadline = Instant::now() + DEADLINE;
    let mut tries = interval(Duration::from_millis(100));
    while post().await.status() != StatusCode::OK {
        ensure!(Instant::now() < deadline, "the large document stays:\n{}", metrics(&server).await?);
        tries.tick().await;
    }
    let text = get(&server, "/d/large/as-update").await;
    ensure!(text.status() == StatusCode::OK && text.bytes().await?.len() > 100_000, "it is whole");
    Ok(())
}
