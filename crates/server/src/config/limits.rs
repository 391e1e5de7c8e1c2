//! Every limit and every time of the server, with the contract's defaults. One flat table, `[limits]` in the file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use syncline_store::{WriterOptions, sled_store::SledOptions, store::FoldBounds};
use syncline_sync::Budget;

use super::ConfigError;

/// The deepest nesting that the document engine is known to survive on our stacks.
const DEEPEST: usize = 64;
/// Nothing is larger: sums of limits, and times in the future, stay in their types.
const MOST: i64 = 1 << 50;
/// These may be 0, which turns them off.
const SWITCHES: [&str; 3] = ["rate_reads", "rate_writes", "rate_failures"];

/// What clients may ask of the server, and how long things may take. The unit is the last word of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    // One message. What the checker counts before the document engine sees a byte.
    /// One message, and one WebSocket frame. Larger ones close the connection with 1009.
    pub message_bytes: usize,
    /// Blocks of one update.
    pub blocks: usize,
    /// Client sections of one update.
    pub sections: usize,
    /// Delete ranges of one update.
    pub delete_ranges: usize,
    /// JSON-like values of one update, nested ones included.
    pub values: usize,
    /// What applying one update may cost, in bytes the document engine moves (10^10 take about a second).
    pub work: u64,
    /// What joining the blocks of one update that continue each other may copy: bytes.
    pub join_bytes: u64,
    /// Nesting of arrays and objects in one value.
    pub any_depth: usize,
    /// Nesting of shared types, from the root.
    pub type_depth: usize,
    /// JSON of one awareness state.
    pub awareness_state_bytes: usize,
    /// States of one awareness message.
    pub awareness_states: usize,
    /// Entries of one state vector.
    pub state_vector_entries: usize,

    // One document.
    /// A document at rest: a larger one takes no more edits.
    pub document_bytes: usize,
    /// Edits kept for a document whose dependencies are missing; also what one connection may have parked.
    pub pending_bytes: usize,
    /// Frames that wait while a document is loaded or busy.
    pub waiting_bytes: usize,
    /// What all documents together hold of that, of edits that wait for others that are missing, and of edits that are
    /// echoed once they are saved: bytes. Beyond it each connection holds only `large_message_bytes` of it, or is told to
    /// try later (1013).
    pub waiting_pool_bytes: usize,
    /// Updates above this many bytes go to the pool, so that they hold nobody up.
    pub heavy_bytes: usize,
    /// The same by the estimate of `work`.
    pub heavy_work: u64,
    /// Documents above this many bytes are encoded on the pool.
    pub heavy_document_bytes: usize,
    /// A document that is loading or busy for longer than this is refused and reported until the work comes back.
    pub busy_ms: u64,
    /// A document nobody used for this long leaves memory.
    pub evict_after_ms: u64,
    /// All documents in memory together, at rest: bytes. The document engine takes up to 12 times that. From three quarters
    /// on, documents that nobody used for a second leave memory; beyond it no other is opened: try again in a while.
    pub open_bytes: usize,
    /// A document that could not be loaded is tried again after this long.
    pub reload_after_ms: u64,
    /// A device whose update failed inside the document engine stays refused for this long.
    pub culprit_ms: u64,
    /// A device whose writing had to be healed this often within `culprit_ms` is closed.
    pub heals: u32,
    /// A SyncStep2 that was over `message_bytes` is not asked for again in this time.
    pub too_big_ms: u64,
    /// Devices listed in a document's status.
    pub devices: usize,
    /// Awareness that was not renewed for this long is gone.
    pub awareness_timeout_ms: u64,
    /// Sync status is sent at most this often.
    pub status_every_ms: u64,
    /// The list of devices is written at most this often.
    pub side_every_ms: u64,
    /// A hidden client gets at most one frame in this time.
    pub hidden_every_ms: u64,
    /// SyncStep1 that a connection may send at once for one document, however often it leaves and joins it,
    pub step1_burst: u32,
    /// and one more after each such time.
    pub step1_every_ms: u64,

    // One connection.
    /// Connections in all. Beyond them new ones are closed at once.
    pub connections: usize,
    /// Refused connections that are held open, per address: beyond them HTTP 429. Hocuspocus connections that were
    /// only denied count too: beyond them 4401 or 4403.
    pub held_per_address: usize,
    /// A refused connection is held open for this long, so that its client does not storm.
    pub held_ms: u64,
    /// Documents on one connection.
    pub documents_per_connection: usize,
    /// What a connection may send before its token is accepted, and in tokens that are not: bytes,
    pub pre_auth_bytes: usize,
    /// messages,
    pub pre_auth_messages: usize,
    /// documents that wait for a token,
    pub pre_auth_documents: usize,
    /// and the time it may take.
    pub pre_auth_ms: u64,
    /// Frames on their way to one connection, large ones apart: those have room for one document of the largest
    /// size. A reader that is slower is closed with "resync".
    pub outbound_bytes: usize,
    /// Frames on their way to all connections. Beyond it each holds only a little, or is told to try later.
    pub outbound_pool_bytes: usize,
    /// Messages above this many bytes take their memory from one pool,
    pub large_message_bytes: usize,
    /// which has this many bytes for the whole process.
    pub large_pool_bytes: usize,
    /// A request's head must be here within this time.
    pub header_read_ms: u64,
    /// The TLS handshake must be done within this time.
    pub tls_handshake_ms: u64,
    /// A write that makes no progress for this long ends the connection.
    pub send_ms: u64,
    /// A large message that comes, and frames that go out, move at least so many bytes a second once `send_ms` are over;
    /// who is slower is closed, with 4408 or "resync": nobody holds a part of the memory that all share for ever.
    pub least_bytes_per_s: u64,
    /// WebSocket pings, at least this far apart and at most half as much more. Two missed end the connection.
    pub ping_every_ms: u64,
    /// Clients that count only messages get one after this much silence.
    pub keep_alive_ms: u64,

    // The process.
    /// Heavy updates and documents that are worked on at the same time: by default one for each core, at least
    /// two. Others wait in line, each document with one job at most.
    pub pool_threads: usize,
    /// Edits on their way to disk: bytes. Beyond them connections are not read.
    pub journal_queue_bytes: usize,
    /// Shortest time from one commit to the next: longer means fewer writes to the disk and later acks.
    pub commit_pace_us: u64,
    /// Edits on their way to disk. Beyond them connections are not read.
    pub journal_queue_entries: usize,
    /// The store's cache.
    pub cache_bytes: u64,
    /// A file in the data folder that an operator may delete when the disk is full.
    pub reserve_bytes: u64,
    /// With less than this free on the disk the store takes no more edits.
    pub min_free_bytes: u64,
    /// A document is folded into a checkpoint after this many updates,
    pub fold_updates: u64,
    /// this many bytes of updates (a large one later, in proportion to its size),
    pub fold_bytes: u64,
    /// or this long.
    pub fold_age_ms: u64,
    /// Above this many bytes of journal its oldest documents are folded.
    pub journal_bytes: u64,
    /// The JSON body of one HTTP request. An update may have `message_bytes`.
    pub http_json_bytes: usize,
    /// The turns of one page, as JSON: the page ends before it is larger, and `next` goes on. A larger turn comes alone.
    pub http_page_bytes: usize,
    /// One HTTP request, its body included, backups, uploads of blobs, imports and exports aside.
    pub http_ms: u64,
    /// How long the rest of a body is read and thrown away after an early answer, so that its sender hears the answer.
    pub linger_ms: u64,
    /// Updates over HTTP that wait for one document. Beyond them: 503, try again.
    pub http_edits_per_document: usize,
    /// Reads over HTTP that wait for one document. Beyond them: 503, try again.
    pub http_reads_per_document: usize,
    /// One blob.
    pub blob_bytes: u64,
    /// All blobs of one user, unfinished ones with the length that they are to have: bytes,
    pub blob_user_bytes: u64,
    /// and their number.
    pub blobs_per_user: usize,
    /// Unfinished uploads of one user.
    pub blob_uploads: usize,
    /// An upload that nobody went on with for this long is dropped.
    pub blob_upload_ms: u64,
    /// Blobs that are received at the same time, of all users. Beyond them: 503, try again.
    pub blob_transfers: usize,
    /// One call that uploads: it is broken off then, and what came is kept. It breaks off earlier where nothing comes
    /// for `send_ms`.
    pub blob_call_ms: u64,
    /// Imports and exports under way at the same time, of all users. Beyond them: 503, try again.
    pub transfers: usize,
    /// The time in which the file of an import has to come, and one in which an export is gathered, then fetched. It ends
    /// earlier where a reader takes nothing for `send_ms`.
    pub transfer_ms: u64,
    /// The file of an import, as it is sent: bytes. To a data folder (`syncline import --data`) it may be of any size.
    pub import_bytes: u64,
    /// Blobs that one archive carries, together: bytes. An export names those that it leaves out; an import those that
    /// come beyond.
    pub archive_blob_bytes: u64,
    /// A blob that nothing has referred to for this long is removed.
    pub blob_grace_ms: u64,
    /// Time between two steps of the search for such blobs; a step looks at 256.
    pub blob_sweep_ms: u64,
    /// What one user (by the token) may read over HTTP in `rate_window_ms`: requests; 0 for no limit.
    pub rate_reads: u64,
    /// The same of requests that write.
    pub rate_writes: u64,
    /// Requests without a valid token from one address in `rate_window_ms`; 0 for no limit. More are answered 429.
    pub rate_failures: u64,
    /// The time in which a quota that was spent comes back.
    pub rate_window_ms: u64,
    /// Callers whose spent quotas are remembered, of each of the three kinds.
    pub rate_callers: usize,
    /// Edits of each user whose events are kept, to go on behind `Last-Event-ID`. Beyond them a stream is reset.
    pub event_batches: usize,
    /// Event streams of one user. Beyond them: 429.
    pub event_streams_per_user: usize,
    /// An event stream that tells nothing sends a comment this often.
    pub event_keep_alive_ms: u64,
    /// Changed documents that wait to be indexed for search. Beyond them all documents are looked at again.
    pub search_waiting_documents: usize,
    /// Texts on their way into the search index: bytes.
    pub search_queue_bytes: usize,
    /// What was written is found after this long, and a little more.
    pub search_commit_ms: u64,
    /// Memory in which the search index is built; it takes no less than 15 MB.
    pub search_writer_bytes: usize,
    /// A search gives what it has found after this long, and says so,
    pub search_ms: u64,
    /// or after it looked at this many texts.
    pub search_texts: usize,
    /// Searches at the same time. Others wait in line.
    pub searches: usize,
    /// A search index that cannot be opened, or has stopped, is tried again after this long.
    pub search_reopen_ms: u64,
    /// What shutting down may take before the process ends with exit code 1.
    pub shutdown_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 32 << 20,
            blocks: 1_000_000,
            sections: 65_536,
            delete_ranges: 500_000,
            values: 8_000_000,
            work: 20_000_000_000,
            join_bytes: 256 << 20,
            any_depth: 64,
            type_depth: 64,
            awareness_state_bytes: 4 << 10,
            awareness_states: 4_096,
            state_vector_entries: 1_000_000,
            document_bytes: 64 << 20,
            pending_bytes: 4 << 20,
            waiting_bytes: 64 << 20,
            waiting_pool_bytes: 512 << 20,
            heavy_bytes: 64 << 10,
            heavy_work: 10_000_000,
            heavy_document_bytes: 2 << 20,
            busy_ms: 10_000,
            evict_after_ms: 30_000,
            open_bytes: 1 << 30,
            reload_after_ms: 10_000,
            culprit_ms: 600_000,
            heals: 20,
            too_big_ms: 600_000,
            devices: 256,
            awareness_timeout_ms: 30_000,
            status_every_ms: 250,
            side_every_ms: 5_000,
            hidden_every_ms: 1_000,
            step1_burst: 20,
            step1_every_ms: 500,
            connections: 100_000,
            held_per_address: 16,
            held_ms: 25_000,
            documents_per_connection: 1_000,
            pre_auth_bytes: 5 << 20,
            pre_auth_messages: 1_000,
            pre_auth_documents: 100,
            pre_auth_ms: 10_000,
            outbound_bytes: 4 << 20,
            outbound_pool_bytes: 1 << 30,
            large_message_bytes: 64 << 10,
            large_pool_bytes: 512 << 20,
            header_read_ms: 10_000,
            tls_handshake_ms: 10_000,
            send_ms: 30_000,
            least_bytes_per_s: 16 << 10,
            ping_every_ms: 20_000,
            keep_alive_ms: 20_000,
            pool_threads: std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            journal_queue_bytes: 64 << 20,
            commit_pace_us: 1_000,
            journal_queue_entries: 65_536,
            cache_bytes: 64 << 20,
            reserve_bytes: 24 << 20,
            min_free_bytes: 32 << 20,
            fold_updates: 2_000,
            fold_bytes: 1 << 20,
            fold_age_ms: 10 * 60 * 1_000,
            journal_bytes: 256 << 20,
            http_json_bytes: 64 << 10,
            http_page_bytes: 4 << 20,
            http_ms: 30_000,
            linger_ms: 5_000,
            http_edits_per_document: 64,
            http_reads_per_document: 64,
            blob_bytes: 256 << 20,
            blob_user_bytes: 4 << 30,
            blobs_per_user: 10_000,
            blob_uploads: 32,
            blob_upload_ms: 24 * 60 * 60 * 1_000,
            blob_transfers: 64,
            blob_call_ms: 10 * 60 * 1_000,
            transfers: 4,
            transfer_ms: 10 * 60 * 1_000,
            import_bytes: 5 << 30,
            archive_blob_bytes: 4 << 30,
            blob_grace_ms: 24 * 60 * 60 * 1_000,
            blob_sweep_ms: 10_000,
            rate_reads: 12_000,
            rate_writes: 3_000,
            rate_failures: 300,
            rate_window_ms: 60_000,
            rate_callers: 65_536,
            event_batches: 1_000,
            event_streams_per_user: 16,
            event_keep_alive_ms: 15_000,
            search_waiting_documents: 16_384,
            search_queue_bytes: 16 << 20,
            search_commit_ms: 500,
            search_writer_bytes: 16 << 20,
            search_ms: 250,
            search_texts: 200_000,
            searches: 8,
            search_reopen_ms: 60_000,
            shutdown_ms: 9_000,
        }
    }
}

