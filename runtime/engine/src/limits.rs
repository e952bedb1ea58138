//! Every bound of the engine, with unit and origin. AWS's own limits on values and histories are the interpreter's.

use std::time::Duration;

/// Characters of a name of a state machine, execution or activity (API model).
pub(crate) const NAME_CHARS_MAX: usize = 80;

/// Bytes of an execution's input and of a task's output, UTF-8 (API model: 262,144), strict.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 262_144;

/// The same beyond AWS's walls: 16 MiB.
pub(crate) const PAYLOAD_BYTES_MAX_RAISED: usize = 16 * 1024 * 1024;

/// Bytes of inputs and outputs in the events that a fork begins with (ours): they are written in one append, and a large
/// value that the store has is not written again.
pub(crate) const FORK_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Starts and ends of executions that are remembered for who listens to their state machines, of all together (ours).
pub(crate) const FEED_CHANGES_MAX: usize = 16_384;

/// Of these, so many are given to a listener at a time (ours).
pub(crate) const FEED_PAGE_MAX: usize = 100;

/// Batches of events that wait in memory for who watches an execution (ours); the store has what finds no room.
pub(crate) const WATCH_BATCHES_MAX: usize = 16;

/// Bytes of payloads of such a batch (ours); a larger one is read from the store.
pub(crate) const WATCH_BATCH_BYTES_MAX: u64 = 256 * 1024;

/// Events that are read at a time for who watches an execution, and bytes of their payloads (ours).
pub(crate) const WATCH_PAGE_MAX: usize = 256;
pub(crate) const WATCH_PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// After so long without news who watches looks into the store: another node may serve the execution (ours).
pub(crate) const WATCH_LOOK: Duration = Duration::from_secs(5);

/// Synchronous executions that run inside tasks of others, of one account at a time, strict (ours): each waits in memory with
/// the task that called it, and may call another.
pub(crate) const NESTED_SYNC_MAX: u64 = 1_000;

/// The same beyond AWS's walls.
pub(crate) const NESTED_SYNC_MAX_RAISED: u64 = 10_000;

/// A tenant's weight at most, and when none is set; ours: a hundred times less and ten times more than usual can be said.
pub(crate) const WEIGHT_MAX: u32 = 1_000;
pub(crate) const WEIGHT_USUAL: u32 = 100;

/// Bytes of log in `LogResult`, before base64 (Lambda's `LogType: "Tail"`: the last 4 KB).
pub(crate) const LOG_RESULT_BYTES_MAX: usize = 4_096;

/// Characters of a task token: base64url of the interpreter's random bytes (the API model allows 2,048).
pub(crate) const TOKEN_CHARS: usize = stepwell_interp::TOKEN_BYTES.div_ceil(3) * 4;

/// Items of a page when the caller names no number (API model: 0 means 100).
pub(crate) const PAGE_DEFAULT: u32 = 100;

/// A page token works for a day (API reference: tokens expire after 24 hours).
pub(crate) const PAGE_TOKEN_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Items of a page at most (API model).
pub(crate) const PAGE_MAX: u32 = 1_000;

/// Characters of a function's name: a plugin's.
pub(crate) const FUNCTION_NAME_CHARS_MAX: usize = 64;

/// Characters of the name of a function's alias (API model).
pub(crate) const FUNCTION_ALIAS_CHARS_MAX: usize = 128;

/// Versions of a function (ours; they are kept in one record), strict.
pub(crate) const FUNCTION_VERSIONS_MAX: usize = 1_000;

/// The same beyond AWS's walls.
pub(crate) const FUNCTION_VERSIONS_MAX_RAISED: usize = 10_000;

/// Aliases of a function (ours).
pub(crate) const FUNCTION_ALIASES_MAX: usize = 100;

/// Bytes of the policy of a function, a version or an alias (AWS quota: 20 KB).
pub(crate) const FUNCTION_POLICY_BYTES_MAX: usize = 20_480;

/// Policies of a function, its own and those of its versions and aliases (ours; they are kept in one record).
pub(crate) const FUNCTION_POLICIES_MAX: usize = 20;

