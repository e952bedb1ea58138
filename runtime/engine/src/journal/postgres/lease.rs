//! Leases by the database's clock. A takeover updates the row that appends hold shared: it waits for those in flight,
//! and later ones find a newer epoch. Renewals touch only the term, so they never wait for appends.

use stepwell_interp::Timestamp;
use tokio_postgres::Error;

use super::{
    commit::{described, is_conflict},
    session::{Link, Session},
    value::partition,
};
use crate::journal::{Epoch, Lease, Partition, ReadError, limits::CONFLICT_ATTEMPTS_MAX};

pub(super) async fn lease(
    link: &Link,
    owner: &str,
    wanted: &[Partition],
    ttl_ms: u64,
) -> Result<Vec<Lease>, ReadError> {
    let mut wanted: Vec<i32> = wanted
        .iter()
        .map(|partition| i32::from(partition.0))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut attempt = 1;
    loop {
        let session = link
            .session()
            .await
            .map_err(|error| ReadError::Unreadable(described(&error)))?;
        let error = match attempt_once(&session, owner, &wanted, ttl_ms).await {
            Ok(leases) => return Ok(leases),
            Err(error) => error,
        };
        if session.control("ROLLBACK").await.is_err() {
            link.abandon().await;
        }
        if !is_conflict(&error) || attempt == CONFLICT_ATTEMPTS_MAX {
            return Err(ReadError::Unreadable(described(&error)));
        }
        attempt += 1;
    }
}

async fn attempt_once(
    session: &Session,
    owner: &str,
    wanted: &[i32],
    ttl_ms: u64,
) -> Result<Vec<Lease>, Error> {
    session.control("BEGIN").await?;
    let sql = "INSERT INTO terms SELECT partition, NULL, 0 FROM unnest($1::integer[]) AS wanted (partition)
        WHERE NOT EXISTS (SELECT 1 FROM terms WHERE terms.partition = wanted.partition)
        ORDER BY partition ON CONFLICT DO NOTHING";
    session.run(sql, &[&wanted]).await?;
    // The clock is read after the locks: what was waited for counts.
    let sql = "SELECT partition, owner, until FROM terms WHERE owner = $1 OR partition = ANY($2)
        ORDER BY partition FOR UPDATE";
    let terms = session.rows(sql, &[&owner, &wanted]).await?;
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let now: i64 = session
        .rows(sql, &[])
        .await?
        .first()
        .map_or(0, |row| row.get(0));

    let (mut held, mut taken) = (Vec::new(), Vec::new());
    for row in &terms {
        let (partition, holder, until): (i32, Option<&str>, i64) =
            (row.get(0), row.get(1), row.get(2));
        if holder == Some(owner) {
            held.push(partition);
        } else if holder.is_none() || until <= now {
            taken.push(partition);
        }
    }
    held.extend(&taken);
    held.sort_unstable();
    let until = now.saturating_add_unsigned(ttl_ms);
    session
        .run(
            "UPDATE terms SET owner = $1, until = $2 WHERE partition = ANY($3)",
            &[&owner, &until, &held],
        )
        .await?;
    let sql = "INSERT INTO leases SELECT partition, 1 FROM unnest($1::integer[]) AS taken (partition) ORDER BY partition
        ON CONFLICT (partition) DO UPDATE SET epoch = leases.epoch + 1";
    session.run(sql, &[&taken]).await?;
    let rows = session
        .rows(
            "SELECT partition, epoch FROM leases WHERE partition = ANY($1)",
            &[&held],
        )
        .await?;
    session.control("COMMIT").await?;

    let until = Timestamp(until.cast_unsigned());
    let lease = |row: &tokio_postgres::Row| Lease {
        partition: partition(row.get(0)),
        epoch: Epoch(row.get::<_, i64>(1).cast_unsigned()),
        until,
    };
    let mut leases: Vec<Lease> = rows.iter().map(lease).collect();
    leases.sort_unstable_by_key(|lease| lease.partition);
    Ok(leases)
}

pub(super) async fn release(link: &Link, owner: &str) -> Result<(), ReadError> {
    let failed = |error: Error| ReadError::Unreadable(described(&error));
    let session = link.session().await.map_err(failed)?;
    session
        .run(
            "UPDATE terms SET owner = NULL, until = 0 WHERE owner = $1",
            &[&owner],
        )
        .await
        .map_err(failed)?;
    Ok(())
}
