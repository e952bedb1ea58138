//! The audit log of a tenant: `tenant audit` in a store that no server holds, how entries are printed wherever they come from, and
//! those that commands themselves make. Hides pages.

use std::collections::VecDeque;

use serde_json::{Value, json};
use stepwell_engine::{AliasMove, AuditEntry, Audited, Engine, Error};
use uuid::Uuid;

use super::{time, told};
use crate::args::TenantPlace;
use crate::commands::{at_rest, print_more};
use crate::exit::Outcome;
use crate::host::TENANT;
use crate::table::Table;

/// What is asked for of a log.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The default account's here, and at a server that of the access key, when nobody's is named.
    pub(super) account: Option<&'a str>,
    pub(super) since: Option<jiff::Timestamp>,
    /// So many entries alone, the newest.
    pub(super) newest: Option<usize>,
    pub(super) json: bool,
}

pub(super) async fn show(asked: Asked<'_>, place: &TenantPlace) -> Outcome {
    let host = at_rest::open(place).await?;
    let shown = show_of(&host.engine, asked).await;
    host.close().await;
    shown
}

async fn show_of(engine: &Engine, asked: Asked<'_>) -> Outcome {
    let account = asked.account.unwrap_or(TENANT);
    let since = asked.since.map(|at| u64::try_from(at.as_millisecond()));
    let since = stepwell_interp::Timestamp(since.and_then(Result::ok).unwrap_or(0));
    let mut printed = Printed::new(asked);
    let mut after = None;
    loop {
        let page = engine
            .audited(account, since, after.as_deref())
            .await
            .map_err(told)?;
        let Some(last) = page.last() else {
            if after.is_none() {
                engine.check_told_of(account).await.map_err(told)?;
            }
            return printed.end(Some(account));
        };
        after = Some(last.place.to_string());
        let lines = page.into_iter().map(|Audited { at, entry, .. }| Line {
            time: time(at.0),
            entry,
        });
        if !printed.page(lines.collect())? {
            return Ok(());
        }
    }
}

/// An entry with its time.
pub(super) struct Line {
    pub(super) time: String,
    pub(super) entry: AuditEntry,
}

impl Line {
    /// Whether this was written before a request was carried out that the other one says was refused.
    fn is_begin_of(&self, refusal: &Line) -> bool {
        let (begin, end) = (&self.entry, &refusal.entry);
        begin.refused.is_none()
            && end.refused.is_some()
            && !end.request_id.is_empty()
            && (&begin.request_id, &begin.operation) == (&end.request_id, &end.operation)
    }

    fn cells(&self) -> [String; 7] {
        let entry = &self.entry;
        [
            self.time.clone(),
            entry.key.clone(),
            entry.address.clone(),
            entry.operation.clone(),
            entry.resource.clone(),
            entry.alias.as_ref().map(versions).unwrap_or_default(),
            entry.refused.clone().unwrap_or_default(),
        ]
    }

    fn json(&self) -> Value {
        let AuditEntry {
            key,
            address,
            operation,
            resource,
            alias,
            request_id,
            refused,
        } = &self.entry;
        let alias = alias
            .as_ref()
            .map(|alias| json!({"before": alias.before, "after": alias.after}));
        json!({"time": self.time, "key": key, "address": address, "operation": operation, "resource": resource, "alias": alias, "requestId": request_id, "refused": refused})
    }
}

/// `1 -> 2`; `-` is none.
fn versions(alias: &AliasMove) -> String {
    let text = |versions: &Option<String>| versions.clone().unwrap_or_else(|| "-".to_owned());
    format!("{} -> {}", text(&alias.before), text(&alias.after))
}

/// Prints a log as it comes, a page at a time; the newest entries alone when all of it has come. A request that was refused after
/// its entry was written has another one, which says so: in the table they are one line, as JSON they are as the log has them.
pub(super) struct Printed {
    table: Table,
    json: bool,
    newest: Option<usize>,
    /// At most so many.
    kept: VecDeque<Line>,
    /// The page before, whose refusals the next one may have.
    held: Vec<Line>,
    is_empty: bool,
}