impl Limits {
    /// Checks that nothing is zero, which would refuse everything or wait for ever, and that what hangs together
    /// fits together.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        let table = toml::Table::try_from(self).map_err(|error| {
            ConfigError::Invalid(format!("a limit is out of range: {error}; the largest is {MOST}"))
        })?;
        for (name, value) in &table {
            match value.as_integer() {
                Some(1..=MOST) => {}
                Some(0) if SWITCHES.contains(&name.as_str()) => {}
                Some(number) if number > MOST => {
                    return invalid(format!("limits.{name} must be at most {MOST}"));
                }
                _ => return invalid(format!("limits.{name} must be at least 1")),
            }
        }
        for (name, depth) in [("any_depth", self.any_depth), ("type_depth", self.type_depth)] {
            if depth > DEEPEST {
                return invalid(format!(
                    "limits.{name} must be at most {DEEPEST}: deeper nesting overflows the stack inside the \
                     document engine, which ends the process"
                ));
            }
        }
        if self.message_bytes > self.large_pool_bytes {
            return invalid(format!(
                "limits.message_bytes ({}) must be at most limits.large_pool_bytes ({}): a larger message could \
                 never get its share",
                self.message_bytes, self.large_pool_bytes
            ));
        }
        // A message waits in its frame, and is to be echoed in it.
        if self.message_bytes > self.waiting_pool_bytes / 2 {
            return invalid(format!(
                "limits.message_bytes ({}) must be at most half of limits.waiting_pool_bytes ({}): a larger message \
                 could never wait for its document",
                self.message_bytes, self.waiting_pool_bytes
            ));
        }
        Ok(())
    }

    /// Returns what an open document is bounded by.
    pub fn sync_settings(&self) -> syncline_sync::Settings {
        syncline_sync::Settings {
            limits: self.checker(),
            document_bytes: self.document_bytes,
            pending_bytes: self.pending_bytes,
            waiting_bytes: self.waiting_bytes,
            waiting_pool: Arc::new(Budget::new(self.waiting_pool_bytes, self.large_message_bytes)),
            heavy_bytes: self.heavy_bytes,
            heavy_work: self.heavy_work,
            heavy_document_bytes: self.heavy_document_bytes,
            busy_ms: self.busy_ms,
            evict_after_ms: self.evict_after_ms,
            fold_updates: self.fold_updates,
            fold_bytes: usize::try_from(self.fold_bytes).unwrap_or(usize::MAX),
            awareness_timeout_ms: self.awareness_timeout_ms,
            status_every_ms: self.status_every_ms,
            side_every_ms: self.side_every_ms,
            hidden_every_ms: self.hidden_every_ms,
            culprit_ms: self.culprit_ms,
            heals: self.heals,
            too_big_ms: self.too_big_ms,
            reload_after_ms: self.reload_after_ms,
            step1_burst: self.step1_burst,
            step1_every_ms: self.step1_every_ms,
            devices: self.devices,
        }
    }

    /// Returns how the commit thread works.
    pub fn writer_options(&self) -> WriterOptions {
        WriterOptions {
            queue_entries: self.journal_queue_entries,
            queue_bytes: self.journal_queue_bytes,
            pace_us: self.commit_pace_us,
            ..WriterOptions::default()
        }
    }

    /// Returns how the store on disk works.
    pub fn store_options(&self) -> SledOptions {
        SledOptions {
            cache_bytes: self.cache_bytes,
            reserve_bytes: self.reserve_bytes,
            min_free_bytes: self.min_free_bytes,
        }
    }

    /// Returns how the search index works.
    pub fn search_options(&self) -> syncline_search::Options {
        syncline_search::Options {
            commit_ms: self.search_commit_ms,
            queue_bytes: self.search_queue_bytes,
            writer_bytes: self.search_writer_bytes,
            search_ms: self.search_ms,
            search_texts: self.search_texts,
            ..syncline_search::Options::default()
        }
    }

    /// Returns how much journal a document may gather.
    pub fn fold_bounds(&self) -> FoldBounds {
        FoldBounds {
            updates: self.fold_updates,
            bytes: self.fold_bytes,
            age_ms: self.fold_age_ms,
            journal_bytes: self.journal_bytes,
        }
    }

    /// Returns what the checker lets through.
    pub fn checker(&self) -> syncline_protocol::limits::Limits {
        syncline_protocol::limits::Limits {
            update_bytes: self.message_bytes,
            sections: self.sections,
            blocks: self.blocks,
            delete_ranges: self.delete_ranges,
            values: self.values,
            work: self.work,
            join_bytes: self.join_bytes,
            any_depth: self.any_depth,
            type_depth: self.type_depth,
            awareness_state_bytes: self.awareness_state_bytes,
            awareness_states: self.awareness_states,
            state_vector_entries: self.state_vector_entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_layers_below() {
        let settings = Limits::default().sync_settings();
        assert_eq!(format!("{settings:?}"), format!("{:?}", syncline_sync::Settings::default()));
        assert_eq!(Limits::default().writer_options(), WriterOptions::default());
        assert_eq!(Limits::default().store_options(), SledOptions::default());
        assert_eq!(Limits::default().fold_bounds(), FoldBounds::default());
        let search = syncline_search::Options { commit_ms: 500, ..syncline_search::Options::default() };
        assert_eq!(Limits::default().search_options(), search);
    }
}
