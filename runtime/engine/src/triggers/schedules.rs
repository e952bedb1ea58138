//! Schedules: made, changed, shown, deleted. Hides their records and that each has an entry in the queue of what is due, which
//! changes with it.
//!
//! Source: EventBridge Scheduler, API reference (2021-06-30).

use std::sync::Arc;

use stepwell_query::Value;

use super::{
    TriggerError,
    queue::{Due, Queue},
    schedule::{Schedule, ScheduleRecord, ScheduleSpec, schedule_arn},
    timing::{self, Expression},
};
use crate::{
    api::{Caller, Page, PageRequest},
    arn,
    engine::Engine,
    error::Error,
    journal::{CatalogKey, CatalogRecord, CatalogWrite, Write},
    limits::{
        CHANGE_ATTEMPTS_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX_RAISED, SCHEDULE_AGE_S_MAX,
        SCHEDULE_AGE_S_MIN, SCHEDULE_ATTEMPTS_MAX, SCHEDULE_EXPRESSION_BYTES_MAX,
        SCHEDULE_NAME_CHARS_MAX, SCHEDULE_WINDOW_MINUTES_MAX, TRIGGER_DESCRIPTION_CHARS_MAX,
        TRIGGER_RECORDS_READ_MAX, TRIGGER_ROLE_BYTES_MAX,
    },
    node, pages, reader, record,
};

/// Kind of the records, which belong to their tenant.
pub(super) const KIND: &str = "schedule";
/// The group that is always there.
pub(super) const DEFAULT_GROUP: &str = "default";

/// Which schedules of a region to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleFilter {
    pub group: Option<String>,
    pub name_prefix: String,
    pub enabled: Option<bool>,
}

/// Where a schedule is kept.
pub(super) fn key(caller: &Caller, group: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: KIND.into(),
        name: format!("{}/{group}/{name}", caller.region).into(),
    }
}

/// A schedule's change or deletion, with that of its entry in the queue.
pub(super) fn writes(
    key: &CatalogKey,
    old: Option<(&ScheduleRecord, u64)>,
    new: Option<&ScheduleRecord>,
) -> Write {
    let entry = |at_ms| Due {
        at_ms,
        tenant: key.tenant.clone(),
        name: key.name.clone(),
    };
    let mut writes = vec![CatalogWrite {
        key: key.clone(),
        expected: Some(old.map_or(0, |(_, revision)| revision)),
        bytes: new.map(record::encode),
    }];
    let was = old.and_then(|(record, _)| record.due_ms());
    let is = new.and_then(ScheduleRecord::due_ms);
    if was != is {
        writes.extend(was.map(|at| Queue::Schedules.remove(&entry(at))));
        writes.extend(is.map(|at| Queue::Schedules.put(&entry(at), Arc::from(&b""[..]))));
    }
    Write::Catalog(writes)
}

impl Engine {
    /// Makes a schedule; gives its ARN. The same creation again, by its client token, is the same schedule.
    pub async fn create_schedule(
        &self,
        caller: &Caller,
        spec: ScheduleSpec,
    ) -> Result<String, TriggerError> {
        self.check_schedule(caller, &spec)?;
        self.check_group(caller, &spec.group).await?;
        let key = key(caller, &spec.group, &spec.name);
        let arn = schedule_arn(caller, &spec.group, &spec.name);
        let made = ScheduleRecord::new(spec, node::now().0).map_err(TriggerError::Invalid)?;
        let growth = self.growth(&caller.tenant, 0, record::encode(&made).len())?;
        if self.verdict(writes(&key, None, Some(&made))).await?.is_ok() {
            self.call_keeper(made.due_ms());
            let machine = &made.spec.target.arn;
            self.count_kept(&caller.tenant, machine, growth).await?;
            return Ok(arn);
        }
        let there = self.stored_schedule(&key).await?;
        let token = &made.spec.client_token;
        if token.is_some() && there.is_some_and(|(there, _)| there.spec.client_token == *token) {
            return Ok(arn);
        }
        Err(TriggerError::Conflict(format!(
            "Schedule {} already exists.",
            made.spec.name
        )))
    }

    /// Replaces a schedule; gives its ARN.
    pub async fn update_schedule(
        &self,
        caller: &Caller,
        spec: ScheduleSpec,
    ) -> Result<String, TriggerError> {
        self.check_schedule(caller, &spec)?;
        let key = key(caller, &spec.group, &spec.name);
        self.change_schedule(&key, |old| ScheduleSpec {
            missed: spec.missed.or(old.missed),
            ..spec.clone()
        })
        .await?;
        Ok(schedule_arn(caller, &spec.group, &spec.name))
    }

    /// Enables or disables a schedule.
    pub async fn enable_schedule(
        &self,
        caller: &Caller,
        group: &str,
        name: &str,
        enabled: bool,
    ) -> Result<(), TriggerError> {
        self.change_schedule(&key(caller, group, name), |spec| ScheduleSpec {
            enabled,
            ..spec.clone()
        })
        .await
    }