impl Printed {
    pub(super) fn new(asked: Asked<'_>) -> Printed {
        Printed {
            table: Table::new(&[
                "time",
                "key",
                "address",
                "operation",
                "resource",
                "versions",
                "refused",
            ]),
            json: asked.json,
            newest: asked.newest,
            kept: VecDeque::new(),
            held: Vec::new(),
            is_empty: true,
        }
    }

    /// Takes a page, and tells whether there still is a reader.
    pub(super) fn page(&mut self, lines: Vec<Line>) -> Outcome<bool> {
        self.is_empty &= lines.is_empty();
        let lines = match self.json {
            true => lines,
            false => self.joined(lines),
        };
        self.take(lines)
    }

    /// Holds a page, with its refusals where they belong, and gives the one before.
    fn joined(&mut self, lines: Vec<Line>) -> Vec<Line> {
        let mut all = std::mem::take(&mut self.held);
        let count = all.len();
        for line in lines {
            match all.iter().rposition(|begin| begin.is_begin_of(&line)) {
                Some(begin) => all[begin].entry.refused = line.entry.refused,
                None => all.push(line),
            }
        }
        self.held = all.split_off(count);
        all
    }

    /// Prints lines, or keeps them while they are among the newest.
    fn take(&mut self, lines: Vec<Line>) -> Outcome<bool> {
        let Some(newest) = self.newest else {
            return self.print(&lines);
        };
        self.kept.extend(lines);
        let older = self.kept.len().saturating_sub(newest);
        self.kept.drain(..older);
        Ok(true)
    }

    pub(super) fn end(mut self, account: Option<&str>) -> Outcome {
        if self.is_empty {
            let whose = account.map_or("the access key's account".to_owned(), |account| {
                format!("account {account}")
            });
            say!("the audit log of {whose} has no such entries");
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        if !self.take(held)? {
            return Ok(());
        }
        let kept: Vec<Line> = std::mem::take(&mut self.kept).into();
        self.print(&kept).map(drop)
    }

    fn print(&mut self, lines: &[Line]) -> Outcome<bool> {
        if lines.is_empty() {
            return Ok(true);
        }
        if self.json {
            let text: String = lines
                .iter()
                .map(|line| format!("{}\n", line.json()))
                .collect();
            return print_more(&text);
        }
        for line in lines {
            self.table.row(line.cells());
        }
        print_more(&self.table.take(None))
    }
}

/// Makes a change once the account's audit log tells of it; what is refused then is told as well.
pub(super) async fn noted<T>(
    engine: &Engine,
    account: &str,
    operation: &str,
    resource: &str,
    change: impl Future<Output = Result<T, Error>>,
) -> Outcome<T> {
    let mut entry = AuditEntry {
        key: "-".to_owned(),
        address: "-".to_owned(),
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        alias: None,
        request_id: Uuid::new_v4().hyphenated().to_string(),
        refused: None,
    };
    engine.audit(account, &entry).await.map_err(told)?;
    let changed = change.await;
    if let Err(error) = &changed {
        entry.refused = Some(match error {
            // Codes are named as the wire names them.
            Error::Rejected { code, .. } => format!("{code:?}"),
            Error::Busy(_) => "ServiceUnavailable".to_owned(),
            Error::Held(_)
            | Error::Unopened(_)
            | Error::Unusable(_)
            | Error::Damaged(_)
            | Error::Broken(_) => "InternalFailure".to_owned(),
        });
        engine.audit(account, &entry).await.map_err(told)?;
    }
    changed.map_err(told)
}

/// The same of an access key, in the log of its account; of a damaged one nobody knows whose it was, and it is told in the default
/// account's.
pub(super) async fn noted_of_key<T>(
    engine: &Engine,
    operation: &str,
    id: &str,
    change: impl Future<Output = Result<T, Error>>,
) -> Outcome {
    let keys = engine.listed_access_keys(None, None).await.map_err(told)?;
    let changed = match keys.into_iter().find(|listed| *listed.id == *id) {
        Some(listed) => {
            let account = listed.key.map(|key| key.account);
            let account = account.as_deref().unwrap_or(TENANT);
            noted(engine, account, operation, id, change).await
        }
        // Of no account; the change says that there is no such key.
        None => change.await.map_err(told),
    };
    changed.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: std::ops::Range<u64>) -> Vec<Line> {
        let line = |number: u64| Line {
            time: number.to_string(),
            entry: AuditEntry {
                key: "-".to_owned(),
                address: "-".to_owned(),
                operation: "lambda:UpdateAlias".to_owned(),
                resource: "pay:live".to_owned(),
                alias: Some(AliasMove {
                    before: (number > 0).then(|| number.to_string()),
                    after: Some((number + 1).to_string()),
                }),
                request_id: "r".to_owned(),
                refused: None,
            },
        };
        numbers.map(line).collect()
    }