/// Bytes of the packages of an account's functions (AWS quota: 75 GB of function and layer storage), strict.
pub(crate) const CODE_BYTES_MAX: u64 = 75 * 1024 * 1024 * 1024;

/// The same beyond AWS's walls.
pub(crate) const CODE_BYTES_MAX_RAISED: u64 = 10 * CODE_BYTES_MAX;

/// Records of functions that are read at a time; one with all its versions has half a megabyte.
pub(crate) const FUNCTION_RECORDS_READ_MAX: u32 = 32;

/// How long no function must have had code before it is removed: longer than a task of another node may wait for its
/// place at the compiler, and than an upload that was meant to go back takes.
pub(crate) const CODE_GRACE: Duration = Duration::from_secs(3_600);

/// The shortest such time where executions run: an upload keeps its code a moment before its function has it.
pub(crate) const CODE_GRACE_MIN: Duration = Duration::from_secs(60);

/// After the start, and then so often, unused code is looked for.
pub(crate) const CODE_COLLECT_AFTER: Duration = Duration::from_secs(60);
pub(crate) const CODE_COLLECT_EVERY: Duration = Duration::from_secs(600);

/// The pause between two steps of it, the codes that one removes and the accounts that one looks at: 50 MB is the largest
/// upload, and the store's only writer removes it.
pub(crate) const CODE_COLLECT_PAUSE: Duration = Duration::from_secs(1);
pub(crate) const CODE_STEP_MAX: usize = 4;
pub(crate) const CODE_STEP_TENANTS_MAX: usize = 100;

/// Codes that one call removes.
pub(crate) const CODE_COLLECTED_MAX: usize = 1_000;

/// Functions and names that are none, in memory.
pub(crate) const FUNCTIONS_KNOWN_MAX: usize = 10_000;

/// How long they count where other nodes may change them.
pub(crate) const FUNCTIONS_KNOWN_AGE_MAX: Duration = Duration::from_secs(5);

/// Kept of what one attempt of a task logs and prints: what the sandbox keeps of each by default.
pub(crate) const ATTEMPT_LOG_BYTES_MAX: usize = 64 << 10;

/// State machines whose tags are in memory for the limits that they set.
pub(crate) const TASK_LIMITS_KNOWN_MAX: usize = 10_000;

/// How long they count: other nodes may change them.
pub(crate) const TASK_LIMITS_AGE_MAX: Duration = Duration::from_secs(5);

/// How often a call that nobody waits for is tried again (Lambda: twice), and seconds before the first time (Lambda: 1
/// minute, then 2).
pub(crate) const EVENT_RETRIES_MAX: u32 = 2;
pub(crate) const EVENT_RETRY_AFTER_S: u32 = 60;

/// The same of one that finds no place: after a second at most, then after twice as long at most each time, up to 5 minutes.
/// Each wait is drawn anew and is half of its most in the mean, so that it comes to Lambda's 6 hours in all.
pub(crate) const EVENT_FULL_RETRIES_MAX: u32 = 151;
pub(crate) const EVENT_FULL_RETRY_AFTER_S: u32 = 1;
pub(crate) const EVENT_FULL_RETRY_AFTER_S_MAX: u32 = 300;

/// Versions of a state machine (AWS quota: 1,000), strict.
pub(crate) const VERSIONS_MAX: u32 = 1_000;

/// The same beyond AWS's walls; a machine's deletion deletes them in one write.
pub(crate) const VERSIONS_MAX_RAISED: u32 = 10_000;

/// Aliases of a state machine (AWS quota: 100), strict.
pub(crate) const ALIASES_MAX: u32 = 100;

/// The same beyond AWS's walls; they are read at once.
pub(crate) const ALIASES_MAX_RAISED: u32 = 1_000;

/// What the weights of an alias add up to (API model).
pub(crate) const ALIAS_WEIGHTS: u32 = 100;

/// Executions that a state machine's deletion stops at a time (ours), in one commit: a machine with fewer running is gone when
/// the call is answered.
pub(crate) const DELETION_STOPS_MAX: u32 = 128;

