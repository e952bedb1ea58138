//! Rules of events: a pattern and targets. Hides their records.
//!
//! Source: EventBridge, API reference (2015-10-07). There is the bus `default` alone, and targets are state machines.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;
use uuid::Uuid;

use super::{
    TriggerError,
    pattern::Pattern,
    schedule::LastRun,
    schedules::{check_description, check_length, check_machine, crossed},
    transform::EventInput,
};
use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    error::Error,
    journal::{CatalogKey, CatalogWrite, Write},
    limits::{
        CHANGE_ATTEMPTS_MAX, RULE_NAME_CHARS_MAX, RULE_TARGETS_MAX, RULES_MAX, SCHEDULE_AGE_S_MAX,
        SCHEDULE_AGE_S_MIN, SCHEDULE_ATTEMPTS_MAX, TRIGGER_ROLE_BYTES_MAX,
    },
    node, reader, record,
};

/// Kinds of the records, which belong to their tenant: rules, and how their last deliveries went.
pub(super) const KIND: &str = "event-rule";
pub(super) const LAST: &str = "event-rule-last";

/// A rule as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    pub name: String,
    /// JSON text.
    pub pattern: String,
    pub enabled: bool,
    pub description: String,
    /// Told back as it came.
    pub role_arn: Option<String>,
}

/// A target of a rule. Stored form, codec v1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTarget {
    pub id: String,
    /// A state machine, a version or an alias.
    pub arn: String,
    /// Told back as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    #[serde(default)]
    pub input: EventInput,
    /// Seconds after its acceptance that an event may still start the target in.
    pub age_s_max: u32,
    /// How often a start that failed is tried again.
    pub retries_max: u32,
}

/// A rule as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub arn: String,
    pub name: String,
    pub pattern: String,
    pub enabled: bool,
    pub description: String,
    pub role_arn: Option<String>,
    pub created_at: Timestamp,
    pub targets: Vec<EventTarget>,
}

/// Stored form, codec v1: a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleRecord {
    /// Tells it from others that had its name.
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) pattern: String,
    pub(super) enabled: bool,
    #[serde(default)]
    description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role_arn: Option<String>,
    #[serde(deserialize_with = "crate::record::date_ms")]
    created_ms: u64,
    #[serde(default)]
    pub(super) targets: Vec<EventTarget>,
}

/// Stored form, codec v1: how the last deliveries of a rule went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LastRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<LastRun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_failed: Option<LastRun>,
}

impl RuleRecord {
    fn shown(self, caller: &Caller) -> Rule {
        Rule {
            arn: rule_arn(caller, &self.name),
            name: self.name,
            pattern: self.pattern,
            enabled: self.enabled,
            description: self.description,
            role_arn: self.role_arn,
            created_at: Timestamp(self.created_ms),
            targets: self.targets,
        }
    }
}

fn key(caller: &Caller, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: KIND.into(),
        name: format!("{}/{name}", caller.region).into(),
    }
}

/// Where is kept how a rule's last deliveries went.
pub(super) fn last_key(tenant: &Arc<str>, region: &str, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: tenant.clone(),
        kind: LAST.into(),
        name: format!("{region}/{name}").into(),
    }
}

pub(super) fn rule_arn(caller: &Caller, name: &str) -> String {
    let Caller { tenant, region } = caller;
    format!("arn:aws:events:{region}:{tenant}:rule/{name}")
}

