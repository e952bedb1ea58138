//! The tables of the PostgreSQL journal. Hides their making and the settings of a session.

use tokio_postgres::Client;

/// The format this version writes.
pub(super) const FORMAT: i64 = 4;

/// Serialises the making of tables by several nodes that start at once: `STPW`.
const ADVISORY_KEY: i64 = 0x5354_5057;

/// Terms are apart from leases: renewing one must not wait for the appends that hold the lease's row, while a takeover
/// must. Text that is compared has the C collation, so that all stores have one order.
const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS meta (key text PRIMARY KEY, value bigint NOT NULL);

CREATE TABLE IF NOT EXISTS leases (partition integer PRIMARY KEY, epoch bigint NOT NULL);
CREATE TABLE IF NOT EXISTS terms (partition integer PRIMARY KEY, owner text, until bigint NOT NULL);

CREATE TABLE IF NOT EXISTS executions (
    id bigint PRIMARY KEY, partition integer NOT NULL, next bigint NOT NULL, next_public bigint NOT NULL,
    status smallint NOT NULL, hot boolean NOT NULL, wake_at bigint, stopped_at bigint, redrive_count bigint NOT NULL,
    redriven_at bigint, scope bigint NOT NULL, name text COLLATE "C" NOT NULL, unique_name boolean NOT NULL,
    started_at bigint NOT NULL, meta bytea NOT NULL);
CREATE INDEX IF NOT EXISTS executions_listed ON executions (scope, id);
CREATE INDEX IF NOT EXISTS executions_by_status ON executions (scope, status, id);
CREATE UNIQUE INDEX IF NOT EXISTS executions_unique ON executions (scope, name) WHERE unique_name;
CREATE INDEX IF NOT EXISTS executions_named ON executions (scope, name, id) WHERE NOT unique_name;
CREATE INDEX IF NOT EXISTS executions_hot ON executions (id) WHERE hot;
CREATE INDEX IF NOT EXISTS executions_due ON executions (wake_at, id) WHERE wake_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS segments (
    execution bigint NOT NULL, first bigint NOT NULL, events bigint NOT NULL, first_public bigint NOT NULL,
    public bigint NOT NULL, bytes bytea NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS segments_placed ON segments (execution, first) INCLUDE (events, first_public, public);

CREATE TABLE IF NOT EXISTS tasks (
    token bytea PRIMARY KEY, execution bigint NOT NULL, task bytea NOT NULL, activity bigint,
    scheduled_at bigint NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_queued ON tasks (activity, scheduled_at, token) WHERE activity IS NOT NULL;

CREATE TABLE IF NOT EXISTS inboxes (partition integer PRIMARY KEY, last bigint NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id bigint PRIMARY KEY, partition integer NOT NULL, recipient bigint NOT NULL, payload bytea NOT NULL);
CREATE INDEX IF NOT EXISTS messages_read ON messages (partition, id);
CREATE INDEX IF NOT EXISTS messages_addressed ON messages (recipient, id);

CREATE TABLE IF NOT EXISTS records (
    tenant text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
    revision bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (tenant, kind, name));

CREATE TABLE IF NOT EXISTS blobs (hash bytea PRIMARY KEY, bytes bytea NOT NULL);
"#;

/// What version 2 added: the lists of versions and aliases. Partial, since most executions are in neither.
const LISTS: &str = "
ALTER TABLE executions ADD COLUMN IF NOT EXISTS version bigint, ADD COLUMN IF NOT EXISTS alias bigint;
CREATE INDEX IF NOT EXISTS executions_of_version ON executions (version, id) WHERE version IS NOT NULL;
CREATE INDEX IF NOT EXISTS executions_of_version_by_status ON executions (version, status, id)
    WHERE version IS NOT NULL;
CREATE INDEX IF NOT EXISTS executions_of_alias ON executions (alias, id) WHERE alias IS NOT NULL;
CREATE INDEX IF NOT EXISTS executions_of_alias_by_status ON executions (alias, status, id) WHERE alias IS NOT NULL;
UPDATE meta SET value = 2 WHERE key = 'format';
";

/// What version 3 added: usage.
const USAGE: &str = r#"
CREATE TABLE IF NOT EXISTS usage (
    day bigint NOT NULL, tenant text COLLATE "C" NOT NULL, machine text COLLATE "C" NOT NULL,
    plugin text COLLATE "C" NOT NULL, executions bigint NOT NULL, redrives bigint NOT NULL, ended bigint NOT NULL,
    transitions bigint NOT NULL, tasks bigint NOT NULL, cpu_micros bigint NOT NULL, memory_time bigint NOT NULL,
    bytes_in bigint NOT NULL, bytes_out bigint NOT NULL, bytes_stored bigint NOT NULL,
    PRIMARY KEY (day, tenant, machine, plugin));
UPDATE meta SET value = 3 WHERE key = 'format';
"#;

/// What version 4 added: what plugins do with their host.
const HOST_USE: &str = "
ALTER TABLE usage ADD COLUMN IF NOT EXISTS fuel bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS host_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS bytes_sent bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS bytes_received bigint NOT NULL DEFAULT 0;
UPDATE meta SET value = 4 WHERE key = 'format';
";

/// Makes the schema and its tables where they are missing, and answers the format they have.
pub(super) async fn prepare(client: &Client, schema: &str) -> Result<i64, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    client
        .execute("SELECT pg_advisory_xact_lock($1)", &[&ADVISORY_KEY])
        .await?;
    client
        .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)))
        .await?;
    let sql = "SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = $1 AND table_name = 'meta')";
    if !client.query_one(sql, &[&schema]).await?.get::<_, bool>(0) {
        client.batch_execute(TABLES).await?;
    }
    client
        .execute(
            "INSERT INTO meta VALUES ('format', 1) ON CONFLICT DO NOTHING",
            &[],
        )
        .await?;
    let stored = "SELECT value FROM meta WHERE key = 'format'";
    let mut format = client.query_one(stored, &[]).await?.get(0);
    if format == 1 {
        client.batch_execute(LISTS).await?;
        format = 2;
    }
    if format == 2 {
        client.batch_execute(USAGE).await?;
        format = 3;
    }
    if format == 3 {
        client.batch_execute(HOST_USE).await?;
        format = FORMAT;
    }
    client.batch_execute("COMMIT").await?;
    Ok(format)
}

/// Settings that every session needs. A commit that does not wait for the log would break every promise made above.
pub(super) async fn configure(client: &Client, schema: &str) -> Result<(), tokio_postgres::Error> {
    let sql = format!(
        "SET search_path TO {};
         SET default_transaction_isolation TO 'read committed';
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        quoted(schema)
    );
    client.batch_execute(&sql).await
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