    async fn change_schedule(
        &self,
        key: &CatalogKey,
        change: impl Fn(&ScheduleSpec) -> ScheduleSpec,
    ) -> Result<(), TriggerError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let (old, revision) = self
                .stored_schedule(key)
                .await?
                .ok_or_else(|| absent(&key.name))?;
            let spec = change(&old.spec);
            let new = old
                .changed(spec, node::now().0)
                .map_err(TriggerError::Invalid)?;
            let before = record::encode(&old.spec).len() as u64;
            let growth = self.growth(&key.tenant, before, record::encode(&new.spec).len())?;
            let write = writes(key, Some((&old, revision)), Some(&new));
            if self.verdict(write).await?.is_ok() {
                self.call_keeper(new.due_ms());
                let machine = &new.spec.target.arn;
                self.count_kept(&key.tenant, machine, growth).await?;
                return Ok(());
            }
        }
        Err(crossed(&key.name))
    }

    /// Deletes a schedule. Executions that it started go on.
    pub async fn delete_schedule(
        &self,
        caller: &Caller,
        group: &str,
        name: &str,
    ) -> Result<(), TriggerError> {
        self.delete_schedule_at(&key(caller, group, name)).await
    }

    pub(super) async fn delete_schedule_at(&self, key: &CatalogKey) -> Result<(), TriggerError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let (old, revision) = self
                .stored_schedule(key)
                .await?
                .ok_or_else(|| absent(&key.name))?;
            let write = writes(key, Some((&old, revision)), None);
            if self.verdict(write).await?.is_ok() {
                return Ok(());
            }
        }
        Err(crossed(&key.name))
    }

    /// A schedule.
    pub async fn schedule(
        &self,
        caller: &Caller,
        group: &str,
        name: &str,
    ) -> Result<Schedule, TriggerError> {
        let found = self.stored_schedule(&key(caller, group, name)).await?;
        let (record, _) = found.ok_or_else(|| absent(name))?;
        Ok(record.shown(caller))
    }

    /// A page of the region's schedules, by group and name, without their inputs.
    pub async fn schedules(
        &self,
        caller: &Caller,
        filter: &ScheduleFilter,
        page: PageRequest,
    ) -> Result<Page<Schedule>, TriggerError> {
        let region = &caller.region;
        // Without a group the prefix of the names stands amid the records' names, so each is looked at.
        let prefix = match &filter.group {
            Some(group) => format!("{region}/{group}/{}", filter.name_prefix),
            None => format!("{region}/"),
        };
        let enabled = format!("{:?}", filter.enabled);
        let list = self.list(caller, &[KIND, &prefix, &filter.name_prefix, &enabled]);
        let mut after = list.position(&page).await?;
        let size = pages::size(&page);
        let mut found: Vec<(Arc<str>, Schedule)> = Vec::new();
        while found.len() <= size as usize {
            let journal = &self.node().journal;
            let (from, most) = (after.as_deref(), TRIGGER_RECORDS_READ_MAX);
            let scanned = journal.scan(&caller.tenant, KIND, &prefix, from, most);
            let scanned = scanned.await.map_err(reader::broken)?;
            for stored in &scanned {
                let record = record::decode::<ScheduleRecord>(&stored.bytes);
                let Some(record) = self.unless_damaged(&stored.key, record)? else {
                    continue;
                };
                let mut schedule = record.shown(caller);
                schedule.spec.target.input = None;
                let wanted = schedule.spec.name.starts_with(&filter.name_prefix)
                    && filter
                        .enabled
                        .is_none_or(|enabled| schedule.spec.enabled == enabled);
                if wanted {
                    found.push((stored.key.name.clone(), schedule));
                }
            }
            after = scanned.last().map(|stored| stored.key.name.to_string());
            if scanned.len() < TRIGGER_RECORDS_READ_MAX as usize {
                break;
            }
        }
        let cut = list.cut(found, size, |(name, _)| name.to_string()).await?;
        Ok(Page {
            items: cut
                .items
                .into_iter()
                .map(|(_, schedule)| schedule)
                .collect(),
            next_token: cut.next_token,
        })
    }

    /// A schedule's record and its revision.
    pub(super) async fn stored_schedule(
        &self,
        key: &CatalogKey,
    ) -> Result<Option<(ScheduleRecord, u64)>, Error> {
        let stored: Option<CatalogRecord> = self.record(key).await?;
        stored
            .map(|stored| Ok((record::decode(&stored.bytes)?, stored.revision)))
            .transpose()
    }

    fn check_schedule(&self, caller: &Caller, spec: &ScheduleSpec) -> Result<(), TriggerError> {
        let invalid = |text: String| Err(TriggerError::Invalid(text));
        check_name("schedule", &spec.name)?;
        check_name("schedule group", &spec.group)?;
        check_description(&spec.description)?;
        let most = SCHEDULE_EXPRESSION_BYTES_MAX;
        check_length("ScheduleExpression", &spec.expression, most)?;
        // These are told back as they came.
        let (key, token) = (spec.key_arn.as_deref(), spec.client_token.as_deref());
        for (name, text) in [
            ("Target.RoleArn", Some(&*spec.target.role_arn)),
            ("KmsKeyArn", key),
            ("ClientToken", token),
        ] {
            check_length(name, text.unwrap_or_default(), TRIGGER_ROLE_BYTES_MAX)?;
        }
        Expression::parse(&spec.expression).map_err(TriggerError::Invalid)?;
        timing::zone(&spec.timezone).map_err(TriggerError::Invalid)?;
        if spec
            .start_s
            .zip(spec.end_s)
            .is_some_and(|(start, end)| start > end)
        {
            return invalid("The StartDate must come before the EndDate.".to_owned());
        }
        let window = spec.window_minutes.unwrap_or(1);
        if !(1..=SCHEDULE_WINDOW_MINUTES_MAX).contains(&window) {
            return invalid(format!(
                "MaximumWindowInMinutes is from 1 to {SCHEDULE_WINDOW_MINUTES_MAX}."
            ));
        }
        let target = &spec.target;
        if !(SCHEDULE_AGE_S_MIN..=SCHEDULE_AGE_S_MAX).contains(&target.age_s_max) {
            return invalid(format!(
                "MaximumEventAgeInSeconds is from {SCHEDULE_AGE_S_MIN} to {SCHEDULE_AGE_S_MAX}."
            ));
        }
        if target.retries_max > SCHEDULE_ATTEMPTS_MAX {
            return invalid(format!(
                "MaximumRetryAttempts is at most {SCHEDULE_ATTEMPTS_MAX}."
            ));
        }
        check_machine(caller, &target.arn)?;
        self.check_input(caller, spec)
    }

    /// An input that is no JSON would fail at each run; so it is refused now.
    fn check_input(&self, caller: &Caller, spec: &ScheduleSpec) -> Result<(), TriggerError> {
        let Some(input) = &spec.target.input else {
            return Ok(());
        };
        let most = match self.raised_limits(&caller.tenant) {
            true => PAYLOAD_BYTES_MAX_RAISED,
            false => PAYLOAD_BYTES_MAX,
        };
        if input.len() > most {
            return Err(TriggerError::Invalid(format!(
                "the target's Input has {} bytes, and an execution's input at most {most}",
                input.len()
            )));
        }
        let record =
            ScheduleRecord::new(spec.clone(), node::now().0).map_err(TriggerError::Invalid)?;
        let sample = record.input(caller, 0, "sample", 1);
        Value::parse(&sample).map(drop).map_err(|error| {
            TriggerError::Invalid(format!(
                "the target's Input is no JSON, which the input of an execution has to be: {}",
                error.message
            ))
        })
    }
}