impl Engine {
    /// Makes a rule, or replaces one and keeps its targets; gives its ARN.
    pub async fn put_rule(&self, caller: &Caller, new: NewRule) -> Result<String, TriggerError> {
        check_rule_name("rule", &new.name)?;
        check_description(&new.description)?;
        check_role(new.role_arn.as_deref())?;
        Pattern::parse(&new.pattern).map_err(TriggerError::Invalid)?;
        let key = key(caller, &new.name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let old = self.stored_rule(&key).await?;
            if old.is_none() && self.all_rules(caller).await?.len() >= RULES_MAX {
                return Err(TriggerError::Full(format!(
                    "The requested resource exceeds the maximum number allowed: {RULES_MAX} rules."
                )));
            }
            let before = grown_from(old.as_ref());
            let old = old.map(|(record, _)| record);
            let record = RuleRecord {
                uid: old.as_ref().map_or_else(
                    || Uuid::new_v4().simple().to_string(),
                    |old| old.uid.clone(),
                ),
                name: new.name.clone(),
                pattern: new.pattern.clone(),
                enabled: new.enabled,
                description: new.description.clone(),
                role_arn: new.role_arn.clone(),
                created_ms: old.as_ref().map_or(node::now().0, |old| old.created_ms),
                targets: old.map(|old| old.targets).unwrap_or_default(),
            };
            let (arn, bytes) = (rule_arn(caller, &new.name), record::encode(&record));
            if self.put_grown(&key, &arn, before, bytes).await? {
                return Ok(arn);
            }
        }
        Err(crossed(&new.name))
    }

    /// A rule.
    pub async fn rule(&self, caller: &Caller, name: &str) -> Result<Rule, TriggerError> {
        let found = self.stored_rule(&key(caller, name)).await?;
        let (record, _) = found.ok_or_else(|| absent(name))?;
        Ok(record.shown(caller))
    }

