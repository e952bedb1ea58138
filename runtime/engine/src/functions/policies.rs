//! Policies of functions: who may call one, as AWS's tools say it beside each function that something else calls. They are kept
//! and given back; what allows here is the role of an access key. Hides where statements lie: in the function's record,
//! by version and alias, with which they go.

use super::{
    FunctionError, absent, fresh_revision,
    record::{FunctionRecord, PolicyRecord, StatementRecord},
};
use crate::{
    api::Caller,
    engine::Engine,
    lambda::LATEST,
    limits::{FUNCTION_POLICIES_MAX, FUNCTION_POLICY_BYTES_MAX},
};

/// A statement to add to a policy.
#[derive(Clone, Copy, Debug)]
pub struct Permission<'a> {
    /// The name by which it is removed.
    pub id: &'a str,
    /// JSON text, told back as it is.
    pub statement: &'a str,
    /// The revision that the policy has to be at.
    pub revision_id: Option<&'a str>,
}

/// What a function, a version or an alias says of who may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionPolicy {
    /// JSON texts, in the order in which they were added; never empty.
    pub statements: Vec<String>,
    pub revision_id: String,
}

impl Engine {
    /// Adds a statement to the policy of a function, or of the version or alias that the qualifier names.
    pub async fn add_permission(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
        permission: Permission<'_>,
    ) -> Result<(), FunctionError> {
        let Permission { id, statement, .. } = permission;
        self.change_function(caller, name, |record| {
            let of = policy_of(caller, name, record, qualifier)?;
            if record.policies.len() >= FUNCTION_POLICIES_MAX && !record.policies.contains_key(of) {
                return Err(FunctionError::LongPolicy(format!(
                    "The function has {FUNCTION_POLICIES_MAX} policies, its own and those of its versions and aliases, which is the most it can have; remove the permissions of one that is not called any more"
                )));
            }
            let policy = record.policies.entry(of.to_owned()).or_default();
            current(policy, permission.revision_id)?;
            if policy.statements.iter().any(|known| known.id == id) {
                return Err(FunctionError::Conflict(format!(
                    "The statement id ({id}) provided already exists. Please provide a new statement id, or remove the existing statement."
                )));
            }
            let bytes = policy.statements.iter().map(|known| known.text.len());
            let bytes = bytes.sum::<usize>() + statement.len();
            if bytes > FUNCTION_POLICY_BYTES_MAX {
                return Err(FunctionError::LongPolicy(format!(
                    "The final policy size ({bytes}) is bigger than the limit ({FUNCTION_POLICY_BYTES_MAX})."
                )));
            }
            policy.statements.push(StatementRecord {
                id: id.to_owned(),
                text: statement.to_owned(),
            });
            policy.revision_id = fresh_revision();
            Ok(())
        })
        .await
    }

    /// Takes a statement out of a policy.
    pub async fn remove_permission(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
        id: &str,
        revision_id: Option<&str>,
    ) -> Result<(), FunctionError> {
        self.change_function(caller, name, |record| {
            let of = policy_of(caller, name, record, qualifier)?;
            let missing = || {
                FunctionError::NotFound(format!("Statement {id} is not found in resource policy."))
            };
            let policy = record.policies.get_mut(of).ok_or_else(missing)?;
            current(policy, revision_id)?;
            let before = policy.statements.len();
            policy.statements.retain(|known| known.id != id);
            if policy.statements.len() == before {
                return Err(missing());
            }
            policy.revision_id = fresh_revision();
            if policy.statements.is_empty() {
                record.policies.remove(of);
            }
            Ok(())
        })
        .await
    }

    /// The policy of a function, or of the version or alias that the qualifier names; it is not there without a statement.
    pub async fn function_policy(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<FunctionPolicy, FunctionError> {
        let (mut record, _) = self.function_record(caller, name).await?;
        let of = policy_of(caller, name, &record, qualifier)?;
        let policy = record.policies.remove(of).ok_or_else(|| {
            FunctionError::NotFound("The resource you requested does not exist.".to_owned())
        })?;
        let statements = policy.statements.into_iter();
        Ok(FunctionPolicy {
            statements: statements.map(|statement| statement.text).collect(),
            revision_id: policy.revision_id,
        })
    }
}

/// Under which name the policy is kept: that of a version or alias that is there, or none.
fn policy_of<'a>(
    caller: &Caller,
    name: &str,
    record: &FunctionRecord,
    qualifier: Option<&'a str>,
) -> Result<&'a str, FunctionError> {
    let Some(qualifier) = qualifier else {
        return Ok("");
    };
    if qualifier == LATEST {
        return Err(FunctionError::Invalid(
            "We currently do not support adding policies for $LATEST.".to_owned(),
        ));
    }
    let number = qualifier.parse::<u64>().ok();
    let version = number.filter(|number| number.to_string() == qualifier);
    let is_version = version.is_some_and(|number| record.versions.contains_key(&number));
    match is_version || record.aliases.contains_key(qualifier) {
        true => Ok(qualifier),
        false => Err(absent(caller, name, Some(qualifier))),
    }
}

fn current(policy: &PolicyRecord, wanted: Option<&str>) -> Result<(), FunctionError> {
    if wanted.is_none_or(|wanted| wanted == policy.revision_id) {
        return Ok(());
    }
    let text = "The RevisionId provided does not match the latest RevisionId. Call the GetPolicy API to retrieve the latest RevisionId";
    Err(FunctionError::Stale(text.to_owned()))
}