/// Deletions that stop executions at the same time (ours), all others wait for their turn.
pub(crate) const DELETIONS_AT_A_TIME: usize = 4;

/// How long a deletion waits for the executions that it asked to stop before it asks more (ours), and how often it looks: one of
/// them may be damaged, and never end.
pub(crate) const DELETION_STOP_TIME: Duration = Duration::from_secs(1);
pub(crate) const DELETION_LOOK: Duration = Duration::from_millis(10);

/// How often who keeps the installation looks for deletions that nobody goes on with (ours): another node may have begun them.
pub(crate) const DELETIONS_REST: Duration = Duration::from_secs(30);

/// Tags of a resource (AWS quota: 50), strict and raised: AWS's tools count on it.
pub(crate) const TAGS_MAX: usize = 50;

/// Secrets of tasks, and connections, that an account keeps in the store (ours), strict.
pub(crate) const SEALED_MAX: usize = 500;

/// The same beyond AWS's walls.
pub(crate) const SEALED_MAX_RAISED: usize = 10_000;

/// Bytes of one of them (Secrets Manager: 65,536).
pub(crate) const SEALED_BYTES_MAX: usize = 65_536;

/// Characters of its name: a placeholder's in a request, and a connection's (API model of EventBridge).
pub(crate) const SEALED_NAME_CHARS_MAX: usize = 64;

/// Records of them that are read at a time; each may have 88 KiB.
pub(crate) const SEALED_READ_MAX: u32 = 32;

/// Records that cannot be sealed anew which are told one by one; ours. All are counted.
pub(crate) const RESEALED_TOLD_MAX: usize = 1_000;

/// Connections of the store that are kept open with their tokens (ours).
pub(crate) const CONNECTIONS_OPEN_MAX: usize = 1_000;

/// Bytes of the text of a tenant's ceiling (ours, as of a manifest).
pub(crate) const CEILING_BYTES_MAX: usize = 65_536;

/// Roles, policies or log groups of an account (IAM's usual quota of roles).
pub(crate) const COMPANIONS_MAX: usize = 1_000;

/// Attempts at a change of a machine, its versions or its aliases that other requests change at the same time.
pub(crate) const CHANGE_ATTEMPTS_MAX: u32 = 32;

/// State machines, versions and aliases in memory; the oldest goes first.
pub(crate) const STARTABLES_MAX: usize = 4_096;

/// How long a task of a state machine waits for an activity's task (API model: 60 s).
pub(crate) const ACTIVITY_POLL_TIME: Duration = Duration::from_secs(60);

/// Workers that may poll one activity at a time (AWS quota: 1,000 pollers an activity).
pub(crate) const ACTIVITY_POLLERS_MAX: usize = 1_000;

/// Open tasks of one activity that are queued in memory; the rest stays in the store until these are taken.
pub(crate) const ACTIVITY_QUEUE_MAX: usize = 10_000;

/// Activities that are known to be there without a look into the store.
pub(crate) const ACTIVITIES_KNOWN_MAX: usize = 100_000;

/// Items read for a map run at a time.
pub(crate) const ITEMS_A_PAGE_MAX: usize = 1_000;

/// Bytes of items read for a map run at a time, about.
pub(crate) const ITEMS_A_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Partitions of an installation: the most nodes it can grow to.
pub(crate) const PARTITIONS: u16 = 16;

/// Executions of a state machine that have a place at a time, where that is limited (ours): their list is written at each change.
pub(crate) const CONCURRENCY_MAX: u32 = 10_000;

/// Executions that wait for a place before one state machine (ours): they stand in memory.
pub(crate) const WAITING_MAX: usize = 100_000;

/// Characters of a key by which executions are limited; a longer one is told by its hash.
pub(crate) const KEY_CHARS_MAX: usize = 256;

/// Executions that a line lets in at a time (ours): each is told by a write of its own, and all of them at once when a limit is
/// taken away.
pub(crate) const ADMITTED_A_ROUND_MAX: usize = 1_000;