    #[test]
    fn the_newest_are_the_last_of_all_pages() {
        for (newest, kept) in [
            (0, vec![]),
            (3, vec!["4", "5", "6"]),
            (9, vec!["0", "1", "2", "3", "4", "5", "6"]),
        ] {
            let mut printed = Printed::new(Asked {
                account: None,
                since: None,
                newest: Some(newest),
                json: true,
            });
            for page in [lines(0..2), lines(2..5), lines(5..7), Vec::new()] {
                assert!(printed.page(page).unwrap());
                assert!(printed.kept.len() <= newest);
            }
            let times: Vec<&str> = printed.kept.iter().map(|line| &*line.time).collect();
            assert_eq!(times, kept);
        }
    }

    /// Entries, by the number of their request and whether it was refused.
    fn entries(told: &[(u64, bool)]) -> Vec<Line> {
        let entry = |(number, is_refused): &(u64, bool)| {
            let mut line = lines(*number..number + 1).remove(0);
            line.entry.request_id = format!("r{number}");
            line.entry.refused = is_refused.then(|| "ResourceNotFoundException".to_owned());
            line
        };
        told.iter().map(entry).collect()
    }

    #[test]
    fn a_request_that_was_refused_is_one_line_of_the_table() {
        // What was refused before it began has one entry.
        let pages = [
            vec![(1, false), (2, false), (1, true), (3, true)],
            vec![(2, true), (4, false)],
            vec![],
        ];
        let of = |json: bool| {
            let mut printed = Printed::new(Asked {
                account: None,
                since: None,
                newest: Some(9),
                json,
            });
            for page in &pages {
                assert!(printed.page(entries(page)).unwrap());
            }
            let held = std::mem::take(&mut printed.held);
            assert!(printed.take(held).unwrap());
            let told = |line: &Line| (line.entry.request_id.clone(), line.entry.refused.is_some());
            printed.kept.iter().map(told).collect::<Vec<_>>()
        };
        let line = |(number, is_refused): (u64, bool)| (format!("r{number}"), is_refused);
        let joined = [(1, true), (2, true), (3, true), (4, false)].map(line);
        assert_eq!(of(false), joined);
        assert_eq!(
            of(true),
            pages.concat().into_iter().map(line).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_alias_is_told_with_its_versions() {
        let lines = lines(0..2);
        assert_eq!(lines[0].cells()[5], "- -> 1");
        assert_eq!(lines[1].cells()[5], "1 -> 2");
        assert_eq!(
            lines[1].json()["alias"],
            json!({"before": "1", "after": "2"})
        );
        assert_eq!(
            lines[0].json()["alias"],
            json!({"before": null, "after": "1"})
        );
    }
}
