//! Versions of functions: publish, list, delete. A version is a copy of what is the latest, under a number that is never
//! given twice.

use super::{
    Function, FunctionError, absent,
    record::{Build, FunctionRecord},
};
use crate::{
    api::{Caller, Page, PageRequest},
    engine::Engine,
    lambda::LATEST,
    limits::{FUNCTION_VERSIONS_MAX, FUNCTION_VERSIONS_MAX_RAISED},
    pages,
};

/// What a version is published with.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishFunction<'a> {
    pub description: Option<&'a str>,
    /// The package that has to be the latest.
    pub package_sha256: Option<&'a str>,
    pub revision_id: Option<&'a str>,
}

impl Engine {
    /// Makes a version of what is the latest, or answers the one there is.
    pub async fn publish_function(
        &self,
        caller: &Caller,
        name: &str,
        wanted: PublishFunction<'_>,
    ) -> Result<Function, FunctionError> {
        let raised = self.raised_limits(&caller.tenant);
        self.change_function(caller, name, |record| {
            super::stale(record, wanted.revision_id)?;
            let has = &record.latest.package_sha256;
            if let Some(sha256) = wanted.package_sha256.filter(|sha256| sha256 != has) {
                return Err(FunctionError::Invalid(format!(
                    "CodeSHA256 ({sha256}) is different from current CodeSHA256 in $LATEST ({has}). Please try again with the CodeSHA256 in $LATEST."
                )));
            }
            let number = publish(record, wanted.description, raised)?;
            let build = record.version(number).unwrap_or(&record.latest);
            Ok(build.shown(name, Some(number)))
        })
        .await
    }

    /// What is the latest, and then a function's versions in the order of their numbers.
    pub async fn function_versions(
        &self,
        caller: &Caller,
        name: &str,
        page: PageRequest,
    ) -> Result<Page<Function>, FunctionError> {
        let (record, _) = self.function_record(caller, name).await?;
        let list = self.list(caller, &["function-versions", name]);
        let after = list.number(&page).await?;
        let size = pages::size(&page);
        let latest = after.is_none().then(|| record.latest.shown(name, None));
        let numbered = record.versions.range(after.map_or(0, |after| after + 1)..);
        let numbered = numbered.map(|(number, build)| build.shown(name, Some(*number)));
        let found = latest.into_iter().chain(numbered);
        let found = found.take(size as usize + 1).collect();
        let position = |function: &Function| function.version.unwrap_or(0).to_string();
        Ok(list.cut(found, size, position).await?)
    }

    pub(super) async fn delete_function_version(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: &str,
    ) -> Result<(), FunctionError> {
        if qualifier == LATEST {
            let text = "$LATEST version cannot be deleted without deleting the function.";
            return Err(FunctionError::Invalid(text.to_owned()));
        }
        let number = qualifier.parse::<u64>().map_err(|_| {
            let text = "Deletion of aliases is not currently supported.";
            FunctionError::Invalid(text.to_owned())
        })?;
        self.change_function(caller, name, |record| {
            let used = record.aliases.iter().find(|(_, alias)| {
                alias.version == Some(number) || alias.weights.contains_key(&number)
            });
            if let Some((alias, _)) = used {
                return Err(FunctionError::Conflict(format!(
                    "The version {number} is referenced by the alias `{alias}`; point it to another version first"
                )));
            }
            if record.versions.remove(&number).is_none() {
                return Err(absent(caller, name, Some(qualifier)));
            }
            record.policies.remove(&number.to_string());
            record.published = record.published.filter(|published| *published != number);
            Ok(())
        })
        .await
    }
}

/// Gives the latest a number, unless it has one.
pub(super) fn publish(
    record: &mut FunctionRecord,
    description: Option<&str>,
    raised: bool,
) -> Result<u64, FunctionError> {
    if let Some(number) = record.published {
        return Ok(number);
    }
    let most = match raised {
        true => FUNCTION_VERSIONS_MAX_RAISED,
        false => FUNCTION_VERSIONS_MAX,
    };
    if record.versions.len() >= most {
        return Err(FunctionError::Full(format!(
            "The function has {most} versions, which is the most it can have; delete one that is not needed"
        )));
    }
    let number = record.last_version + 1;
    record.last_version = number;
    let mut build = Build {
        revision_id: super::fresh_revision(),
        ..record.latest.clone()
    };
    if let Some(description) = description {
        build.settings.describe(description.to_owned());
    }
    record.versions.insert(number, build);
    record.published = Some(number);
    Ok(number)
}