/// Lines of a shard in memory beyond which those in which nobody stands are let go of (ours).
pub(crate) const LINES_AT_REST_MAX: usize = 1_000;

/// Messages of a line that are known to be taken up.
pub(crate) const LINE_MESSAGES_SEEN_MAX: usize = 2 * WAITING_MAX;

/// How long usage that no append carries waits for another write to go with.
pub(crate) const OWED_MS_MAX: u64 = 500;

/// Large values of an execution that are remembered as stored while it is in memory.
pub(crate) const KEPT_BLOBS_MAX: usize = 8;

/// Events of an execution that are named as near a limit.
pub(crate) const NEAR_EVENTS_MAX: usize = 1_000;

/// Bytes of segments read at a time.
pub(crate) const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of payloads in a page of a history; a page that would have more is shorter than asked for.
pub(crate) const HISTORY_PAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of executions that closed a moment ago and are described without the store.
pub(crate) const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one of them; a larger one is read from the store.
pub(crate) const RECENT_ENTRY_BYTES_MAX: usize = 64 * 1024;

/// Entries of an audit log that are removed at a time (ours), in one commit, and the pause between two of these.
pub(crate) const AUDIT_REMOVED_AT_A_TIME: u32 = 256;
pub(crate) const AUDIT_REMOVAL_PAUSE: Duration = Duration::from_millis(100);

/// How often audit logs are looked through for entries that are too old (ours): they may be kept so much longer.
pub(crate) const AUDIT_REST: Duration = Duration::from_secs(3_600);

/// The last millisecond of the year 9999, since 1970-01-01 UTC: RFC 3339 writes none beyond, and clients read none.
pub(crate) const DATE_MS_MAX: u64 = 253_402_300_799_999;

/// Damaged records that are told of (ours): each is named in the log once.
pub(crate) const DAMAGED_RECORDS_MAX: usize = 10_000;

/// Rows that recovery and the waker read at a time.
pub(crate) const ROWS_MAX: u32 = 1_000;

/// An execution whose next timer is nearer than this stays in memory.
pub(crate) const EVICT_AFTER_MS: u64 = 5_000;

/// Inputs that one execution may take in a turn before its events are appended.
pub(crate) const TURN_INPUTS_MAX: usize = 256;

/// Milliseconds that the turns of a shard take before it acts on them and looks for news, and that one execution's
/// turn takes before others have theirs: an evaluation that was begun is not interrupted.
pub(crate) const TURN_MS_MAX: u64 = 5;

/// Inputs queued for a shard before calls are refused as busy.
pub(crate) const SHARD_QUEUE_MAX: usize = 65_536;

/// How long after an append of unknown fate its outbox is looked up (ours).
pub(crate) const DOUBT_AFTER: Duration = Duration::from_secs(1);

/// How long after a failed append an execution is folded anew.
pub(crate) const RELOAD_AFTER_MS: u64 = 200;

/// Attempts at starting a child execution while the store gives no answer, before its task fails.
pub(crate) const START_TRIES_MAX: u32 = 5;

/// A lease on a partition lasts this long unless renewed.
pub(crate) const LEASE_MS: u64 = 10_000;

/// How often leases are renewed.
pub(crate) const LEASE_RENEW: Duration = Duration::from_millis(3_000);

/// How long the waker rests when the store said that nothing is due before a later time.
pub(crate) const WAKER_REST_MAX: Duration = Duration::from_secs(30);

/// How soon the waker looks again while overdue executions are being loaded.
pub(crate) const WAKER_REST_MIN: Duration = Duration::from_millis(20);

/// How soon the waker looks again while what it woke before is still overdue: it may never be loaded.
pub(crate) const WAKER_REST_STUCK: Duration = Duration::from_secs(1);

/// Programs kept loaded; the least recently used one goes first.
pub(crate) const PROGRAMS_MAX: usize = 1_024;

/// How long a write that landed vouches for the store's health.
pub(crate) const HEALTH_AGE_MAX: Duration = Duration::from_secs(10);

/// How long a shard may work before it looks at its queue again and counts as well: a turn takes milliseconds, a single
/// expression a quarter of a second at most.
pub(crate) const SHARD_SILENT_MAX: Duration = Duration::from_secs(10);

