//! Every limit of the HTTP side, with unit and origin. What it hides: nothing.

use std::time::Duration;

/// Bytes of a request's body; AWS's (HTTP content length, 1 MiB and 1 KiB).
pub(crate) const BODY_BYTES_MAX: usize = 1_049_600;

/// Bytes of a request's body with raised limits; ours: a payload of 16 MiB, whose quotes are escaped within the body.
pub(crate) const BODY_BYTES_MAX_RAISED: usize = 40 * 1_048_576;

/// State machines with a concurrency limit that metrics tell of one by one; ours.
pub(crate) const LINES_TOLD_MAX: usize = 100;

/// Bytes of an oversized body that are read and thrown away, so that the client gets to read why it was refused; ours.
pub(crate) const BODY_BYTES_DISCARDED_MAX: usize = 8 * 1_048_576;

/// Bytes of a body that nobody reads, as of a request that is refused for its head, which are read and thrown away all the same;
/// ours. A body of a length above it is not read at all.
pub(crate) const UNREAD_BYTES_MAX: u64 = 32 * 1_048_576;

/// Time between two pieces of such a body, and for all of it; ours. After it the answer goes, and the connection is closed.
pub(crate) const UNREAD_SILENCE_MAX: Duration = Duration::from_secs(1);
pub(crate) const UNREAD_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of bodies of requests that are read or served at a time; ours.
pub(crate) const BODIES_BYTES_MAX: usize = 512 * 1_048_576;

/// Bytes of answers that wait for their clients; ours.
pub(crate) const ANSWERS_BYTES_MAX: usize = 512 * 1_048_576;

/// One account may hold this part of either: a half; ours.
pub(crate) const IN_FLIGHT_SHARE_MAX: usize = 2;

/// Bytes of a body or an answer that is too small to be counted; ours.
pub(crate) const IN_FLIGHT_FREE_BYTES: usize = 64 * 1_024;

/// Bytes of an answer that are given to its connection at a time; ours. A shorter one goes whole.
pub(crate) const ANSWER_PIECE_BYTES: usize = 64 * 1_024;

/// Bytes of the trace header of a start (API model).
pub(crate) const TRACE_HEADER_BYTES_MAX: usize = 256;

/// Requests that are handled at a time for each core where several tenants ask; ours (measured: docs/performance.md).
pub(crate) const REQUESTS_A_CORE: usize = 8;

/// The weight of an address that has not proved a key yet; ours, a tenant's usual one.
pub(crate) const STRANGERS_WEIGHT: u32 = 100;

/// Requests of one tenant that wait for their turn; ours. Each holds a connection, or a stream of one, anyway.
pub(crate) const REQUESTS_WAITING_MAX: usize = 8_192;

/// A request that takes longer than this, up to twice as long, waits for something and is no longer counted among those that
/// are handled; ours, above what a durable start takes.
pub(crate) const TURN_TICK: Duration = Duration::from_millis(5);

/// How long after a request its tenant counts as one that asks; ours.
pub(crate) const TENANT_RECENT: Duration = Duration::from_secs(10);

/// How often a tenant past its rate, or an address that proves no key, is told so, over all its connections; how many times at
/// once after a rest; and the longest pause before it; ours.
pub(crate) const REFUSAL_EVERY: Duration = Duration::from_millis(10);
pub(crate) const REFUSALS_AT_ONCE: u32 = 100;
pub(crate) const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Refusals that wait to be told at a time; ours. Each holds a connection, or a stream of one.
pub(crate) const REFUSALS_PAUSED_MAX: i64 = 10_000;

/// Those of whose refusals something is remembered; ours.
pub(crate) const REFUSED_KEPT_MAX: usize = 10_000;

/// Pages of histories that are put together, and forks that are made, at a time; ours. Each may have 33 MB, and as much again while it is written.
pub(crate) const HISTORY_PAGES_MAX: usize = 8;

/// Bytes of a request's body that brings code: Lambda's for CreateFunction.
pub(crate) const FUNCTION_BODY_BYTES_MAX: usize = 70_167_211;

/// Bytes of any other request's body to the function service: Lambda's payload (6 MB), and as much again so that one that
/// is too large is told by its own error.
pub(crate) const INVOCATION_BODY_BYTES_MAX: usize = 2 * 6_291_456;

/// Bytes of a package; Lambda's (50 MB, zipped, for direct upload).
pub(crate) const PACKAGE_BYTES_MAX: usize = 52_428_800;

/// Bytes of a `.wasm` in a package; the sandbox's for a plugin's file.
pub(crate) const WASM_BYTES_MAX: usize = 100 << 20;

