//! What the data model costs: bytes a message and a token, the sidebar, memory: `cargo bench -p syncline-benches --bench
//! model [-- FOLDER]`. Sizes do not depend on the machine; times are the median of rounds, with the fastest beside it.
//!
//! With FOLDER the documents are written there too, for `node compare/sidebar.mjs FOLDER`, which applies them with Yjs.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use syncline_benches::chat::{self, QUARTER_MS};
use syncline_benches::system::allocated_bytes;
use syncline_document::hlc::Clock;
use syncline_document::ids::{ConversationId, Quarter};
use syncline_document::schema::Kind;
use syncline_document::{Absorbed, Ledger, Replica};
use syncline_protocol::limits::Limits;
use yrs::{ReadTxn, Transact};

const NOW: u64 = 1_760_000_000_000;
const CLIENT: u64 = 0x9234_5678;
/// A server's client id is as long as they get.
const SERVER: u64 = (1 << 53) - 2;
const MESSAGES: u64 = 1_000;
const MESSAGE_BYTES: usize = 800;
const TOKENS: usize = 2_100;
/// Conversations of the sidebar, of so many quarters.
const CONVERSATIONS: u64 = 5_000;
const QUARTERS: u64 = 12;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    messages()?;
    tokens();
    sidebar(folder.as_deref())
}

/// Says how many bytes each message takes beside its text, with what the server writes about it.
fn messages() -> anyhow::Result<()> {
    let id = ConversationId::parse(&chat::uuid7(NOW, 1)).ok_or_else(|| anyhow::anyhow!("no id"))?;
    let mut server = Replica::load_as(SERVER, std::iter::empty::<&[u8]>())?;
    let mut ledger = Ledger::of(Kind::Conversation(id), &mut server)?;
    let (mut clock, limits, doc) = (Clock::new(), Limits::default(), chat::document(CLIENT));
    let (mut up, mut judged) = (0, 0);
    let mut parent: Option<String> = None;
    for turn in 0..MESSAGES {
        let before = doc.transact().state_vector();
        let id = chat::uuid7(NOW, turn);
        let text = chat::words(turn, MESSAGE_BYTES);
        let ms = NOW + turn * 1_000;
        chat::append(&mut doc.transact_mut(), &id, parent.as_deref(), "user", ms, &text);
        parent = Some(id);
        let update = doc.transact().encode_diff_v1(&before);
        up += update.len();
        anyhow::ensure!(matches!(server.absorb(&update, &limits), Absorbed::Applied(_)), "not applied");
        let judgement = ledger.judge(&mut server, &mut clock, ms)?;
        anyhow::ensure!(judgement.accepted.len() == 1, "not accepted");
        judged += judgement.update.map_or(0, |update| update.len());
    }
    let at_rest = server.encode_state()?.len();
    let beside = |bytes: usize| bytes as f64 / MESSAGES as f64 - MESSAGE_BYTES as f64;
    println!("a message of {MESSAGE_BYTES} bytes, frozen when written: bytes beside its text");
    println!("{:<46}{:>12.1}", "  on the wire to the server", beside(up));
    println!("{:<46}{:>12.1}", "  the server's word on it, to all", judged as f64 / MESSAGES as f64);
    println!("{:<46}{:>12.1}", "  at rest, with the server's word", beside(at_rest));
    Ok(())
}

/// Says how many bytes each token of a streamed answer takes beside its text.
fn tokens() {
    let text = chat::words(7, TOKENS * 4);
    let tokens: Vec<&str> = (0..TOKENS).map(|at| &text[at * 4..at * 4 + 4]).collect();
    println!("an answer of {TOKENS} tokens of 4 bytes into a Y.Text: bytes beside its text");
    for batch in [1, 10, 25] {
        let (updates, whole) = chat::streamed(CLIENT, &tokens, batch);
        let wire: usize = updates.iter().map(Bytes::len).sum();
        let beside = (wire - text.len()) as f64 / TOKENS as f64;
        println!("{:<46}{beside:>12.2}", format!("  a token on the wire, {batch} a transaction"));
        println!("{:<46}{:>12}", "    all of it at rest", whole.len() - text.len());
    }
}

/// Says what the sidebar takes: the newest quarter is what is needed before the first paint.
fn sidebar(folder: Option<&std::path::Path>) -> anyhow::Result<()> {
    let each = CONVERSATIONS / QUARTERS;
    let quarters: Vec<Bytes> = (0..QUARTERS)
        .map(|back| chat::index(CLIENT + back, NOW - (back + 1) * QUARTER_MS, each + u64::from(back == 0)))
        .collect();
    let all: usize = quarters.iter().map(Bytes::len).sum();
    println!("the sidebar of {CONVERSATIONS} conversations in {QUARTERS} quarters (turns are not in it)");
    println!("{:<46}{:>12}", "  bytes before the first paint (goal 300,000)", quarters[0].len());
    println!("{:<46}{:>12}", "  bytes of all quarters", all);
    let busiest = chat::index(CLIENT, NOW - QUARTER_MS, CONVERSATIONS);
    println!("{:<46}{:>12}", "  bytes, had all been made in one quarter", busiest.len());
    time("  apply the newest quarter (goal 50 ms)", 20, || apply(&quarters[..1]));
    time("  apply all quarters", 5, || apply(&quarters));
    time("  apply all, made in one quarter", 5, || apply(std::slice::from_ref(&busiest)));
    memory("  memory of the newest quarter (goal 2 MB)", &quarters[..1])?;
    memory("  memory of all quarters", &quarters)?;
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
        for (back, quarter) in quarters.iter().enumerate() {
            std::fs::write(folder.join(format!("index-{back:02}.bin")), quarter)?;
        }
        std::fs::write(folder.join("one-quarter.bin"), &busiest)?;
    }
    Ok(())
}

fn apply(updates: &[Bytes]) {
    for update in updates {
        black_box(Replica::load([&update[..]]).is_ok());
    }
}

/// Loads documents as the server does, and says what they hold of memory once they are there.
fn memory(name: &str, updates: &[Bytes]) -> anyhow::Result<()> {
    let kind = Kind::Index(Quarter { year: 2025, quarter: 3 });
    let before = allocated_bytes();
    let mut open = Vec::new();
    for update in updates {
        let mut replica = Replica::load_as(SERVER, [&update[..]])?;
        let ledger = Ledger::of(kind.clone(), &mut replica)?;
        open.push((replica, ledger));
    }
    let held = allocated_bytes().saturating_sub(before);
    println!("{name:<46}{:>9.2} MB", held as f64 / 1e6);
    drop(open);
    Ok(())
}

fn time(name: &str, rounds: usize, mut round: impl FnMut()) {
    let mut millis: Vec<f64> = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            round();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    println!("{name:<46}{:>9.2} ms{:>9.2} ms", millis[rounds / 2], millis[0]);
}