/// How soon a store that refused a write is asked again.
pub(crate) const HEALTH_RETRY_MIN: Duration = Duration::from_secs(1);

/// How long a question for the store's health waits for an answer.
pub(crate) const HEALTH_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long `shutdown` lets executions go on that have something to do. What they do after that is done at the next
/// start.
pub(crate) const SHUTDOWN_WORK: Duration = Duration::from_secs(1);

/// How long `shutdown` then waits for commits in flight.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// Map runs of an account that are open at a time, strict (AWS quota).
pub(crate) const MAP_RUNS_MAX: usize = 1_000;

/// The same beyond AWS's walls (ours).
pub(crate) const MAP_RUNS_MAX_RAISED: usize = 100_000;

/// Messages that an execution or map run remembers to have taken (ours): more than the children that a map run has at a
/// time, far fewer than it may have in all.
pub(crate) const SEEN_MESSAGES_MAX: usize = 131_072;

/// How long an HTTP task may take, its token and the whole response included (developer guide: 60 s), strict.
pub(crate) const HTTP_TASK_TIME: Duration = Duration::from_secs(60);

/// The same beyond AWS's walls: as long as a function may run on AWS.
pub(crate) const HTTP_TASK_TIME_RAISED: Duration = Duration::from_secs(15 * 60);

/// How long a call of another AWS service may take, the whole reply included (ours).
pub(crate) const SERVICE_CALL_TIME: Duration = Duration::from_secs(60);

/// How long an HTTP task's connection, and its TLS handshake, may take (ours).
pub(crate) const HTTP_CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a token without `expires_in` is used (ours; RFC 6749 leaves it open).
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// How long before its end a token is used no more (ours): a request under way shall not meet its end.
pub(crate) const TOKEN_LIFE_MARGIN: Duration = Duration::from_secs(30);

/// Bytes of the answer to a request for a token (ours).
pub(crate) const TOKEN_REPLY_BYTES_MAX: usize = 64 * 1024;

/// Objects in one list of a bucket (S3).
pub(crate) const LISTED_OBJECTS_MAX: u64 = 1_000;

/// Characters of the name of a schedule or a group of them (API model).
pub(crate) const SCHEDULE_NAME_CHARS_MAX: usize = 64;

/// Groups of schedules of an account (AWS quota).
pub(crate) const SCHEDULE_GROUPS_MAX: usize = 500;

/// Records of schedules and deliveries that are read at a time; each may have an input.
pub(crate) const TRIGGER_RECORDS_READ_MAX: u32 = 32;

/// Seconds after its time that a run may still be started in, at least and at most (API model).
pub(crate) const SCHEDULE_AGE_S_MIN: u32 = 60;
pub(crate) const SCHEDULE_AGE_S_MAX: u32 = 86_400;

/// How often the start of a run, or of an event's execution, is tried again (API model).
pub(crate) const SCHEDULE_ATTEMPTS_MAX: u32 = 185;

/// Minutes of a flexible time window (API model).
pub(crate) const SCHEDULE_WINDOW_MINUTES_MAX: u32 = 1_440;

/// Characters of a trigger's description (API model of Scheduler and of EventBridge).
pub(crate) const TRIGGER_DESCRIPTION_CHARS_MAX: usize = 512;

/// Entries of a queue of what is due that are read at a time, and that are fired at a time (ours).
pub(crate) const DUE_PAGE: u32 = 256;
pub(crate) const DUE_AT_A_TIME: usize = 32;

/// Deliveries of a tenant that are read in its turn, and that are made at a time (ours).
pub(crate) const DELIVERIES_A_TURN: u32 = 64;
pub(crate) const DELIVERIES_AT_A_TIME: usize = 16;

/// How long the keeper of triggers rests when nothing is due (ours): other nodes make something due without telling it, and
/// clocks leap.
pub(crate) const TRIGGERS_REST_MAX: Duration = Duration::from_secs(1);
pub(crate) const TRIGGERS_REST_MIN: Duration = Duration::from_millis(2);