/// Files of an archive that are looked at; ours.
pub(crate) const ZIP_ENTRIES_MAX: usize = 1_000;

/// Bytes of the comment behind an archive (the format's).
pub(crate) const ZIP_COMMENT_BYTES_MAX: usize = 65_535;

/// Seconds that a function's call may take: when nothing is said, and at most; Lambda's.
pub(crate) const FUNCTION_TIMEOUT_S: u32 = 3;
pub(crate) const FUNCTION_TIMEOUT_S_MAX: u32 = 900;

/// MiB of a function's memory: when nothing is said, at least and at most; Lambda's.
pub(crate) const FUNCTION_MEMORY_MB: u32 = 128;
pub(crate) const FUNCTION_MEMORY_MB_MIN: u32 = 128;
pub(crate) const FUNCTION_MEMORY_MB_MAX: u32 = 10_240;

/// MiB of a function's temporary storage, which none has here; Lambda's.
pub(crate) const EPHEMERAL_MB_MIN: i64 = 512;
pub(crate) const EPHEMERAL_MB_MAX: i64 = 10_240;

/// Characters of the name of the log group that a function is told to log to; Lambda's.
pub(crate) const LOG_GROUP_CHARS_MAX: usize = 512;

/// Bytes of a function's environment variables, names and values; Lambda's (4 KB).
pub(crate) const FUNCTION_ENVIRONMENT_BYTES_MAX: usize = 4_096;

/// Bytes of a form that nobody signed, read to tell in whose words it is refused; ours, above the calls that are made by hand.
pub(crate) const UNSIGNED_FORM_BYTES_MAX: usize = 8 * 1024;

/// Time for such a form; ours: it comes with the request's head or in the next packet.
pub(crate) const UNSIGNED_FORM_TIME_MAX: Duration = Duration::from_millis(500);

/// Time for the whole body of a request; ours.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Time for a request's head, from its first byte or the connection's start; ours.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(20);

/// Time between an answer and the connection's next request; ours, above the 60 s after which SDKs drop idle connections
/// themselves, and above `BODY_TIME_MAX`.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(75);

/// Time in which a client has to take something of an answer that fills its connection; ours.
pub(crate) const ANSWER_STALL_MAX: Duration = Duration::from_secs(60);

/// Open connections; ours. One more takes the place of the one that has asked nothing for longest.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;

/// One address may hold this part of all connections: a half; ours.
pub(crate) const PEER_SHARE_MAX: usize = 2;

/// Time for a TLS handshake, from the connection's start; ours.
pub(crate) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// TLS handshakes at a time; ours. One more takes the place of the one that began first.
pub(crate) const HANDSHAKES_MAX: usize = 1_024;

/// Silent connections that are dropped at a time when there are no file descriptors; ours.
pub(crate) const ACCEPT_SHED: usize = 32;

/// Pause after an accept that found no file descriptor, in which dropped connections are closed; ours.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Time that requests in progress get to end once shutdown was asked for; ours.
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// How long GetActivityTask waits for a task; AWS's.
pub(crate) const ACTIVITY_POLL_TIME: Duration = Duration::from_secs(60);

/// Items of a list that are asked for in an unsigned `maxResults` of the JSON API; AWS's for the calls beneath.
pub(crate) const PAGE_ITEMS_MAX: u32 = 1_000;

/// Items of a page when nothing is said; AWS's too.
pub(crate) const PAGE_ITEMS_USUAL: u32 = 100;

/// Age to which what is kept of an EXPRESS execution is told, from its start, and how often what is older is dropped; ours.
pub(crate) const EXPRESS_AGE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
pub(crate) const EXPRESS_SWEEP_MS: u64 = 60_000;

/// Bytes of memory that the events of one EXPRESS execution take at most; its first ones go then. Ours.
pub(crate) const EXPRESS_BYTES_EACH_MAX: u64 = 1 << 20;

/// Rows of an answer to GetUsage; ours.
pub(crate) const USAGE_ROWS_MAX: u32 = 1_000;

/// Characters of a qualifier of a function: a version or an alias; AWS's.
pub(crate) const QUALIFIER_CHARS_MAX: usize = 128;

/// Diagnostics of ValidateStateMachineDefinition; AWS's, also when 0 is asked for.
pub(crate) const DIAGNOSTICS_MAX: usize = 100;

/// Silence after which a live watch sends a comment, so that proxies keep it open; ours.
pub(crate) const WATCH_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Messages of a live stream that wait for its client; ours. What is read at a time of a history and is small is not counted among
/// the answers that wait, so they are few.
pub(crate) const STREAM_MESSAGES_MAX: usize = 4;

