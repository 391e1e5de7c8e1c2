//! What the server counts, and how Prometheus reads it (`GET /metrics`, listed in docs/metrics.md).
//!
//! Our own counters and our own text: on the hot path a count is one relaxed add to a cache line of the thread's
//! own, which no metrics library here gives, and the text format is three kinds of lines.

mod blobs;
mod counter;
mod text;

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use syncline_document::Judgement;
use syncline_protocol::names::DocumentName;
use syncline_store::{
    stats::{COMMIT_BUCKETS_US, WriterStats},
    store::JournalSize,
    writer::QueueDepth,
};

use crate::{finder::Standing, registry::Census};

use blobs::BlobCounts;
use counter::Sharded;
use text::{Kind, Text};

/// Documents whose refusals are counted one by one: whoever refuses makes may not fill the memory.
const REFUSALS_OF: usize = 4_096;

/// How a connection speaks, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// It has said nothing yet.
    Unknown,
    /// y-websocket.
    Plain,
    /// y-sweet.
    Ysweet,
    /// Hocuspocus.
    Hocuspocus,
}

impl Speaks {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Unknown, "unknown"),
        (Self::Plain, "plain"),
        (Self::Ysweet, "ysweet"),
        (Self::Hocuspocus, "hocuspocus"),
    ];
}

/// What is not counted but looked up when somebody reads the metrics.
#[derive(Debug, Default)]
pub struct Sample<'a> {
    /// What waits to be committed.
    pub queue: QueueDepth,
    /// Age of the oldest update that is applied and not on disk yet, in milliseconds; 0 if there is none.
    pub oldest_unacked_ms: u64,
    /// Bytes of large messages in memory.
    pub large_bytes: u64,
    /// Bytes of frames on their way to connections.
    pub outbound_bytes: u64,
    /// Bytes of edits that wait for others, for a document, or to be echoed.
    pub waiting_pool_bytes: u64,
    /// Bytes of documents in memory, at rest.
    pub resident_bytes: u64,
    /// The commit thread's counters.
    pub writer: Option<&'a WriterStats>,
    /// Bytes of the store on disk, and free bytes on its disk where known.
    pub store_bytes: u64,
    /// See `store_bytes`.
    pub free_bytes: Option<u64>,
    /// The journal that is kept.
    pub journal: JournalSize,
    /// The store takes no more edits.
    pub poisoned: bool,
    /// The server is ready.
    pub ready: bool,
    /// How the search index stands.
    pub search: Standing,
}

/// The counters. One for the process, shared.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: [AtomicI64; 4],
    connections_total: AtomicU64,
    documents_open: AtomicU64,
    waiting_bytes: AtomicU64,
    updates_in: Sharded,
    update_bytes_in: Sharded,
    frames_in: Sharded,
    bytes_in: Sharded,
    frames_out: Sharded,
    bytes_out: Sharded,
    loads: AtomicU64,
    load_failures: AtomicU64,
    evictions: AtomicU64,
    messages_accepted: AtomicU64,
    heals: AtomicU64,
    event_streams: AtomicI64,
    events: AtomicU64,
    event_resets: AtomicU64,
    event_slow: AtomicU64,
    searches: AtomicU64,
    search_failures: AtomicU64,
    commit_failures: AtomicU64,
    folds: AtomicU64,
    panics: AtomicU64,
    refusals: Labelled,
    denials: Labelled,
    limited: Labelled,
    /// What happens to blobs.
    pub(crate) blobs: BlobCounts,
    refusals_of: Mutex<HashMap<DocumentName, u64>>,
    closes: Mutex<BTreeMap<u16, u64>>,
    requests: Mutex<BTreeMap<u16, u64>>,
}