/// How often what the operator set of tenants is read again where other nodes may set it (ours).
pub(crate) const TENANTS_REREAD: Duration = Duration::from_secs(30);

/// How soon what a node does beside its leases begins again after it panicked (ours).
pub(crate) const KEEPING_REST_BROKEN: Duration = Duration::from_secs(5);

/// How soon after a look that panicked another one is taken (ours).
pub(crate) const TRIGGERS_REST_BROKEN: Duration = Duration::from_secs(5);

/// How long a look at what is due may take, or fail to come, before that is told (ours): a start waits for the store alone.
pub(crate) const TRIGGERS_SILENT_MAX: Duration = Duration::from_secs(60);

/// Requests without an HTTP trigger's secret are told to the log once in this time (ours).
pub(crate) const HTTP_DENIED_TOLD_EVERY: Duration = Duration::from_secs(10);

/// HTTP triggers of an account (ours).
pub(crate) const HTTP_TRIGGERS_MAX: usize = 1_000;

/// Seconds that an HTTP trigger waits for the end of its execution at most (ours: as long as EXPRESS executions last).
pub(crate) const HTTP_WAIT_S_MAX: u32 = 300;

/// Rules of an account and region (AWS quota: of an event bus), and targets of a rule (AWS quota).
pub(crate) const RULES_MAX: usize = 300;
pub(crate) const RULE_TARGETS_MAX: usize = 5;

/// Characters of a rule's and of a target's name (API model).
pub(crate) const RULE_NAME_CHARS_MAX: usize = 64;

/// Bytes of an event pattern (API model).
pub(crate) const PATTERN_BYTES_MAX: usize = 4_096;

/// Variables of an input transformer (AWS quota), and bytes of its template (API model).
pub(crate) const TRANSFORM_VARIABLES_MAX: usize = 100;
pub(crate) const TRANSFORM_TEMPLATE_BYTES_MAX: usize = 8_192;

/// Bytes of a schedule's expression (API model of Scheduler).
pub(crate) const SCHEDULE_EXPRESSION_BYTES_MAX: usize = 256;

/// Bytes of a target's constant input, of a path, and of a role's ARN (API model of EventBridge).
pub(crate) const TARGET_INPUT_BYTES_MAX: usize = 8_192;
pub(crate) const TARGET_PATH_BYTES_MAX: usize = 256;
pub(crate) const TRIGGER_ROLE_BYTES_MAX: usize = 1_600;

/// Bytes of what a template comes to (ours: AWS's bound on an execution's input): its variables may be the event, many times.
pub(crate) const TRANSFORMED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// Depth of an event pattern (ours).
pub(crate) const PATTERN_DEPTH_MAX: usize = 32;

/// Stars of one pattern of text (ours).
pub(crate) const WILDCARDS_MAX: usize = 32;

/// Bytes of an event (AWS quota of an entry of PutEvents: 256 KB).
pub(crate) const EVENT_BYTES_MAX: usize = 262_144;

/// What an event may be compared with until it is refused (ours): tests of patterns, of which one that reads a long text counts
/// as many as its bytes by `COMPARED_BYTES`.
pub(crate) const EVENT_COMPARISONS_MAX: u64 = 4_000_000;
pub(crate) const COMPARED_BYTES: usize = 128;

/// Bytes of all that the events of one call start (ours): they are one commit.
pub(crate) const DELIVERIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Characters of an Idempotency-Key (ours).
pub(crate) const HTTP_KEY_CHARS_MAX: usize = 255;

/// HTTP triggers whose last requests are remembered (ours).
pub(crate) const HTTP_LAST_KEPT_MAX: usize = 10_000;

/// Bytes of a note on an attempt's progress (task.wit).
pub(crate) const NOTE_BYTES_MAX: usize = 1_024;

/// Notes of an execution that are told at a time (ours), and how often who looks on is told of them (ours).
pub(crate) const NOTES_TOLD_MAX: usize = 100;
pub(crate) const NOTES_EVERY: Duration = Duration::from_millis(300);
