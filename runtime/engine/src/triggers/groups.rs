//! Groups of schedules. Hides their records, and that a group's deletion is a mark first.

use serde::{Deserialize, Serialize};
use stepwell_interp::Timestamp;

use super::{
    TriggerError,
    schedules::{DEFAULT_GROUP, KIND as SCHEDULE, check_name, crossed},
};
use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    journal::CatalogKey,
    limits::{CHANGE_ATTEMPTS_MAX, SCHEDULE_GROUPS_MAX, TAGS_MAX, TRIGGER_RECORDS_READ_MAX},
    node, reader, record,
};

/// Kind of the records, which belong to their tenant.
pub(super) const KIND: &str = "schedule-group";

/// A group as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleGroup {
    pub name: String,
    pub arn: String,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    pub deleting: bool,
    pub tags: Vec<(String, String)>,
}

/// Stored form, codec v1: a group of schedules.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct GroupRecord {
    name: String,
    #[serde(deserialize_with = "crate::record::date_ms")]
    created_ms: u64,
    #[serde(deserialize_with = "crate::record::date_ms")]
    modified_ms: u64,
    #[serde(default)]
    deleting: bool,
    #[serde(default)]
    tags: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_token: Option<String>,
}

impl GroupRecord {
    fn shown(self, caller: &Caller) -> ScheduleGroup {
        ScheduleGroup {
            arn: group_arn(caller, &self.name),
            name: self.name,
            created_at: Timestamp(self.created_ms),
            modified_at: Timestamp(self.modified_ms),
            deleting: self.deleting,
            tags: self.tags,
        }
    }
}

fn group_arn(caller: &Caller, name: &str) -> String {
    let Caller { tenant, region } = caller;
    format!("arn:aws:scheduler:{region}:{tenant}:schedule-group/{name}")
}

fn key(caller: &Caller, name: &str) -> CatalogKey {
    CatalogKey {
        tenant: caller.tenant.clone(),
        kind: KIND.into(),
        name: format!("{}/{name}", caller.region).into(),
    }
}

impl Engine {
    /// Makes a group; gives its ARN.
    pub async fn create_schedule_group(
        &self,
        caller: &Caller,
        name: &str,
        tags: Vec<(String, String)>,
        client_token: Option<String>,
    ) -> Result<String, TriggerError> {
        check_name("schedule group", name)?;
        check_tags(&tags)?;
        let journal = &self.node().journal;
        let most = u32::try_from(SCHEDULE_GROUPS_MAX).unwrap_or(u32::MAX);
        let there = journal.scan(&caller.tenant, KIND, "", None, most).await;
        if there.map_err(reader::broken)?.len() >= SCHEDULE_GROUPS_MAX {
            return Err(TriggerError::Full(format!(
                "there are {SCHEDULE_GROUPS_MAX} schedule groups, which is as many as there may be"
            )));
        }
        let now = node::now().0;
        let made = GroupRecord {
            name: name.to_owned(),
            created_ms: now,
            modified_ms: now,
            deleting: false,
            tags,
            client_token,
        };
        let exists = || TriggerError::Conflict(format!("Schedule group {name} already exists."));
        if name == DEFAULT_GROUP {
            return Err(exists());
        }
        let key = key(caller, name);
        let written = self.put(&key, Some(0), Some(record::encode(&made))).await?;
        if written.is_err() {
            let there = self.stored_group(&key).await?;
            let same = |there: &GroupRecord| there.client_token == made.client_token;
            if made.client_token.is_none() || !there.is_some_and(|(there, _)| same(&there)) {
                return Err(exists());
            }
        }
        Ok(group_arn(caller, name))
    }