/// Refuses what is no state machine of the caller's.
pub(super) fn check_machine(caller: &Caller, text: &str) -> Result<(), TriggerError> {
    match arn::machine(caller, text) {
        Ok(_) => Ok(()),
        Err(Error::Rejected { message, .. }) => Err(TriggerError::Invalid(format!(
            "the target is a state machine of the same account, by its ARN: {message}"
        ))),
        Err(other) => Err(other.into()),
    }
}

/// Checks a name by Scheduler's rules.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), TriggerError> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if (1..=SCHEDULE_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(TriggerError::Invalid(format!(
        "the name of a {what} is 1 to {SCHEDULE_NAME_CHARS_MAX} of A-Z a-z 0-9 - _ . and not `{name}`"
    )))
}

pub(super) fn check_description(text: &str) -> Result<(), TriggerError> {
    if text.chars().count() <= TRIGGER_DESCRIPTION_CHARS_MAX {
        return Ok(());
    }
    Err(TriggerError::Invalid(format!(
        "a description has at most {TRIGGER_DESCRIPTION_CHARS_MAX} characters"
    )))
}

/// Refuses a text of more bytes than that.
pub(super) fn check_length(name: &str, text: &str, most: usize) -> Result<(), TriggerError> {
    match text.len() <= most {
        true => Ok(()),
        false => Err(TriggerError::Invalid(format!(
            "{name} has at most {most} bytes"
        ))),
    }
}

/// `name` may be that of a record.
fn absent(name: &str) -> TriggerError {
    let name = name.rsplit('/').next().unwrap_or(name);
    TriggerError::NotFound(format!("Schedule {name} does not exist."))
}

pub(super) fn crossed(name: &str) -> TriggerError {
    let name = name.rsplit('/').next().unwrap_or(name);
    TriggerError::Conflict(format!(
        "{name} is being changed by other requests; try again"
    ))
}