/// A live stream ends when its client takes none of them for so long; ours.
pub(crate) const STREAM_SLOW_TIME_MAX: Duration = Duration::from_secs(30);

/// A live stream ends after so long, so that whoever listens proves his key again; ours.
pub(crate) const STREAM_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Live streams of an account at a time; ours. Each is a connection, a task, and a look at whatever is new.
pub(crate) const STREAMS_OF_ACCOUNT_MAX: usize = 1_000;

/// Characters of `Last-Event-ID`; ours, above those of any that the server gives.
pub(crate) const STREAM_PLACE_CHARS_MAX: usize = 128;

/// Characters of what a request is about in the audit log, the rest is cut off; ours. A refused request names what it likes.
pub(crate) const AUDIT_RESOURCE_CHARS_MAX: usize = 1_024;

/// Characters of a region's name in a credential scope; ours. Anything longer is no region.
pub(crate) const REGION_CHARS_MAX: usize = 32;

/// How far the time of signing and the server's may be apart, seconds; AWS's (5 minutes).
pub(crate) const CLOCK_SKEW_SECONDS_MAX: i64 = 300;

/// How long a presigned request may hold, seconds; AWS's (a week).
pub(crate) const PRESIGNED_SECONDS_MAX: i64 = 604_800;

/// How long a session may last that GetSessionToken begins, seconds; AWS's (15 minutes to 36 hours, 12 when not said).
pub(crate) const SESSION_SECONDS_MIN: i64 = 900;
pub(crate) const SESSION_SECONDS_MAX: i64 = 129_600;
pub(crate) const SESSION_SECONDS: i64 = 43_200;

/// The same of AssumeRole, seconds; AWS's (12 hours at most, one hour when not said, and at most when a session asks).
pub(crate) const ROLE_SESSION_SECONDS_MAX: i64 = 43_200;
pub(crate) const ROLE_SESSION_SECONDS: i64 = 3_600;

/// How long an access key is kept in memory; ours. A key that is disabled in a database counts no longer than this.
pub(crate) const KEY_AGE_MAX: Duration = Duration::from_secs(5);

/// Access keys kept in memory; ours.
pub(crate) const KEYS_KEPT_MAX: usize = 10_000;

/// Appends of events that wait for the log of executions; ours. What comes meanwhile is dropped and counted.
pub(crate) const LOG_QUEUE_MAX: usize = 8_192;

/// Bytes of a file of the log of executions before it is put aside; ours.
pub(crate) const LOG_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Files of it that are put aside before the oldest is replaced; ours.
pub(crate) const LOG_FILES: u32 = 4;

/// State machines with series of their own in `/metrics`; ours. An account has series for as many as are left for others,
/// so that none of them takes all, and for so many whatever others have. All else is counted as its `other`.
pub(crate) const METRIC_MACHINES_MAX: usize = 2_000;
pub(crate) const METRIC_MACHINES_MIN: usize = 10;

/// Executions whose attempts are measured at a time; ours. Attempts of others are counted alone.
pub(crate) const METRIC_ATTEMPTS_MAX: usize = 160_000;

/// Appends of events that wait to become spans and log records; ours. What comes meanwhile is dropped and counted.
pub(crate) const OTLP_EVENTS_QUEUE_MAX: usize = 8_192;

/// Spans, or log records, that wait to be sent; ours, and a bound of their bytes. What comes meanwhile is dropped and
/// counted.
pub(crate) const OTLP_QUEUE_MAX: usize = 32_768;
pub(crate) const OTLP_QUEUE_BYTES_MAX: usize = 32 << 20;

/// Spans, or log records, of a request to a collector; ours, and a bound of their bytes that one alone may pass.
pub(crate) const OTLP_BATCH_MAX: usize = 2_048;
pub(crate) const OTLP_BATCH_BYTES_MAX: usize = 2 << 20;

/// How long spans and log records wait for more before they are sent; ours (OpenTelemetry's batch processors: 5 s and 1 s).
pub(crate) const OTLP_DELAY: Duration = Duration::from_secs(1);

/// Tries of a request to a collector before its batch is given up, the pause before the second one, which doubles, and at
/// most; ours.
pub(crate) const OTLP_TRIES_MAX: u32 = 6;
pub(crate) const OTLP_PAUSE: Duration = Duration::from_millis(500);
pub(crate) const OTLP_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a shutdown waits for a collector, and for webhooks; ours.
pub(crate) const SENDING_TIME_MAX: Duration = Duration::from_secs(3);

