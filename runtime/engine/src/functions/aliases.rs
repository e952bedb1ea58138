//! Aliases of functions: a name that stands for one version or, by weights, for two.

use std::collections::BTreeMap;

use super::{
    FunctionError, arn, fresh_revision,
    record::{AliasRecord, FunctionRecord, TargetRecord},
};
use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    lambda::LATEST,
    limits::{FUNCTION_ALIAS_CHARS_MAX, FUNCTION_ALIASES_MAX},
    pages,
};

/// An alias of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionAlias {
    pub name: String,
    /// None is `$LATEST`.
    pub version: Option<u64>,
    pub description: String,
    /// Other versions, each with its part of all calls.
    pub weights: BTreeMap<u64, f64>,
    pub revision_id: String,
    /// What it stood for before its last change; none where that was never anything else.
    pub previous: Option<AliasTarget>,
}

/// What an alias stands for: a version, and others with their part of all calls.
#[derive(Clone, Debug, PartialEq)]
pub struct AliasTarget {
    /// None is `$LATEST`.
    pub version: Option<u64>,
    pub weights: BTreeMap<u64, f64>,
}

/// What an alias shall be; `None` leaves a part as it is, or empty in a new one.
#[derive(Clone, Debug, Default)]
pub struct AliasChange {
    /// A number or `$LATEST`.
    pub version: Option<String>,
    pub description: Option<String>,
    /// Versions with their part of all calls.
    pub weights: Option<BTreeMap<String, f64>>,
    /// The revision that the alias has to be at.
    pub revision_id: Option<String>,
}

impl Engine {
    /// Creates an alias of a version that is there.
    pub async fn create_function_alias(
        &self,
        caller: &Caller,
        function: &str,
        name: &str,
        wanted: AliasChange,
    ) -> Result<FunctionAlias, FunctionError> {
        check_alias_name(name).map_err(FunctionError::Invalid)?;
        self.change_function(caller, function, |record| {
            if record.aliases.contains_key(name) {
                return Err(FunctionError::Conflict(format!(
                    "Alias already exists: {}",
                    arn(caller, function, Some(name))
                )));
            }
            if record.aliases.len() >= FUNCTION_ALIASES_MAX {
                return Err(FunctionError::Full(format!(
                    "The function has {FUNCTION_ALIASES_MAX} aliases, which is the most it can have"
                )));
            }
            let empty = AliasRecord {
                version: None,
                description: String::new(),
                weights: BTreeMap::new(),
                revision_id: String::new(),
                before: None,
            };
            let alias = changed(caller, function, record, empty, &wanted)?;
            record.aliases.insert(name.to_owned(), alias.clone());
            Ok(shown(name, alias))
        })
        .await
    }

    /// Points an alias to other versions, or describes it anew.
    pub async fn update_function_alias(
        &self,
        caller: &Caller,
        function: &str,
        name: &str,
        wanted: AliasChange,
    ) -> Result<FunctionAlias, FunctionError> {
        self.change_function(caller, function, |record| {
            let alias = record.aliases.get(name).cloned();
            let alias = alias.ok_or_else(|| absent(caller, function, name))?;
            if wanted
                .revision_id
                .as_ref()
                .is_some_and(|wanted| *wanted != alias.revision_id)
            {
                let text = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id";
                return Err(FunctionError::Stale(text.to_owned()));
            }
            let alias = changed(caller, function, record, alias, &wanted)?;
            record.aliases.insert(name.to_owned(), alias.clone());
            Ok(shown(name, alias))
        })
        .await
    }

    /// An alias by its name.
    pub async fn function_alias(
        &self,
        caller: &Caller,
        function: &str,
        name: &str,
    ) -> Result<FunctionAlias, FunctionError> {
        let (mut record, _) = self.function_record(caller, function).await?;
        let alias = record.aliases.remove(name);
        let alias = alias.ok_or_else(|| absent(caller, function, name))?;
        Ok(shown(name, alias))
    }

