//! Tags of state machines and activities: list, add, remove, and their rules. Hides that they are a part of the
//! resource's record.

use crate::{
    activities,
    api::{Caller, MachineKind},
    arn::{self, Arn},
    engine::Engine,
    error::{Code, Error},
    journal::CatalogRecord,
    limits::{CHANGE_ATTEMPTS_MAX, TAGS_MAX},
    lines, machines,
    record::{self, ActivityRecord, MachineRecord},
    task_limits,
};

/// Keys that begin so are AWS's own.
const RESERVED: &str = "aws:";
/// Keys that begin so set something, and with what those begin that do.
pub(crate) const OURS: &str = "stepwell:";
const KNOWN: [&str; 2] = ["stepwell:concurrency", "stepwell:limit:"];

/// Key and value, in the order given.
type Tags = Vec<(String, String)>;

impl Engine {
    /// Tags of a state machine or an activity, in the order in which their keys were first given.
    pub async fn tags(&self, caller: &Caller, resource_arn: &str) -> Result<Tags, Error> {
        let resource = Resource::of(caller, resource_arn)?;
        let (_, tagged) = self.tagged(caller, &resource, resource_arn).await?;
        Ok(tagged.into_tags())
    }

    /// Adds tags; a key that is there gets the new value.
    pub async fn tag(&self, caller: &Caller, resource_arn: &str, tags: Tags) -> Result<(), Error> {
        self.change_tags(caller, resource_arn, |before| with(before, &tags))
            .await
    }

    /// Removes the tags with these keys; a key that is not there is no error.
    pub async fn untag(
        &self,
        caller: &Caller,
        resource_arn: &str,
        keys: &[String],
    ) -> Result<(), Error> {
        self.change_tags(caller, resource_arn, |mut tags| {
            tags.retain(|(key, _)| !keys.contains(key));
            Ok(tags)
        })
        .await
    }

    async fn change_tags(
        &self,
        caller: &Caller,
        resource_arn: &str,
        change: impl Fn(Tags) -> Result<Tags, Error>,
    ) -> Result<(), Error> {
        let resource = Resource::of(caller, resource_arn)?;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let (stored, mut tagged) = self.tagged(caller, &resource, resource_arn).await?;
            if let (Resource::Machine(arn), Tagged::Machine(record)) = (&resource, &tagged)
                && record.deleting
            {
                return Err(machines::being_deleted(arn));
            }
            let before = tagged.tags().clone();
            *tagged.tags() = change(std::mem::take(tagged.tags()))?;
            tagged.check()?;
            let limits = lines::changes(&before, tagged.tags());
            let written = self
                .put(&stored.key, Some(stored.revision), Some(tagged.bytes()))
                .await?;
            if written.is_ok() {
                self.node().tagged_limits.forget(&stored.key);
                if let (Resource::Machine(arn), Some(kind), true) =
                    (&resource, tagged.kind(), limits)
                {
                    self.machines_cache()
                        .forget(&caller.tenant, &arn.record_name());
                    self.limits_changed(caller, arn, kind).await?;
                }
                return Ok(());
            }
        }
        let text = format!("The tags are being changed by another request: '{resource_arn}'");
        Err(Error::rejected(Code::ConflictException, text))
    }

    async fn tagged(
        &self,
        caller: &Caller,
        resource: &Resource,
        arn: &str,
    ) -> Result<(CatalogRecord, Tagged), Error> {
        let key = match resource {
            Resource::Machine(machine) => machines::machine_key(caller, machine),
            Resource::Activity { region, name } => {
                activities::activity_key(&caller.tenant, region, name)
            }
        };
        let stored = self.record(&key).await?.ok_or_else(|| missing(arn))?;
        let tagged = match resource {
            Resource::Machine(_) => {
                let record = record::decode::<MachineRecord>(&stored.bytes);
                Tagged::Machine(Box::new(record?))
            }
            Resource::Activity { .. } => {
                let record = record::decode::<ActivityRecord>(&stored.bytes);
                Tagged::Activity(Box::new(record?))
            }
        };
        Ok((stored, tagged))
    }
}

/// What can have tags.
enum Resource {
    Machine(arn::MachineArn),
    Activity { region: String, name: String },
}