/// Executions whose open spans are in memory; ours. Those of others are read from their histories again.
pub(crate) const TRACED_EXECUTIONS_MAX: usize = 20_000;

/// Characters of an error's cause in a span's status; ours.
pub(crate) const SPAN_MESSAGE_CHARS_MAX: usize = 1_024;

/// Time to connect to a collector or a webhook; ours.
pub(crate) const SENDING_CONNECT_MAX: Duration = Duration::from_secs(5);

/// Bytes that are read of the answer of a collector; ours.
pub(crate) const SENDING_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Events of an account that wait for webhooks; ours. They are in the store and, some 300 bytes each, in memory. What comes
/// meanwhile is dropped and counted.
pub(crate) const WEBHOOK_WAITING_MAX: usize = 100_000;

/// Events of all accounts that wait for webhooks on a node, and how many an account may have all the same when there are as
/// many; ours.
pub(crate) const WEBHOOK_WAITING_ALL_MAX: usize = 500_000;
pub(crate) const WEBHOOK_WAITING_MIN: usize = 1_000;

/// Requests to a webhook at a time, of all accounts and of one; ours. Each is of another execution.
pub(crate) const WEBHOOK_REQUESTS_MAX: usize = 32;
pub(crate) const WEBHOOK_TENANT_REQUESTS_MAX: usize = 8;

/// Of these, so many are of events that failed before, or of accounts whose events fail; ours.
pub(crate) const WEBHOOK_RETRIES_MAX: usize = 16;
pub(crate) const WEBHOOK_TENANT_RETRIES_MAX: usize = 4;

/// After so many tries in a row that failed, an account's events are tried one at a time, with pauses; ours.
pub(crate) const WEBHOOK_FAILING_AFTER: u32 = 16;

/// Events that are dropped for their age at a time; ours.
pub(crate) const WEBHOOK_EXPIRED_AT_A_TIME: usize = 1_000;

/// Events that are done with and remembered as such, so that a late look into the store brings none of them again; ours.
pub(crate) const WEBHOOK_SETTLED_KEPT: usize = 65_536;

/// Events that are forgotten in one write; ours.
pub(crate) const WEBHOOK_SETTLED_AT_A_TIME: usize = 1_000;

/// How soon a write that forgets events is tried again, and how often the log says that events are dropped; ours.
pub(crate) const WEBHOOK_SETTLE_AGAIN: Duration = Duration::from_secs(1);
pub(crate) const WEBHOOK_WARN_EVERY: Duration = Duration::from_secs(60);

/// Webhooks of an installation; ours.
pub(crate) const WEBHOOKS_MAX: usize = 100;

/// Bytes of input and output together that an event carries; EventBridge's for these events (248 KiB).
pub(crate) const WEBHOOK_DATA_BYTES_MAX: usize = 248 * 1024;

/// Time for a webhook's answer; ours.
pub(crate) const WEBHOOK_ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long an event waits for its receiver (EventBridge: 24 hours), the pause before the second try, which doubles, and at
/// most; ours.
pub(crate) const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(86_400);
pub(crate) const WEBHOOK_PAUSE: Duration = Duration::from_millis(500);
pub(crate) const WEBHOOK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Dates of a schedule, seconds since 1970: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, what RFC 3339 can write (ours; the
/// API model has no bounds).
pub(crate) const SCHEDULE_DATE_S_MIN: f64 = -62_135_596_800.0;
pub(crate) const SCHEDULE_DATE_S_MAX: f64 = 253_402_300_799.0;

/// Schedules of a page (API model of Scheduler).
pub(crate) const SCHEDULES_PAGE_MAX: u32 = 100;

/// Seconds after its time that a run may be started in, and how often its start is tried again, when nothing is said (API
/// model of Scheduler).
pub(crate) const SCHEDULE_AGE_S: u32 = 86_400;
pub(crate) const SCHEDULE_RETRIES: u32 = 185;

/// Events of one PutEvents (API model of EventBridge), and of one batch of CloudEvents (ours).
pub(crate) const EVENTS_MAX: usize = 10;
pub(crate) const CLOUD_EVENTS_MAX: usize = 100;

/// Rules of a page (API model of EventBridge).
pub(crate) const RULES_PAGE_MAX: u32 = 100;

/// Characters of the id of a statement of a function's policy; AWS's.
pub(crate) const STATEMENT_ID_CHARS_MAX: usize = 100;

/// Characters that the refusal of a text of one repeats (ours).
pub(crate) const REFUSED_CHARS_SHOWN: usize = 256;