    /// A group; `default` is always there.
    pub async fn schedule_group(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<ScheduleGroup, TriggerError> {
        if name == DEFAULT_GROUP {
            return Ok(default_group(caller));
        }
        let found = self.stored_group(&key(caller, name)).await?;
        let (record, _) = found.ok_or_else(|| absent(name))?;
        Ok(record.shown(caller))
    }

    /// A page of the region's groups by name, `default` among them on the first page.
    pub async fn schedule_groups(
        &self,
        caller: &Caller,
        name_prefix: &str,
        page: PageRequest,
    ) -> Result<Page<ScheduleGroup>, TriggerError> {
        let prefix = format!("{}/{name_prefix}", caller.region);
        let first = page.next_token.is_none();
        let found = self.scan_page(caller, KIND, &prefix, &page).await?;
        let mut groups = self.shown(found, |stored| {
            Ok(record::decode::<GroupRecord>(&stored.bytes)?.shown(caller))
        })?;
        if first && DEFAULT_GROUP.starts_with(name_prefix) {
            groups.items.insert(0, default_group(caller));
        }
        Ok(groups)
    }

    /// Deletes a group with its schedules. One that is interrupted leaves the group marked: the same call ends it.
    pub async fn delete_schedule_group(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(), TriggerError> {
        if name == DEFAULT_GROUP {
            return Err(TriggerError::Invalid(
                "The default schedule group cannot be deleted.".to_owned(),
            ));
        }
        let key = key(caller, name);
        self.change_group(&key, |group| {
            group.deleting = true;
            Ok(())
        })
        .await?;
        let prefix = format!("{}/{name}/", caller.region);
        self.delete_schedules(caller, &prefix).await?;
        let _ = self.put(&key, None, None).await?;
        Ok(())
    }

    /// Deletes all schedules whose records' names begin so.
    pub(super) async fn delete_schedules(
        &self,
        caller: &Caller,
        prefix: &str,
    ) -> Result<(), TriggerError> {
        loop {
            let journal = &self.node().journal;
            let most = TRIGGER_RECORDS_READ_MAX;
            let found = journal.scan(&caller.tenant, SCHEDULE, prefix, None, most);
            let found = found.await.map_err(reader::broken)?;
            for stored in &found {
                match self.delete_schedule_at(&stored.key).await {
                    // Another deletion was faster.
                    Ok(()) | Err(TriggerError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if found.len() < most as usize {
                return Ok(());
            }
        }
    }

    /// Changes the tags of a group that is named by its ARN.
    pub async fn tag_schedule_group(
        &self,
        caller: &Caller,
        arn: &str,
        added: Vec<(String, String)>,
        removed: &[String],
    ) -> Result<(), TriggerError> {
        let name = named(caller, arn)?;
        self.change_group(&key(caller, name), |group| {
            let gone =
                |key: &String| removed.contains(key) || added.iter().any(|(added, _)| added == key);
            group.tags.retain(|(key, _)| !gone(key));
            group.tags.extend(added.iter().cloned());
            check_tags(&group.tags)
        })
        .await
    }

    /// The tags of a group that is named by its ARN.
    pub async fn schedule_group_tags(
        &self,
        caller: &Caller,
        arn: &str,
    ) -> Result<Vec<(String, String)>, TriggerError> {
        let name = named(caller, arn)?;
        Ok(self.schedule_group(caller, name).await?.tags)
    }

    /// Refuses a group that takes no schedules.
    pub(super) async fn check_group(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(), TriggerError> {
        if self.schedule_group(caller, name).await?.deleting {
            return Err(TriggerError::Conflict(format!(
                "Schedule group {name} is being deleted."
            )));
        }
        Ok(())
    }

    async fn change_group(
        &self,
        key: &CatalogKey,
        change: impl Fn(&mut GroupRecord) -> Result<(), TriggerError>,
    ) -> Result<(), TriggerError> {
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let found = self.stored_group(key).await?;
            let (mut group, revision) = found.ok_or_else(|| absent(&key.name))?;
            change(&mut group)?;
            group.modified_ms = node::now().0;
            let bytes = record::encode(&group);
            if self.put(key, Some(revision), Some(bytes)).await?.is_ok() {
                return Ok(());
            }
        }
        Err(crossed(&key.name))
    }

    async fn stored_group(
        &self,
        key: &CatalogKey,
    ) -> Result<Option<(GroupRecord, u64)>, TriggerError> {
        let Some(stored) = self.record(key).await? else {
            return Ok(None);
        };
        Ok(Some((record::decode(&stored.bytes)?, stored.revision)))
    }
}

fn default_group(caller: &Caller) -> ScheduleGroup {
    ScheduleGroup {
        name: DEFAULT_GROUP.to_owned(),
        arn: group_arn(caller, DEFAULT_GROUP),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        deleting: false,
        tags: Vec::new(),
    }
}

/// The name in the ARN of a group of the caller's.
fn named<'a>(caller: &Caller, arn: &'a str) -> Result<&'a str, TriggerError> {
    let name = arn.strip_prefix(&group_arn(caller, ""));
    name.ok_or_else(|| {
        TriggerError::NotFound(format!(
            "{arn} is no schedule group of this account and region"
        ))
    })
}

fn check_tags(tags: &[(String, String)]) -> Result<(), TriggerError> {
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    Err(TriggerError::Invalid(format!(
        "a schedule group has at most {TAGS_MAX} tags"
    )))
}

fn absent(name: &str) -> TriggerError {
    let name = name.rsplit('/').next().unwrap_or(name);
    TriggerError::NotFound(format!("Schedule group {name} does not exist."))
}

#[cfg(test)]
mod tests {
    use super::{super::schedule, *};

    #[test]
    fn a_group_is_named_by_its_own_arn_alone() {
        let caller = Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        };
        let arn = group_arn(&caller, "nightly");
        assert_eq!(named(&caller, &arn), Ok("nightly"));
        for other in [
            arn.replace("000000000000", "111111111111"),
            arn.replace("us-east-1", "eu-west-1"),
            schedule::schedule_arn(&caller, "default", "a"),
        ] {
            assert!(named(&caller, &other).is_err(), "{other}");
        }
    }
}
