//! Hostile updates, every case and generator of `vectors/hostile-updates.json`, as Update and as SyncStep2, in each
//! dialect, from the document's own device: what would harm is refused and costs only its sender's edits; what is
//! merely a gap is kept; what is a valid forgery is relayed, harms nothing, and the journal says who sent it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde_json::Value;
use syncline_document::record::EntryKind;
use syncline_protocol::{
    frame::{Dialect, Reply},
    lib0::{write_str, write_var_uint},
    names::DocumentName,
};
use syncline_store::{
    SledStore, Store,
    sled_store::{Expect, SledOptions},
};
use syncline_tests::{
    Client, Event, Server, Witness, run, token,
    witness::{self, DIALECTS},
};
use yrs::Text;

/// What is to become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Refused,
    /// Kept until what it needs comes.
    Gap,
    /// Taken: only readers that are not careful suffer.
    Taken,
}

/// How an update is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Update,
    Step2,
}

struct Case {
    what: String,
    updates: Vec<Bytes>,
    fate: Fate,
}

fn vectors() -> Result<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/hostile-updates.json");
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}

fn cases() -> Result<Vec<Case>> {
    let vectors = vectors()?;
    let listed = vectors["updates"].as_array().context("no updates")?;
    let mut cases = Vec::new();
    for case in listed {
        let what = case["what"].as_str().context("no name")?.to_owned();
        let parts = case["hex"].as_array().context("no bytes")?;
        let mut updates =
            parts.iter().map(|part| unhex(part.as_str().unwrap_or_default())).collect::<Result<Vec<_>>>()?;
        if case["join"] == true {
            updates = vec![updates.concat()];
        }
        let fate = match what.as_str() {
            gap if gap.starts_with("deletes the first 10 units") => Fate::Gap,
            readers if readers.starts_with("endless loop in ArrayRef::to_json") => Fate::Taken,
            _ => Fate::Refused,
        };
        cases.push(Case { what, updates: updates.into_iter().map(Bytes::from).collect(), fate });
    }
    for (what, update) in generated() {
        cases.push(Case { what: what.to_owned(), updates: vec![update.into()], fate: Fate::Refused });
    }
    Ok(cases)
}

/// Starts an update of one section of client 1 from clock 0.
fn section(blocks: u64) -> Vec<u8> {
    let mut update = vec![1];
    write_var_uint(&mut update, blocks);
    update.extend_from_slice(&[1, 0]);
    update
}

fn id(update: &mut Vec<u8>, client: u64, clock: u64) {
    write_var_uint(update, client);
    write_var_uint(update, clock);
}

/// The generators of the file that are one update each.
fn generated() -> Vec<(&'static str, Vec<u8>)> {
    let mut any = section(1);
    any.extend_from_slice(&[8, 1, 1, b'a', 1]);
    any.extend([117, 1].repeat(7_000));
    any.extend_from_slice(&[126, 0]);

    let mut nested = section(5_000);
    nested.extend_from_slice(&[0x27, 1, 1, b'm', 1, b'k', 1]);
    for parent in 0..4_999 {
        nested.extend_from_slice(&[0x27, 0]);
        id(&mut nested, 1, parent);
        nested.extend_from_slice(&[1, b'k', 1]);
    }
    nested.push(0);

    let mut empty = Vec::new();
    write_var_uint(&mut empty, 50_000);
    for client in (1..=50_000).rev() {
        empty.push(0);
        id(&mut empty, client, 0);
    }
    empty.push(0);

    let mut scattered = section(1);
    scattered.extend_from_slice(&[4, 1, 1, b't']);
    write_str(&mut scattered, &"x".repeat(1_000_000));
    scattered.extend_from_slice(&[1, 1]);
    write_var_uint(&mut scattered, 499_999);
    for range in 0..499_999 {
        write_var_uint(&mut scattered, 2 * range);
        scattered.push(1);
    }
    vec![
        ("any 7,000 deep", any),
        ("Y.Map in Y.Map 5,000 deep", nested),
        ("50,000 client sections with 0 blocks", empty),
        ("1 MB of text with every second character deleted", scattered),
    ]
}

/// Connects as a client does, up to the server's SyncStep1.
async fn attacker(server: &Server, dialect: Dialect, document: &str, token: &str) -> Result<Client> {
    let mut client = witness::open(server.address(), dialect, document, token).await?;
    if dialect == Dialect::Hocuspocus {
        client.send_auth(token, None).await?;
    }
    client.send(&Reply::SyncStep1(&[0])).await?;
    client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await?;
    Ok(client)
}

/// Offers updates. Returns how many SyncStatus are owed for them.
async fn offer(client: &mut Client, offer: Offer, updates: &[Bytes]) -> Result<()> {
    let (first, rest) = match offer {
        Offer::Update => (None, updates),
        Offer::Step2 => (updates.first(), updates.get(1..).unwrap_or_default()),
    };
    client.send(&Reply::SyncStep2(first.map_or(&[0, 0], |update| update))).await?;
    for update in rest {
        client.send(&Reply::Update(update)).await?;
    }
    Ok(())
}

