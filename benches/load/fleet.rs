//! The generator's threads: each drives a share of the documents on a runtime of its own.
//!
//! A document's devices live on one thread, so that nothing in the hot path is locked or atomic.

use crate::device::{Link, dial};
use crate::document::Document;
use crate::stats::Stats;
use crate::target::Address;
use anyhow::{Context, bail};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use syncline_benches::system::Ticker;
use syncline_benches::traffic::Stream;
use syncline_benches::wire::Dialect;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

/// Who edits what.
#[derive(Clone)]
pub(crate) struct Cast {
    pub(crate) address: Address,
    pub(crate) documents: usize,
    pub(crate) devices: usize,
    /// Dialects, handed out to the devices of a document in turn.
    pub(crate) dialects: Vec<Dialect>,
    /// The devices' updates; documents take the variants in turn. Devices beyond a variant's streams only listen.
    pub(crate) variants: Arc<Vec<Vec<Arc<Stream>>>>,
    pub(crate) read_buffer: usize,
    /// Handshakes under way at once, a thread.
    pub(crate) concurrency: usize,
    /// Whether the server acks, so that a run ends only with the last ack.
    pub(crate) acks: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Plan {
    /// Open loop: updates a second over all threads, whatever the server does.
    Open { rate: f64 },
    /// Closed loop: updates in flight a document, and how many a document in all.
    Closed { window: u32, limit: u32 },
}

pub(crate) enum Ending {
    /// Schedule no more.
    Now,
    /// Wait until the closed loop's limit is reached.
    AtLimit,
}

/// How far one device got.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) document: usize,
    pub(crate) device: usize,
    pub(crate) acked: u32,
    pub(crate) elsewhere: u32,
}

pub(crate) struct Outcome {
    pub(crate) stats: Stats,
    pub(crate) progress: Vec<Progress>,
    pub(crate) quiet: bool,
}

enum Command {
    Start(Plan),
    Stop(Ending, Duration),
}

enum Reply {
    Connected(anyhow::Result<()>),
    Started,
    Stopped(Box<Outcome>),
}

pub(crate) struct Fleet {
    shards: Vec<(UnboundedSender<Command>, mpsc::Receiver<Reply>)>,
    pub(crate) sockets: usize,
    pub(crate) connected_in: Duration,
}

pub(crate) fn document_name(index: usize) -> String {
    format!("u{index}-chat")
}

impl Fleet {
    /// Connects every device; returns once all have gone through their handshake.
    pub(crate) fn connect(cast: &Cast, threads: usize) -> anyhow::Result<Self> {
        let started = Instant::now();
        let shards: Vec<_> = (0..threads)
            .map(|shard| {
                let (commands, inbox) = unbounded_channel();
                let (outbox, replies) = mpsc::channel();
                let cast = cast.clone();
                std::thread::spawn(move || drive(&cast, shard, threads, inbox, &outbox));
                (commands, replies)
            })
            .collect();
        let mut fleet = Self { shards, sockets: cast.devices, connected_in: Duration::ZERO };
        for (_, replies) in &fleet.shards {
            match replies.recv().context("a generator thread ended")? {
                Reply::Connected(result) => result?,
                _ => bail!("a generator thread is out of step"),
            }
        }
        fleet.connected_in = started.elapsed();
        Ok(fleet)
    }

    pub(crate) fn start(&self, plan: Plan) -> anyhow::Result<()> {
        let plan = match plan {
            Plan::Open { rate } => Plan::Open { rate: rate / self.shards.len() as f64 },
            closed @ Plan::Closed { .. } => closed,
        };
        for (commands, replies) in &self.shards {
            commands.send(Command::Start(plan)).context("a generator thread ended")?;
            let Reply::Started = replies.recv()? else { bail!("a generator thread is out of step") };
        }
        Ok(())
    }

    /// Stops, and waits until all is delivered and acked, at most `patience`.
    pub(crate) fn stop(&self, ending: &Ending, patience: Duration) -> anyhow::Result<Outcome> {
        for (commands, _) in &self.shards {
            let ending = match ending {
                Ending::Now => Ending::Now,
                Ending::AtLimit => Ending::AtLimit,
            };
            commands.send(Command::Stop(ending, patience)).context("a generator thread ended")?;
        }
        let mut whole: Option<Outcome> = None;
        for (_, replies) in &self.shards {
            let Reply::Stopped(outcome) = replies.recv()? else { bail!("a generator thread is out of step") };
            match &mut whole {
                None => whole = Some(*outcome),
                Some(whole) => {
                    whole.stats.merge(&outcome.stats);
                    whole.progress.extend(outcome.progress);
                    whole.quiet &= outcome.quiet;
                }
            }
        }
        whole.context("there is no generator thread")
    }
}

fn drive(
    cast: &Cast,
    shard: usize,
    shards: usize,
    inbox: UnboundedReceiver<Command>,
    outbox: &mpsc::Sender<Reply>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _gone = outbox.send(Reply::Connected(Err(error.into())));
            return;
        }
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let stats = Rc::new(RefCell::new(Stats::new()));
        match connect_share(cast, shard, shards, &stats).await {
            Ok(documents) => {
                if outbox.send(Reply::Connected(Ok(()))).is_ok() {
                    Shard { documents, stats, acks: cast.acks, pacer: None }.obey(inbox, outbox).await;
                }
            }
            Err(error) => {
                let _gone = outbox.send(Reply::Connected(Err(error)));
            }
        }
    });
}