/// Counts by a word from the code: few, and off the hot path.
#[derive(Debug, Default)]
struct Labelled(Mutex<BTreeMap<&'static str, u64>>);

impl Labelled {
    fn add(&self, label: &'static str) {
        *self.0.lock().entry(label).or_default() += 1;
    }
}

impl Metrics {
    /// Counts a connection in.
    pub fn connection_opened(&self) {
        self.connections_total.fetch_add(1, Relaxed);
        self.connections[Speaks::Unknown as usize].fetch_add(1, Relaxed);
    }

    /// Learns how a connection speaks.
    pub fn connection_speaks(&self, before: Speaks, now: Speaks) {
        self.connections[before as usize].fetch_sub(1, Relaxed);
        self.connections[now as usize].fetch_add(1, Relaxed);
    }

    /// Counts a connection out.
    pub fn connection_closed(&self, speaks: Speaks) {
        self.connections[speaks as usize].fetch_sub(1, Relaxed);
    }

    /// Counts a frame that was read.
    pub fn bytes_in(&self, bytes: usize) {
        self.frames_in.add(1);
        self.bytes_in.add(bytes as u64);
    }

    /// Counts frames that are written, and their bytes.
    pub fn bytes_out(&self, frames: usize, bytes: usize) {
        self.frames_out.add(frames as u64);
        self.bytes_out.add(bytes as u64);
    }

    /// Counts an update that was accepted.
    pub fn update_in(&self, bytes: usize) {
        self.updates_in.add(1);
        self.update_bytes_in.add(bytes as u64);
    }

    /// Counts an update that was refused, by the stable word of the reason.
    pub fn refused(&self, code: &'static str) {
        self.refusals.add(code);
    }

    /// Counts an update that was refused in a document, for `inspect`.
    pub fn refused_in(&self, document: &DocumentName) {
        let mut counts = self.refusals_of.lock();
        if let Some(count) = counts.get_mut(document) {
            *count += 1;
        } else if counts.len() < REFUSALS_OF {
            counts.insert(document.clone(), 1);
        }
    }

    /// Returns how many updates were refused in a document since the start.
    pub fn refusals_in(&self, document: &str) -> u64 {
        let name = DocumentName::parse(document).ok();
        name.and_then(|name| self.refusals_of.lock().get(&name).copied()).unwrap_or_default()
    }

    /// Counts a token or an access that was denied, by the stable word of the reason.
    pub fn denied(&self, code: &'static str) {
        self.denials.add(code);
    }

    /// Counts a request that a rate limit turned away, by the policy.
    pub fn limited(&self, policy: &'static str) {
        self.limited.add(policy);
    }

    /// Counts a WebSocket that the server closed, by its code.
    pub fn closed(&self, code: u16) {
        *self.closes.lock().entry(code).or_default() += 1;
    }

    /// Counts an HTTP request, by the status of its answer.
    pub fn answered(&self, status: u16) {
        *self.requests.lock().entry(status).or_default() += 1;
    }

    /// Counts a document that is loaded.
    pub fn loaded(&self) {
        self.loads.fetch_add(1, Relaxed);
    }

    /// Counts a document that could not be loaded.
    pub fn load_failed(&self) {
        self.load_failures.fetch_add(1, Relaxed);
    }

    /// Counts what the judge did.
    pub fn judged(&self, judgement: &Judgement) {
        self.messages_accepted.fetch_add(judgement.accepted.len() as u64, Relaxed);
        self.heals.fetch_add(judgement.heals.len() as u64, Relaxed);
    }

    /// Counts documents that left memory.
    pub fn evicted(&self, documents: u64) {
        self.evictions.fetch_add(documents, Relaxed);
    }

    /// Counts a cold document that was folded into a checkpoint in the background.
    pub fn folded(&self) {
        self.folds.fetch_add(1, Relaxed);
    }

    /// Counts a commit that failed: what was in it is not saved.
    pub fn commit_failed(&self) {
        self.commit_failures.fetch_add(1, Relaxed);
    }

    /// Counts an event stream in.
    pub fn event_stream_opened(&self) {
        self.event_streams.fetch_add(1, Relaxed);
    }

    /// Counts an event stream out.
    pub fn event_stream_closed(&self) {
        self.event_streams.fetch_sub(1, Relaxed);
    }

    /// Counts an event stream that is closed because its client does not read.
    pub fn event_stream_slow(&self) {
        self.event_slow.fetch_add(1, Relaxed);
    }

    /// Counts events that were told.
    pub fn events_sent(&self, events: usize) {
        self.events.fetch_add(events as u64, Relaxed);
    }

    /// Counts a stream that could not go on where it was.
    pub fn events_reset(&self) {
        self.event_resets.fetch_add(1, Relaxed);
    }

    /// Counts a search, and whether it was answered.
    pub fn searched(&self, answered: bool) {
        self.searches.fetch_add(1, Relaxed);
        self.search_failures.fetch_add(u64::from(!answered), Relaxed);
    }

    /// Takes in what a look at all documents found.
    pub fn census(&self, census: &Census) {
        self.documents_open.store(census.open as u64, Relaxed);
        self.waiting_bytes.store(census.waiting_bytes as u64, Relaxed);
    }

    /// Counts a panic that was contained.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// Renders everything in Prometheus' text format.
    pub fn render(&self, sample: &Sample<'_>) -> String {
        let mut text = Text::default();
        self.render_traffic(&mut text);
        self.render_queues(&mut text, sample);
        self.render_documents(&mut text);
        if let Some(writer) = sample.writer {
            render_commits(&mut text, writer);
        }
        render_store(&mut text, sample);
        self.blobs.render(&mut text);
        self.render_derived(&mut text, sample);
        self.render_trouble(&mut text);
        render_process(&mut text, sample);
        text.finish()
    }

    fn render_traffic(&self, text: &mut Text) {
        text.family("connections", Kind::Gauge, "WebSockets that are open, by dialect");
        for (speaks, label) in Speaks::ALL {
            let open = self.connections[speaks as usize].load(Relaxed);
            text.labelled("connections", "dialect", label, u64::try_from(open).unwrap_or_default());
        }
        let counters = [
            ("connections_total", "WebSockets that were opened", self.connections_total.load(Relaxed)),
            ("frames_received_total", "WebSocket messages read", self.frames_in.sum()),
            ("received_bytes_total", "bytes of WebSocket messages read", self.bytes_in.sum()),
            ("frames_sent_total", "WebSocket messages written", self.frames_out.sum()),
            ("sent_bytes_total", "bytes of WebSocket messages written", self.bytes_out.sum()),
            ("updates_total", "updates accepted", self.updates_in.sum()),
            ("update_bytes_total", "bytes of updates accepted", self.update_bytes_in.sum()),
        ];
        for (name, help, value) in counters {
            text.single(name, Kind::Counter, help, value);
        }
        text.family("http_requests_total", Kind::Counter, "HTTP answers, by status");
        for (status, count) in self.requests.lock().iter() {
            text.labelled("http_requests_total", "status", status, *count);
        }
    }

    fn render_documents(&self, text: &mut Text) {
        let open = self.documents_open.load(Relaxed);
        text.single("documents_open", Kind::Gauge, "documents in memory", open);
        let counters = [
            ("document_loads_total", "documents loaded", self.loads.load(Relaxed)),
            (
                "document_load_failures_total",
                "documents that could not be loaded",
                self.load_failures.load(Relaxed),
            ),
            ("document_evictions_total", "documents that left memory", self.evictions.load(Relaxed)),
            (
                "messages_accepted_total",
                "messages that got their place",
                self.messages_accepted.load(Relaxed),
            ),
            (
                "heals_total",
                "contradictions with what was accepted that were healed",
                self.heals.load(Relaxed),
            ),
            ("document_folds_total", "cold documents folded into a checkpoint", self.folds.load(Relaxed)),
        ];
        for (name, help, value) in counters {
            text.single(name, Kind::Counter, help, value);
        }
    }

    fn render_queues(&self, text: &mut Text, sample: &Sample<'_>) {
        let gauges = [
            ("journal_queue_entries", "updates that wait to be committed", sample.queue.entries as u64),
            ("journal_queue_bytes", "bytes of updates that wait to be committed", sample.queue.bytes as u64),
            (
                "waiting_bytes",
                "bytes of messages that wait for their document",
                self.waiting_bytes.load(Relaxed),
            ),
            ("large_message_bytes", "bytes of large messages in memory", sample.large_bytes),
            ("outbound_bytes", "bytes of frames on their way to connections", sample.outbound_bytes),
            (
                "waiting_pool_bytes",
                "bytes of edits that wait for missing ones, for a document, or to be echoed",
                sample.waiting_pool_bytes,
            ),
            ("open_document_bytes", "bytes of documents in memory, at rest", sample.resident_bytes),
        ];
        for (name, help, value) in gauges {
            text.single(name, Kind::Gauge, help, value);
        }
        let age = sample.oldest_unacked_ms as f64 / 1e3;
        text.single(
            "oldest_unacked_update_seconds",
            Kind::Gauge,
            "age of the oldest update not on disk yet",
            age,
        );
    }

    fn render_derived(&self, text: &mut Text, sample: &Sample<'_>) {
        let streams = u64::try_from(self.event_streams.load(Relaxed)).unwrap_or_default();
        let search = &sample.search;
        let gauges = [
            ("event_streams", "event streams that are open", streams),
            ("search_up", "1 while the search index is open", u64::from(search.open)),
            ("search_indexing", "1 while the search index is behind", u64::from(search.indexing)),
            ("search_lag_documents", "changed documents that wait to be indexed", search.documents as u64),
            ("search_lag_batches", "batches that wait for the search index", search.batches as u64),
            ("search_lag_bytes", "bytes that wait for the search index", search.bytes as u64),
        ];
        for (name, help, value) in gauges {
            text.single(name, Kind::Gauge, help, value);
        }
        let counters = [
            ("events_total", "events that were told", &self.events),
            ("event_resets_total", "streams that could not go on where they were", &self.event_resets),
            ("event_streams_slow_total", "streams that were closed as too slow", &self.event_slow),
            ("searches_total", "searches", &self.searches),
            ("search_failures_total", "searches that could not be answered", &self.search_failures),
        ];
        for (name, help, value) in counters {
            text.single(name, Kind::Counter, help, value.load(Relaxed));
        }
    }

    fn render_trouble(&self, text: &mut Text) {
        let labelled = [
            ("refusals_total", "updates refused, by reason", &self.refusals),
            ("denials_total", "tokens and accesses denied, by reason", &self.denials),
        ];
        for (name, help, counts) in labelled {
            text.family(name, Kind::Counter, help);
            for (reason, count) in counts.0.lock().iter() {
                text.labelled(name, "reason", reason, *count);
            }
        }
        text.family(
            "rate_limited_total",
            Kind::Counter,
            "HTTP requests that a rate limit turned away, by policy",
        );
        for (policy, count) in self.limited.0.lock().iter() {
            text.labelled("rate_limited_total", "policy", policy, *count);
        }
        text.family("closes_total", Kind::Counter, "WebSockets the server closed, by close code");
        for (code, count) in self.closes.lock().iter() {
            text.labelled("closes_total", "code", code, *count);
        }
        let failures = self.commit_failures.load(Relaxed);
        text.single("commit_failures_total", Kind::Counter, "commits that failed", failures);
        text.single("panics_total", Kind::Counter, "panics that were contained", self.panics.load(Relaxed));
    }
}

fn render_commits(text: &mut Text, writer: &WriterStats) {
    let counters = [
        ("commits_total", "commits that are durable", &writer.commits),
        ("committed_updates_total", "updates in them", &writer.entries),
        ("committed_bytes_total", "bytes of those updates", &writer.bytes),
        ("checkpoints_total", "checkpoints that are durable", &writer.checkpoints),
    ];
    for (name, help, value) in counters {
        text.single(name, Kind::Counter, help, value.load(Relaxed));
    }
    let failed = u64::from(writer.failed.load(Relaxed));
    text.single("commit_failed", Kind::Gauge, "1 once a commit failed: nothing is saved any more", failed);
    let bounds: Vec<f64> = COMMIT_BUCKETS_US.iter().map(|bound| *bound as f64 / 1e6).collect();
    let counts: Vec<u64> = writer.commit_buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
    let sum = writer.total_commit_ns.load(Relaxed) as f64 / 1e9;
    text.histogram("commit_seconds", "time of a commit, syncing included", &bounds, &counts, sum);
}

fn render_store(text: &mut Text, sample: &Sample<'_>) {
    let gauges = [
        ("store_bytes", "bytes of the store on disk", sample.store_bytes),
        ("journal_records", "journal records that are kept", sample.journal.records),
        ("journal_bytes", "bytes of journal records that are kept", sample.journal.bytes),
        ("documents_unfolded", "documents with updates no checkpoint covers", sample.journal.documents),
        ("store_poisoned", "1 once the store takes no more edits", u64::from(sample.poisoned)),
    ];
    for (name, help, value) in gauges {
        text.single(name, Kind::Gauge, help, value);
    }
    if let Some(free) = sample.free_bytes {
        text.single("store_free_bytes", Kind::Gauge, "bytes free on the store's disk", free);
    }
}

fn render_process(text: &mut Text, sample: &Sample<'_>) {
    text.single("ready", Kind::Gauge, "1 while the server is ready", u64::from(sample.ready));
    if let Some(bytes) = resident_bytes() {
        text.single("resident_memory_bytes", Kind::Gauge, "memory of the process", bytes);
    }
    text.family("build_info", Kind::Gauge, "always 1; the label says which version runs");
    text.labelled("build_info", "version", env!("CARGO_PKG_VERSION"), 1_u64);
}

/// Reads the resident memory of this process, where the system says it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, series: &str) -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.connection_opened();
        metrics.connection_opened();
        metrics.connection_speaks(Speaks::Unknown, Speaks::Plain);
        metrics.connection_closed(Speaks::Unknown);
        metrics.bytes_in(10);
        metrics.bytes_in(5);
        metrics.bytes_out(1, 7);
        metrics.update_in(3);
        metrics.refused("malformed");
        metrics.refused("malformed");
        metrics.closed(4400);
        let sample = Sample { oldest_unacked_ms: 1_500, ..Sample::default() };
        let text = metrics.render(&sample);
        for (series, expected) in [
            ("syncline_connections{dialect=\"plain\"}", 1.0),
            ("syncline_connections{dialect=\"unknown\"}", 0.0),
            ("syncline_connections_total", 2.0),
            ("syncline_frames_received_total", 2.0),
            ("syncline_received_bytes_total", 15.0),
            ("syncline_sent_bytes_total", 7.0),
            ("syncline_update_bytes_total", 3.0),
            ("syncline_refusals_total{reason=\"malformed\"}", 2.0),
            ("syncline_closes_total{code=\"4400\"}", 1.0),
            ("syncline_oldest_unacked_update_seconds", 1.5),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
        }
    }

    #[test]
    fn commits_are_a_histogram_that_adds_up() {
        let writer = WriterStats::default();
        writer.commit_buckets[0].store(3, Relaxed);
        writer.commit_buckets[COMMIT_BUCKETS_US.len()].store(1, Relaxed);
        writer.total_commit_ns.store(2_000_000_000, Relaxed);
        let text = Metrics::default().render(&Sample { writer: Some(&writer), ..Sample::default() });
        assert_eq!(value(&text, "syncline_commit_seconds_bucket{le=\"0.0001\"}"), Some(3.0));
        assert_eq!(value(&text, "syncline_commit_seconds_bucket{le=\"1\"}"), Some(3.0));
        assert_eq!(value(&text, "syncline_commit_seconds_bucket{le=\"+Inf\"}"), Some(4.0));
        assert_eq!(value(&text, "syncline_commit_seconds_count"), Some(4.0));
        assert_eq!(value(&text, "syncline_commit_seconds_sum"), Some(2.0));
    }

    #[test]
    fn every_metric_is_in_the_documentation_and_the_other_way_round() {
        let writer = WriterStats::default();
        let sample = Sample { writer: Some(&writer), free_bytes: Some(1), ..Sample::default() };
        let text = Metrics::default().render(&sample);
        let mut shown: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let table = include_str!("../../../docs/metrics.md");
        let mut listed: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        shown.sort_unstable();
        listed.sort_unstable();
        assert_eq!(shown, listed);
    }

    #[test]
    fn counts_of_many_threads_are_not_lost() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| (0..1_000).for_each(|_| metrics.update_in(2)));
            }
        });
        assert_eq!((metrics.updates_in.sum(), metrics.update_bytes_in.sum()), (32_000, 64_000));
    }
}
