//! Managed policies and their versions.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use stepwell_engine::{CompanionKind, PageRequest};

use super::{
    super::{
        Reply,
        xml::{self, Element},
    },
    Call, ITEMS_MAX, Unchanged, add_tags, conflict, missing, more, now_s,
    record::{Policy, Role, fresh_id},
    tag_list, unwritten,
};
use crate::aws::Fault;

const KIND: CompanionKind = CompanionKind::Policy;
const NAME_CHARS_MAX: usize = 128;
/// Characters of a policy without white space (IAM and STS quotas).
const DOCUMENT_CHARS_MAX: usize = 6_144;
const VERSIONS_MAX: usize = 5;

impl Call<'_> {
    /// Answers a call about managed policies.
    pub(super) async fn policy(&self) -> Result<Reply, Fault> {
        Ok(Some(match self.0.action {
            "CreatePolicy" => self.create_policy().await?,
            "GetPolicy" => {
                let policy = self.named().await?;
                let attachments = self.roles_with(&policy.arn).await?.len();
                vec![xml::nested("Policy", policy.shown(attachments, true))]
            }
            "ListPolicies" => self.list_policies().await?,
            "DeletePolicy" => self.delete_policy().await?,
            "CreatePolicyVersion" => self.create_version().await?,
            "GetPolicyVersion" => {
                let policy = self.named().await?;
                let number = self.number()?;
                let version = policy
                    .versions
                    .get(&number)
                    .ok_or_else(|| no_version(number))?;
                vec![xml::nested(
                    "PolicyVersion",
                    policy.version(number, version, true),
                )]
            }
            "ListPolicyVersions" => {
                let policy = self.named().await?;
                let newest_first = policy.versions.iter().rev();
                let entries =
                    newest_first.map(|(number, version)| policy.version(*number, version, false));
                [xml::list("Versions", entries)]
                    .into_iter()
                    .chain(more(None))
                    .collect()
            }
            "SetDefaultPolicyVersion" => {
                let number = self.number()?;
                self.change_policy(|policy| {
                    if !policy.versions.contains_key(&number) {
                        return Err(no_version(number));
                    }
                    policy.default = number;
                    policy.updated_s = now_s();
                    Ok(())
                })
                .await?
            }
            "DeletePolicyVersion" => self.delete_version().await?,
            "TagPolicy" => {
                let tags = self.tags()?;
                self.change_policy(|policy| add_tags(&mut policy.tags, &tags))
                    .await?
            }
            "UntagPolicy" => {
                let keys = self.tag_keys();
                self.change_policy(|policy| {
                    policy.tags.retain(|(key, _)| !keys.contains(&key.as_str()));
                    Ok(())
                })
                .await?
            }
            "ListPolicyTags" => {
                let tags = tag_list(&self.named().await?.tags);
                [tags].into_iter().chain(more(None)).collect()
            }
            "ListEntitiesForPolicy" => self.entities().await?,
            _ => return Ok(None),
        }))
    }

    async fn create_policy(&self) -> Result<Vec<Element>, Fault> {
        let name = self.name("PolicyName", NAME_CHARS_MAX)?;
        let path = self.path()?;
        let mut policy = Policy {
            name: name.to_owned(),
            id: fresh_id("ANPA"),
            arn: self.arn("policy", &path, name),
            path,
            created_s: now_s(),
            updated_s: now_s(),
            description: self.form().text("Description").map(str::to_owned),
            default: 0,
            last: 0,
            versions: BTreeMap::new(),
            tags: self.tags()?,
        };
        policy.add(&self.document("PolicyDocument", DOCUMENT_CHARS_MAX)?, true);
        let engine = &self.0.state.engine;
        let added = engine
            .add_companion(self.0.caller, KIND, name, &policy)
            .await;
        added.map_err(|error| unwritten(KIND, error, name))?;
        Ok(vec![xml::nested("Policy", policy.shown(0, true))])
    }

    async fn list_policies(&self) -> Result<Vec<Element>, Fault> {
        let prefix = self.form().text("PathPrefix").unwrap_or("/");
        if self.form().text("Scope") == Some("AWS") {
            let none = xml::nested("Policies", Vec::new());
            return Ok([none].into_iter().chain(more(None)).collect());
        }
        let page = self.page()?;
        let engine = &self.0.state.engine;
        let found = engine
            .companions::<Policy>(self.0.caller, KIND, "", page)
            .await?;
        let mut shown = Vec::new();
        for policy in found
            .items
            .iter()
            .filter(|policy| policy.path.starts_with(prefix))
        {
            let attachments = self.roles_with(&policy.arn).await?.len();
            shown.push(policy.shown(attachments, false));
        }
        let mut result = vec![xml::list("Policies", shown.into_iter())];
        result.extend(more(found.next_token));
        Ok(result)
    }

    async fn delete_policy(&self) -> Result<Vec<Element>, Fault> {
        let policy = self.named().await?;
        if policy.versions.len() > 1 {
            return Err(conflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
            ));
        }
        if !self.roles_with(&policy.arn).await?.is_empty() {
            return Err(conflict("Cannot delete a policy attached to entities."));
        }
        let engine = &self.0.state.engine;
        let removed = engine
            .remove_companion(self.0.caller, KIND, &policy.name)
            .await;
        removed.map_err(|error| unwritten(KIND, error, &policy.arn))?;
        Ok(Vec::new())
    }

    async fn create_version(&self) -> Result<Vec<Element>, Fault> {
        let document = self.document("PolicyDocument", DOCUMENT_CHARS_MAX)?;
        let counts = self.form().text("SetAsDefault") == Some("true");
        self.change_policy(|policy| {
            if policy.versions.len() >= VERSIONS_MAX {
                let text = format!(
                    "A managed policy can have up to {VERSIONS_MAX} versions. Before you create a new version, you must delete an existing version."
                );
                return Err(Fault::refused("LimitExceeded", text).with(StatusCode::CONFLICT));
            }
            policy.add(&document, counts);
            Ok(())
        })
        .await?;
        let policy = self.named().await?;
        let made = policy.versions.last_key_value();
        let made = made.map(|(number, version)| policy.version(*number, version, false));
        Ok(vec![xml::nested("PolicyVersion", made.unwrap_or_default())])
    }

    async fn delete_version(&self) -> Result<Vec<Element>, Fault> {
        let number = self.number()?;
        self.change_policy(|policy| {
            if number == policy.default {
                return Err(conflict("Cannot delete the default version of a policy."));
            }
            let removed = policy.versions.remove(&number);
            removed.map(drop).ok_or_else(|| no_version(number))
        })
        .await
    }

    async fn entities(&self) -> Result<Vec<Element>, Fault> {
        let policy = self.named().await?;
        let roles = self.roles_with(&policy.arn).await?;
        let entries = roles.iter().map(|role| {
            vec![
                xml::text("RoleName", &role.name),
                xml::text("RoleId", &role.id),
            ]
        });
        let mut result = vec![
            xml::nested("PolicyGroups", Vec::new()),
            xml::nested("PolicyUsers", Vec::new()),
            xml::list("PolicyRoles", entries),
        ];
        result.extend(more(None));
        Ok(result)
    }

    /// Roles that the policy is attached to.
    async fn roles_with(&self, arn: &str) -> Result<Vec<Role>, Fault> {
        let engine = &self.0.state.engine;
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = PageRequest {
                max_results: ITEMS_MAX,
                next_token: token,
            };
            let roles = engine.companions::<Role>(self.0.caller, CompanionKind::Role, "", page);
            let roles = roles.await?;
            let with = |role: &Role| role.attached.iter().any(|attached| attached == arn);
            found.extend(roles.items.into_iter().filter(with));
            token = roles.next_token;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// `VersionId`: `v` and a number.
    fn number(&self) -> Result<u32, Fault> {
        let text = self.need("VersionId")?;
        let number = text
            .strip_prefix('v')
            .and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| {
            let text = format!("The version `{text}` is none: versions are named as in v2");
            Fault::validation(text)
        })
    }

    /// The policy that the call names.
    async fn named(&self) -> Result<Policy, Fault> {
        let arn = self.need("PolicyArn")?;
        let found = self.policy_of(arn).await?;
        found.ok_or_else(|| missing(format!("Policy {arn} was not found.")))
    }

    /// A policy of the account by its ARN.
    pub(super) async fn policy_of(&self, arn: &str) -> Result<Option<Policy>, Fault> {
        let name = arn.rsplit('/').next().unwrap_or_default();
        let engine = &self.0.state.engine;
        let found = engine
            .companion::<Policy>(self.0.caller, KIND, name)
            .await?;
        Ok(found.filter(|policy| policy.arn == arn))
    }

    async fn change_policy(
        &self,
        change: impl Fn(&mut Policy) -> Result<(), Fault>,
    ) -> Result<Vec<Element>, Fault> {
        let arn = self.need("PolicyArn")?;
        let name = self.named().await?.name;
        let engine = &self.0.state.engine;
        let change = |policy: &mut Policy| change(policy).map_err(Unchanged::from);
        let changed = engine
            .change_companion(self.0.caller, KIND, &name, change)
            .await;
        changed.map_err(|error: Unchanged| error.fault(KIND, arn))?;
        Ok(Vec::new())
    }
}

fn no_version(number: u32) -> Fault {
    missing(format!("Policy version v{number} does not exist."))
}