impl Resource {
    fn of(caller: &Caller, text: &str) -> Result<Resource, Error> {
        match arn::parse(caller, text)? {
            // Versions and aliases have no tags.
            Arn::Machine(machine) if machine.qualifier.is_some() => Err(missing(text)),
            Arn::Machine(machine) => Ok(Resource::Machine(machine)),
            Arn::Activity { region, name, .. } => Ok(Resource::Activity { region, name }),
            other @ (Arn::Execution { .. } | Arn::Express { .. } | Arn::MapRun) => {
                Err(other.misplaced())
            }
        }
    }
}

/// A record with tags.
enum Tagged {
    Machine(Box<MachineRecord>),
    Activity(Box<ActivityRecord>),
}

impl Tagged {
    fn tags(&mut self) -> &mut Tags {
        match self {
            Tagged::Machine(record) => &mut record.tags,
            Tagged::Activity(record) => &mut record.tags,
        }
    }

    /// Refuses tags that are to set limits and are wrong.
    fn check(&self) -> Result<(), Error> {
        match self {
            Tagged::Machine(record) => check_limits(&record.tags),
            Tagged::Activity(_) => Ok(()),
        }
    }

    /// Of a state machine.
    fn kind(&self) -> Option<MachineKind> {
        match self {
            Tagged::Machine(record) => Some(record.kind()),
            Tagged::Activity(_) => None,
        }
    }

    fn into_tags(mut self) -> Tags {
        std::mem::take(self.tags())
    }

    fn bytes(&self) -> std::sync::Arc<[u8]> {
        match self {
            Tagged::Machine(record) => record::encode(record),
            Tagged::Activity(record) => record::encode(record),
        }
    }
}

/// The tags with more added: the last value of a key counts. Refused where a key is reserved or there are too many.
pub(crate) fn with(mut tags: Tags, more: &[(String, String)]) -> Result<Tags, Error> {
    for (key, value) in more {
        let lower = key.get(..RESERVED.len()).map(str::to_ascii_lowercase);
        if key.is_empty() || lower.as_deref() == Some(RESERVED) {
            let text = format!(
                "Tag keys must not be empty or begin with `{RESERVED}`, which is reserved; choose another key. Received: '{key}'"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        }
        if key.starts_with(OURS) && !KNOWN.iter().any(|known| key.starts_with(known)) {
            let text = format!(
                "The tag '{key}' sets nothing: tags that begin with `{OURS}` are `stepwell:concurrency`, `stepwell:concurrency-…` and `stepwell:limit:…`"
            );
            return Err(Error::rejected(Code::ValidationException, text));
        }
        task_limits::check(key, value)?;
        match tags.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => old.clone_from(value),
            None => tags.push((key.clone(), value.clone())),
        }
    }
    if tags.len() > TAGS_MAX {
        let text = format!(
            "A resource can have at most {TAGS_MAX} tags, and this request would make {}; remove some that are not needed",
            tags.len()
        );
        return Err(Error::rejected(Code::TooManyTags, text));
    }
    Ok(tags)
}

/// Refuses tags of a state machine that are to set limits and are wrong.
pub(crate) fn check_limits(tags: &[(String, String)]) -> Result<(), Error> {
    let limits = lines::of_tags(tags);
    limits
        .map(drop)
        .map_err(|why| Error::rejected(Code::ValidationException, why))
}

fn missing(arn: &str) -> Error {
    let text = format!("Resource not found: '{arn}'");
    Error::rejected(Code::ResourceNotFound, text)
}

#[cfg(test)]
mod tests {
    use super::{TAGS_MAX, Tags, with};

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        let owned = pairs
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        owned.collect()
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_keeps_the_first_place() {
        let before = tags(&[("a", "1"), ("b", "2")]);
        let after = with(before, &tags(&[("c", "3"), ("a", "4"), ("c", "5")]));
        assert_eq!(after, Ok(tags(&[("a", "4"), ("b", "2"), ("c", "5")])));
    }

    #[test]
    fn reserved_keys_and_too_many_are_refused() {
        for key in ["aws:x", "AWS:x", "aws:", "", "stepwell:concurency"] {
            assert!(with(Tags::new(), &tags(&[(key, "")])).is_err(), "{key}");
        }
        assert!(with(Tags::new(), &tags(&[("aws", ""), ("awsx", "")])).is_ok());
        let full: Tags = (0..TAGS_MAX)
            .map(|n| (n.to_string(), String::new()))
            .collect();
        let full = with(Tags::new(), &full).expect("as many as there may be");
        assert!(with(full.clone(), &tags(&[("0", "again")])).is_ok());
        assert!(with(full, &tags(&[("one more", "")])).is_err());
    }
}