    /// How the last delivery of a rule went, and the last that failed.
    pub async fn rule_runs(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(Option<LastRun>, Option<LastRun>), TriggerError> {
        let key = last_key(&caller.tenant, &caller.region, name);
        let LastRecord { last, last_failed } = self.last_of(&key).await?;
        Ok((last, last_failed))
    }

    pub(super) async fn last_of(&self, key: &CatalogKey) -> Result<LastRecord, Error> {
        let stored = self.record(key).await?;
        let last = stored.map(|stored| record::decode(&stored.bytes));
        Ok(last.transpose()?.unwrap_or_default())
    }

    /// A page of the region's rules by name.
    pub async fn rules(
        &self,
        caller: &Caller,
        name_prefix: &str,
        page: PageRequest,
    ) -> Result<Page<Rule>, TriggerError> {
        let prefix = format!("{}/{name_prefix}", caller.region);
        let found = self.scan_page(caller, KIND, &prefix, &page).await?;
        let rules = self.shown(found, |stored| {
            Ok(record::decode::<RuleRecord>(&stored.bytes)?.shown(caller))
        });
        Ok(rules?)
    }

    /// Deletes a rule that has no targets; one that is not there is deleted.
    pub async fn delete_rule(&self, caller: &Caller, name: &str) -> Result<(), TriggerError> {
        let key = key(caller, name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let Some((record, revision)) = self.stored_rule(&key).await? else {
                return Ok(());
            };
            if !record.targets.is_empty() {
                return Err(TriggerError::Invalid(
                    "Rule can't be deleted since it has targets.".to_owned(),
                ));
            }
            let gone = |key, expected| CatalogWrite {
                key,
                expected,
                bytes: None,
            };
            let last = last_key(&caller.tenant, &caller.region, name);
            let writes = vec![gone(key.clone(), Some(revision)), gone(last, None)];
            if self.verdict(Write::Catalog(writes)).await?.is_ok() {
                return Ok(());
            }
        }
        Err(crossed(name))
    }

    /// Enables or disables a rule.
    pub async fn enable_rule(
        &self,
        caller: &Caller,
        name: &str,
        enabled: bool,
    ) -> Result<(), TriggerError> {
        self.change_rule(caller, name, |rule| {
            rule.enabled = enabled;
            Ok(())
        })
        .await
    }

    /// Adds targets to a rule, or replaces those of their ids.
    pub async fn put_targets(
        &self,
        caller: &Caller,
        name: &str,
        targets: Vec<EventTarget>,
    ) -> Result<(), TriggerError> {
        for target in &targets {
            check_target(caller, target)?;
        }
        self.change_rule(caller, name, |rule| {
            let replaced = |old: &EventTarget| targets.iter().any(|new| new.id == old.id);
            rule.targets.retain(|old| !replaced(old));
            rule.targets.extend(targets.iter().cloned());
            if rule.targets.len() > RULE_TARGETS_MAX {
                return Err(TriggerError::Full(format!(
                    "The requested resource exceeds the maximum number allowed: {RULE_TARGETS_MAX} targets of a rule."
                )));
            }
            Ok(())
        })
        .await
    }

    /// Removes targets of a rule; those that are not there are removed.
    pub async fn remove_targets(
        &self,
        caller: &Caller,
        name: &str,
        ids: &[String],
    ) -> Result<(), TriggerError> {
        self.change_rule(caller, name, |rule| {
            rule.targets.retain(|target| !ids.contains(&target.id));
            Ok(())
        })
        .await
    }

    async fn change_rule(
        &self,
        caller: &Caller,
        name: &str,
        change: impl Fn(&mut RuleRecord) -> Result<(), TriggerError>,
    ) -> Result<(), TriggerError> {
        let key = key(caller, name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let found = self.stored_rule(&key).await?;
            let before = grown_from(found.as_ref());
            let (mut rule, _) = found.ok_or_else(|| absent(name))?;
            change(&mut rule)?;
            let (arn, bytes) = (rule_arn(caller, name), record::encode(&rule));
            if self.put_grown(&key, &arn, before, bytes).await? {
                return Ok(());
            }
        }
        Err(crossed(name))
    }

    /// All rules of the caller's region.
    pub(super) async fn all_rules(&self, caller: &Caller) -> Result<Vec<RuleRecord>, Error> {
        let prefix = format!("{}/", caller.region);
        let most = u32::try_from(RULES_MAX).unwrap_or(u32::MAX);
        let journal = &self.node().journal;
        let found = journal
            .scan(&caller.tenant, KIND, &prefix, None, most)
            .await;
        let found = found.map_err(reader::broken)?;
        let mut rules = Vec::with_capacity(found.len());
        for stored in &found {
            // An event goes to all others.
            rules.extend(self.unless_damaged(&stored.key, record::decode(&stored.bytes))?);
        }
        Ok(rules)
    }

    async fn stored_rule(
        &self,
        key: &CatalogKey,
    ) -> Result<Option<(RuleRecord, u64)>, TriggerError> {
        let Some(stored) = self.record(key).await? else {
            return Ok(None);
        };
        Ok(Some((record::decode(&stored.bytes)?, stored.revision)))
    }
}

/// Bytes and revision of a rule that is changed.
fn grown_from(old: Option<&(RuleRecord, u64)>) -> (u64, u64) {
    old.map_or((0, 0), |(record, revision)| {
        (record::encode(record).len() as u64, *revision)
    })
}

fn check_target(caller: &Caller, target: &EventTarget) -> Result<(), TriggerError> {
    check_rule_name("target", &target.id)?;
    check_machine(caller, &target.arn)?;
    check_role(target.role_arn.as_deref())?;
    let invalid = |text: String| TriggerError::Invalid(format!("Target {}: {text}", target.id));
    target.input.check().map_err(invalid)?;
    if !(SCHEDULE_AGE_S_MIN..=SCHEDULE_AGE_S_MAX).contains(&target.age_s_max) {
        return Err(invalid(format!(
            "MaximumEventAgeInSeconds is from {SCHEDULE_AGE_S_MIN} to {SCHEDULE_AGE_S_MAX}"
        )));
    }
    if target.retries_max > SCHEDULE_ATTEMPTS_MAX {
        return Err(invalid(format!(
            "MaximumRetryAttempts is at most {SCHEDULE_ATTEMPTS_MAX}"
        )));
    }
    Ok(())
}

/// What is told back as it came is bounded: all rules are read for each event.
fn check_role(arn: Option<&str>) -> Result<(), TriggerError> {
    check_length("RoleArn", arn.unwrap_or_default(), TRIGGER_ROLE_BYTES_MAX)
}

fn check_rule_name(what: &str, name: &str) -> Result<(), TriggerError> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if (1..=RULE_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(TriggerError::Invalid(format!(
        "the name of a {what} is 1 to {RULE_NAME_CHARS_MAX} of A-Z a-z 0-9 - _ . and not `{name}`"
    )))
}

fn absent(name: &str) -> TriggerError {
    TriggerError::NotFound(format!("Rule {name} does not exist on EventBus default."))
}