type Shared = Rc<RefCell<Document>>;

async fn connect_share(
    cast: &Cast,
    shard: usize,
    shards: usize,
    stats: &Rc<RefCell<Stats>>,
) -> anyhow::Result<Vec<(usize, Shared)>> {
    let documents: Vec<(usize, Shared)> = (shard..cast.documents)
        .step_by(shards)
        .map(|index| {
            let devices = (index..cast.devices).step_by(cast.documents).len();
            let dialects: Vec<Dialect> =
                (0..devices).map(|device| cast.dialects[device % cast.dialects.len()]).collect();
            let streams = cast.variants[index % cast.variants.len()].clone();
            (index, Rc::new(RefCell::new(Document::new(&dialects, streams, Rc::clone(stats)))))
        })
        .collect();
    // First one device of each document, then the next: as strangers come, not as a family.
    let most = cast.devices.div_ceil(cast.documents);
    let mut queue = Vec::with_capacity(documents.len() * most);
    for me in (0..most).rev() {
        for (index, document) in documents.iter().rev() {
            if me < document.borrow().devices.len() {
                queue.push((*index, me, Rc::clone(document)));
            }
        }
    }
    let queue = Rc::new(RefCell::new(queue));
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..cast.concurrency {
        let (queue, cast, stats) = (Rc::clone(&queue), cast.clone(), Rc::clone(stats));
        openers.spawn_local(async move {
            loop {
                let Some((index, me, document)) = queue.borrow_mut().pop() else { return Ok(()) };
                let name = document_name(index);
                let dialect = document.borrow().devices[me].dialect;
                let number = me * cast.documents + index;
                let web = dial(&cast.address, &name, dialect, number, cast.read_buffer).await?;
                let mut link = Link::new(web, &name, document, Rc::clone(&stats), me);
                link.synchronize().await.with_context(|| format!("device {me} of {name} ({dialect:?})"))?;
                tokio::task::spawn_local(link.run());
            }
        });
    }
    while let Some(opened) = openers.join_next().await {
        let result: anyhow::Result<()> = opened?;
        result?;
    }
    Ok(documents)
}

struct Shard {
    documents: Vec<(usize, Shared)>,
    stats: Rc<RefCell<Stats>>,
    acks: bool,
    pacer: Option<tokio::task::JoinHandle<()>>,
}

impl Shard {
    async fn obey(mut self, mut inbox: UnboundedReceiver<Command>, outbox: &mpsc::Sender<Reply>) {
        while let Some(command) = inbox.recv().await {
            let reply = match command {
                Command::Start(plan) => {
                    *self.stats.borrow_mut() = Stats::new();
                    self.start(plan);
                    Reply::Started
                }
                Command::Stop(ending, patience) => {
                    Reply::Stopped(Box::new(self.stop(&ending, patience).await))
                }
            };
            if outbox.send(reply).is_err() {
                return;
            }
        }
    }

    fn start(&mut self, plan: Plan) {
        match plan {
            Plan::Closed { window, limit } => {
                for (_, document) in &self.documents {
                    document.borrow_mut().close_loop(window, limit);
                }
            }
            Plan::Open { rate } => {
                let documents = self.documents.iter().map(|(_, document)| Rc::clone(document)).collect();
                let stats = Rc::clone(&self.stats);
                self.pacer = Some(tokio::task::spawn_local(async move {
                    if let Err(error) = pace(documents, rate, &stats).await {
                        eprintln!("pacer ended: {error}");
                    }
                }));
            }
        }
    }

    async fn stop(&mut self, ending: &Ending, patience: Duration) -> Outcome {
        if let Some(pacer) = self.pacer.take() {
            pacer.abort();
        }
        if let Ending::Now = ending {
            for (_, document) in &self.documents {
                document.borrow_mut().close_loop(0, 0);
            }
        }
        let deadline = Instant::now() + patience;
        let mut quiet = false;
        while !quiet && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
            quiet = self.documents.iter().all(|(_, document)| document.borrow().is_quiet(self.acks));
        }
        let mut progress = Vec::new();
        for (index, document) in &self.documents {
            let document = document.borrow();
            for (device, state) in document.devices.iter().enumerate() {
                let elsewhere = document.elsewhere(device);
                progress.push(Progress { document: *index, device, acked: state.acked, elsewhere });
            }
        }
        Outcome { stats: self.stats.borrow().clone(), progress, quiet }
    }
}

/// Makes updates due at a fixed rate, one device after the other, each document a different one.
async fn pace(documents: Vec<Shared>, rate: f64, stats: &Rc<RefCell<Stats>>) -> anyhow::Result<()> {
    let period = Duration::from_secs_f64((1.0 / rate).max(250e-6));
    let ticker = Ticker::start(period)?;
    let started = Instant::now();
    let mut issued = 0u64;
    loop {
        ticker.tick().await?;
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        while issued < due {
            issued += 1;
            let document = &documents[issued as usize % documents.len()];
            let mut document = document.borrow_mut();
            let senders = document.streams.len().min(document.devices.len());
            let sender = (issued as usize / documents.len()) % senders;
            let at = started + Duration::from_secs_f64(issued as f64 / rate);
            if !document.schedule(sender, at) {
                stats.borrow_mut().overloaded = true;
            }
        }
    }
}