async fn until_refused(client: &mut Client) -> Result<()> {
    let words = client
        .until(|event| match event {
            Event::Denied(words) => Some(words.clone()),
            Event::Status(false) => Some("08 00".to_owned()),
            _ => None,
        })
        .await?;
    ensure!(!words.is_empty(), "refused without words");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_harm_is_refused_and_costs_only_its_senders_edits() -> Result<()> {
    let server = Server::open()?;
    for (at, case) in cases()?.iter().enumerate().filter(|(_, case)| case.fate == Fate::Refused) {
        for dialect in DIALECTS {
            let document = format!("harm/{at}/{dialect:?}");
            let mut good = Witness::fresh(server.address(), Dialect::Plain, &document, 5).await?;
            good.write("whole ").await?;
            for how in [Offer::Update, Offer::Step2] {
                let what = format!("{}, {how:?}, {dialect:?}", case.what);
                let mut bad = attacker(&server, dialect, &document, "").await.context(what.clone())?;
                offer(&mut bad, how, &case.updates).await?;
                until_refused(&mut bad).await.context(what.clone())?;
                // Its later edits stay refused, whatever they are; broadcasts still flow to it.
                let mut later = Witness::new(dialect, &document, 66);
                let honest = later.edit_offline(|text, _, txn| text.push(txn, "later"))?;
                bad.send(&Reply::Update(&honest)).await?;
                if dialect == Dialect::Ysweet {
                    bad.send(&Reply::Version(1)).await?;
                }
                if dialect == Dialect::Hocuspocus {
                    until_refused(&mut bad).await.context(what.clone())?;
                }
                good.write("and goes on ").await?;
                good.until_saved().await.context(what.clone())?;
                loop {
                    match bad.next().await.context(what.clone())? {
                        Event::Update(update) if update == honest => {
                            bail!("{what}: its later edit was saved")
                        }
                        Event::Status(true) | Event::Version(_) => {
                            bail!("{what}: it was told that it is saved")
                        }
                        Event::Closed(code, reason) => bail!("{what}: closed with {code} {reason}"),
                        Event::Update(_) => break,
                        _ => {}
                    }
                }
            }
            let fresh = Witness::fresh(server.address(), dialect, &document, 7).await?;
            ensure!(!fresh.text().contains("later"), "{}: a refused edit is in the document", case.what);
            ensure!(
                fresh.text() == good.text(),
                "{}: {} instead of {}",
                case.what,
                fresh.text(),
                good.text()
            );
        }
    }
    let mut server = server;
    ensure!(server.terminate()?.success(), "a clean end");
    let verified = run(["verify".as_ref(), "--data".as_ref(), server.data().as_os_str()]);
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_parked_as_update_and_kept_as_sync_step_2() -> Result<()> {
    let server = Server::open()?;
    let cases = cases()?;
    let gap = cases.iter().find(|case| case.fate == Fate::Gap).context("no gap in the vectors")?;
    for dialect in DIALECTS {
        for how in [Offer::Update, Offer::Step2] {
            let document = format!("gap/{dialect:?}/{how:?}");
            let mut client = attacker(&server, dialect, &document, "").await?;
            offer(&mut client, how, &gap.updates).await?;
            if dialect == Dialect::Ysweet {
                client.send(&Reply::Version(3)).await?;
            }
            if how == Offer::Update {
                client.until(|event| matches!(event, Event::Step1(_)).then_some(())).await?;
                // It has nothing more: then the server keeps what there is, and says so.
                client.send(&Reply::SyncStep2(&[0, 0])).await?;
            }
            let saved = client.until(|event| match event {
                Event::Status(saved) => Some(*saved),
                Event::Update(echo) => (*echo == gap.updates[0]).then_some(true),
                Event::Version(version) => (*version == 3).then_some(true),
                Event::Denied(_) => Some(false),
                _ => None,
            });
            let saved = saved.await.with_context(|| format!("{dialect:?} {how:?}: no ack"))?;
            ensure!(saved, "{dialect:?} {how:?} was refused");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_careless_readers_suffer_from_is_taken_and_can_be_looked_at() -> Result<()> {
    let mut server = Server::open()?;
    let cases = cases()?;
    let taken = cases.iter().find(|case| case.fate == Fate::Taken).context("no such case in the vectors")?;
    for dialect in DIALECTS {
        let mut client = attacker(&server, dialect, "emoji", "").await?;
        offer(&mut client, Offer::Step2, &taken.updates).await?;
        drop(client);
    }
    let mut good = Witness::fresh(server.address(), Dialect::Plain, "emoji", 5).await?;
    good.write("on").await?;
    good.until_saved().await?;
    ensure!(server.terminate()?.success(), "a clean end");
    let data = server.data().as_os_str();
    let shown = run(["inspect".as_ref(), "--data".as_ref(), data, "emoji".as_ref(), "--json".as_ref()]);
    ensure!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown: Value = serde_json::from_slice(&shown.stdout)?;
    ensure!(shown["content"]["t"] == "on", "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_gaps_and_a_large_pending_delete_set_slow_nobody() -> Result<()> {
    let mut server = Server::open()?;
    let mut good = Witness::fresh(server.address(), Dialect::Plain, "waits", 5).await?;
    let mut bad = attacker(&server, Dialect::Hocuspocus, "waits", "").await?;
    // 200,000 ranges of a client that nobody knows.
    let mut deletes = vec![0, 1];
    write_var_uint(&mut deletes, 99);
    write_var_uint(&mut deletes, 200_000);
    for range in 0..200_000 {
        write_var_uint(&mut deletes, 2 * range);
        deletes.push(1);
    }
    let started = Instant::now();
    bad.send(&Reply::SyncStep2(&deletes)).await?;
    for number in 0..5_000 {
        // One character of client 1,000 + n, after one of client 9 that nobody knows.
        let mut update = vec![1, 1];
        id(&mut update, 1_000 + number, 0);
        update.extend_from_slice(&[0x84, 9, 0, 1, b'x', 0]);
        bad.send(&Reply::Update(&update)).await?;
    }
    bad.until(|event| matches!(event, Event::Step1(_)).then_some(())).await.context("asked for the gap")?;
    bad.send(&Reply::SyncStep2(&[0, 0])).await?;
    for number in 0..=5_000 {
        let saved = bad.until(|event| match event {
            Event::Status(saved) => Some(*saved),
            _ => None,
        });
        ensure!(saved.await.with_context(|| format!("ack {number}"))?, "ack {number}: refused");
    }
    eprintln!("kept after {:?}", started.elapsed());
    let started = Instant::now();
    for word in 0..200 {
        good.write(&format!("{word} ")).await?;
        good.until_saved().await?;
    }
    let took = started.elapsed();
    eprintln!("200 honest edits beside it: {took:?}");
    ensure!(took < Duration::from_secs(10), "200 honest edits take {took:?}");
    server.kill()?;
    let server = server.restart()?;
    let fresh = Witness::fresh(server.address(), Dialect::Plain, "waits", 6).await?;
    ensure!(fresh.content() == good.content(), "another document came back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valid_forgery_of_an_own_device_is_relayed_and_the_journal_names_its_sender() -> Result<()> {
    const DOCUMENT: &str = "ada/notes";
    let mut server = Server::fresh(&[])?;
    let victim_token = token(server.data(), "ada", &["--device", "phone"]);
    let forger_token = token(server.data(), "ada", &["--device", "borrowed"]);
    for dialect in DIALECTS {
        let mut victim = Witness::new(dialect, DOCUMENT, 99).with_token(&victim_token);
        victim.sync(server.address()).await?;
        victim.write("0123456789abcdef").await?;
        victim.until_saved().await?;
        let clock = *victim.content().clocks().get(&99).context("the victim's clock")?;
        victim.disconnect();

        // Deletes for client 99; a block under client 99's id at its next clock.
        let vectors = cases()?;
        let deletes = vectors.into_iter().find(|case| case.fate == Fate::Gap).context("the deletes")?.updates;
        let mut forged = vec![1, 1];
        id(&mut forged, 99, u64::from(clock));
        forged.extend_from_slice(&[4, 1, 1, b't']);
        write_str(&mut forged, "forged");
        forged.push(0);
        let updates = [&deletes[..], &[Bytes::from(forged)]].concat();
        let mut forger = attacker(&server, dialect, DOCUMENT, &forger_token).await?;
        offer(&mut forger, Offer::Update, &updates).await?;
        let mut reader = Witness::new(Dialect::Plain, DOCUMENT, 7).with_token(&victim_token);
        reader.sync(server.address()).await?;
        reader.until("the forgery", |reader| reader.text().contains("forged")).await?;

        // The victim, offline, edits under the same clock, and comes back.
        victim.write("mine").await?;
        victim.sync(server.address()).await?;
        let mut before = Witness::new(Dialect::Plain, DOCUMENT, 8).with_token(&victim_token);
        before.sync(server.address()).await?;
        server.kill()?;
        server = server.restart()?;
        let mut after = Witness::new(Dialect::Plain, DOCUMENT, 9).with_token(&victim_token);
        after.sync(server.address()).await?;
        ensure!(after.content() == before.content(), "{dialect:?}: another document after a reload");
        ensure!(after.text().contains("forged"), "{dialect:?}: {}", after.text());
    }
    ensure!(server.terminate()?.success(), "a clean end");
    let store = SledStore::open_folder(server.data(), &SledOptions::default(), Expect::Existing)?;
    let stored = store.read(&DocumentName::parse(DOCUMENT)?)?.context("nothing is stored")?;
    let senders: HashSet<(String, String)> = stored
        .tail
        .iter()
        .filter(|entry| entry.kind == EntryKind::Update)
        .filter(|entry| entry.bytes.windows(6).any(|bytes| bytes == b"forged"))
        .map(|entry| {
            let name = |name: &Option<std::sync::Arc<str>>| name.as_deref().unwrap_or("nobody").to_owned();
            (name(&entry.origin.user), name(&entry.origin.device))
        })
        .collect();
    ensure!(senders == HashSet::from([("ada".to_owned(), "borrowed".to_owned())]), "{senders:?}");
    Ok(())
}