    /// A function's aliases by name; those that may choose that version alone, where one is given.
    pub async fn function_aliases(
        &self,
        caller: &Caller,
        function: &str,
        version: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<FunctionAlias>, FunctionError> {
        let (record, _) = self.function_record(caller, function).await?;
        let of = version.unwrap_or_default();
        let list = self.list(caller, &["function-aliases", function, of]);
        let after = list.position(&page).await?;
        let size = pages::size(&page);
        let wanted = |alias: &AliasRecord| match version {
            None => true,
            Some(LATEST) => alias.version.is_none(),
            Some(number) => number.parse::<u64>().is_ok_and(|number| {
                alias.version == Some(number) || alias.weights.contains_key(&number)
            }),
        };
        let found = record
            .aliases
            .into_iter()
            .filter(|(name, alias)| {
                after.as_ref().is_none_or(|after| name > after) && wanted(alias)
            })
            .map(|(name, alias)| shown(&name, alias))
            .take(size as usize + 1)
            .collect();
        Ok(list.cut(found, size, |alias| alias.name.clone()).await?)
    }

    /// Deletes an alias; one that is not there is no error, as on AWS.
    pub async fn delete_function_alias(
        &self,
        caller: &Caller,
        function: &str,
        name: &str,
    ) -> Result<(), FunctionError> {
        self.change_function(caller, function, |record| {
            record.aliases.remove(name);
            record.policies.remove(name);
            Ok(())
        })
        .await
    }
}

/// The alias after a change, if all that it names is there.
fn changed(
    caller: &Caller,
    function: &str,
    record: &FunctionRecord,
    mut alias: AliasRecord,
    wanted: &AliasChange,
) -> Result<AliasRecord, FunctionError> {
    let there = |text: &str| {
        let number = text.parse::<u64>().ok();
        number
            .filter(|number| record.versions.contains_key(number))
            .ok_or_else(|| {
                let arn = arn(caller, function, Some(text));
                FunctionError::NotFound(format!("Function not found: {arn}"))
            })
    };
    let stood_for = alias.target();
    if let Some(version) = &wanted.version {
        alias.version = match version.as_str() {
            LATEST => None,
            number => Some(there(number)?),
        };
    }
    if let Some(description) = &wanted.description {
        alias.description.clone_from(description);
    }
    if let Some(weights) = &wanted.weights {
        alias.weights = weights
            .iter()
            .map(|(version, weight)| Ok((there(version)?, *weight)))
            .collect::<Result<_, FunctionError>>()?;
    }
    check_weights(&alias)?;
    // A new one has stood for nothing.
    let is_new = alias.revision_id.is_empty();
    if alias.target() != stood_for && !is_new {
        alias.before = Some(stood_for);
    }
    alias.revision_id = fresh_revision();
    Ok(alias)
}

fn check_weights(alias: &AliasRecord) -> Result<(), FunctionError> {
    let wrong = |why: &str| Err(FunctionError::Invalid(why.to_owned()));
    if alias.weights.is_empty() {
        return Ok(());
    }
    if alias.weights.len() > 1 {
        return wrong("Number of items in AdditionalVersionWeights cannot be greater than 1");
    }
    if alias.version.is_none() {
        return wrong("$LATEST is not supported for an alias pointing to more than 1 version");
    }
    for (version, weight) in &alias.weights {
        if !(0.0..=1.0).contains(weight) {
            return wrong("a weight in AdditionalVersionWeights is a number from 0 to 1");
        }
        if alias.version == Some(*version) {
            return wrong(
                "Invalid function version in AdditionalVersionWeights: it is the alias's own",
            );
        }
    }
    Ok(())
}

fn shown(name: &str, alias: AliasRecord) -> FunctionAlias {
    FunctionAlias {
        name: name.to_owned(),
        version: alias.version,
        description: alias.description,
        weights: alias.weights,
        revision_id: alias.revision_id,
        previous: alias
            .before
            .map(|TargetRecord { version, weights }| AliasTarget { version, weights }),
    }
}

fn absent(caller: &Caller, function: &str, name: &str) -> FunctionError {
    let arn = arn(caller, function, Some(name));
    FunctionError::NotFound(format!("Cannot find alias arn: {arn}"))
}

/// Refuses what no alias may be called, and says why: letters, digits, `-` and `_` may be in it, not digits alone, which are versions.
pub fn check_alias_name(name: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let digits = name.bytes().all(|c| c.is_ascii_digit());
    if !digits && name.len() <= FUNCTION_ALIAS_CHARS_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "an alias's name is 1 to {FUNCTION_ALIAS_CHARS_MAX} of A-Z a-z 0-9 - _ and not digits alone: `{name}`"
    ))
}
