//! Roles and the policies that are on them.

use std::collections::BTreeMap;

use stepwell_engine::CompanionKind;

use super::{
    super::{
        Reply,
        xml::{self, Element},
    },
    Call, Unchanged, add_tags, conflict, lower, missing, more, now_s,
    record::{Role, encoded, fresh_id},
    tag_list, unwritten,
};
use crate::aws::Fault;

const KIND: CompanionKind = CompanionKind::Role;
const NAME_CHARS_MAX: usize = 64;
const POLICY_NAME_CHARS_MAX: usize = 128;
/// Characters of policies without white space (IAM and STS quotas).
const TRUST_CHARS_MAX: usize = 4_096;
const INLINE_CHARS_MAX: usize = 10_240;
const SESSION_SECONDS: std::ops::RangeInclusive<i64> = 3_600..=43_200;

impl Call<'_> {
    /// Answers a call about roles.
    pub(super) async fn role(&self) -> Result<Reply, Fault> {
        Ok(Some(match self.0.action {
            "CreateRole" => self.create_role().await?,
            "GetRole" => vec![xml::nested("Role", self.stored().await?.shown(true))],
            "ListRoles" => self.list_roles().await?,
            "DeleteRole" => self.delete_role().await?,
            "UpdateRole" => self.update_role().await?,
            "UpdateAssumeRolePolicy" => {
                let trust = self.document("PolicyDocument", TRUST_CHARS_MAX)?;
                self.change(|role| {
                    role.trust.clone_from(&trust);
                    Ok(())
                })
                .await?
            }
            "PutRolePermissionsBoundary" => {
                let arn = self.need("PermissionsBoundary")?;
                self.change(|role| {
                    role.boundary = Some(arn.to_owned());
                    Ok(())
                })
                .await?
            }
            "DeleteRolePermissionsBoundary" => {
                self.change(|role| {
                    role.boundary = None;
                    Ok(())
                })
                .await?
            }
            "TagRole" => {
                let tags = self.tags()?;
                self.change(|role| add_tags(&mut role.tags, &tags)).await?
            }
            "UntagRole" => {
                let keys = self.tag_keys();
                self.change(|role| {
                    role.tags.retain(|(key, _)| !keys.contains(&key.as_str()));
                    Ok(())
                })
                .await?
            }
            "ListRoleTags" => whole(tag_list(&self.stored().await?.tags)),
            // None is ever made.
            "ListInstanceProfilesForRole" => {
                self.stored().await?;
                whole(xml::nested("InstanceProfiles", Vec::new()))
            }
            _ => return self.policy_of_role().await,
        }))
    }

    /// Answers a call about the policies of a role.
    async fn policy_of_role(&self) -> Result<Reply, Fault> {
        Ok(Some(match self.0.action {
            "PutRolePolicy" => self.put_inline().await?,
            "GetRolePolicy" => self.inline().await?,
            "DeleteRolePolicy" => {
                let name = self.name("PolicyName", POLICY_NAME_CHARS_MAX)?;
                self.change(|role| {
                    role.inline
                        .remove(name)
                        .map(drop)
                        .ok_or_else(|| no_inline(name))
                })
                .await?
            }
            "ListRolePolicies" => {
                let role = self.stored().await?;
                whole(xml::texts(
                    "PolicyNames",
                    role.inline.keys().map(String::as_str),
                ))
            }
            "AttachRolePolicy" => self.attach().await?,
            "DetachRolePolicy" => {
                let arn = self.need("PolicyArn")?;
                self.change(|role| {
                    let before = role.attached.len();
                    role.attached.retain(|attached| attached != arn);
                    if role.attached.len() == before {
                        return Err(missing(format!("Policy {arn} was not found.")));
                    }
                    Ok(())
                })
                .await?
            }
            "ListAttachedRolePolicies" => {
                let role = self.stored().await?;
                let entries = role.attached.iter().map(|arn| {
                    let name = arn.rsplit('/').next().unwrap_or_default();
                    vec![xml::text("PolicyName", name), xml::text("PolicyArn", arn)]
                });
                whole(xml::list("AttachedPolicies", entries))
            }
            _ => return Ok(None),
        }))
    }

    async fn create_role(&self) -> Result<Vec<Element>, Fault> {
        let name = self.name("RoleName", NAME_CHARS_MAX)?;
        let path = self.path()?;
        let role = Role {
            name: name.to_owned(),
            id: fresh_id("AROA"),
            arn: self.arn("role", &path, name),
            path,
            created_s: now_s(),
            trust: self.document("AssumeRolePolicyDocument", TRUST_CHARS_MAX)?,
            description: self.form().text("Description").map(str::to_owned),
            session_seconds: self.session_seconds()?.unwrap_or(*SESSION_SECONDS.start()),
            boundary: self.form().text("PermissionsBoundary").map(str::to_owned),
            tags: self.tags()?,
            inline: BTreeMap::new(),
            attached: Vec::new(),
        };
        let engine = &self.0.state.engine;
        let added = engine.add_companion(self.0.caller, KIND, name, &role).await;
        added.map_err(|error| unwritten(KIND, error, name))?;
        Ok(vec![xml::nested("Role", role.shown(true))])
    }

    async fn list_roles(&self) -> Result<Vec<Element>, Fault> {
        let prefix = self.form().text("PathPrefix").unwrap_or("/");
        let page = self.page()?;
        let engine = &self.0.state.engine;
        let found = engine
            .companions::<Role>(self.0.caller, KIND, "", page)
            .await?;
        let roles = found
            .items
            .iter()
            .filter(|role| role.path.starts_with(prefix));
        let mut result = vec![xml::list("Roles", roles.map(|role| role.shown(false)))];
        result.extend(more(found.next_token));
        Ok(result)
    }

    async fn delete_role(&self) -> Result<Vec<Element>, Fault> {
        let role = self.stored().await?;
        if !role.attached.is_empty() {
            let text = "Cannot delete entity, must detach all policies first.";
            return Err(conflict(text));
        }
        if !role.inline.is_empty() {
            return Err(conflict(
                "Cannot delete entity, must delete policies first.",
            ));
        }
        let engine = &self.0.state.engine;
        let removed = engine
            .remove_companion(self.0.caller, KIND, &role.name)
            .await;
        removed.map_err(|error| unwritten(KIND, error, &role.name))?;
        Ok(Vec::new())
    }

    async fn update_role(&self) -> Result<Vec<Element>, Fault> {
        let (description, seconds) = (self.form().text("Description"), self.session_seconds()?);
        self.change(|role| {
            if let Some(description) = description {
                role.description = Some(description.to_owned());
            }
            role.session_seconds = seconds.unwrap_or(role.session_seconds);
            Ok(())
        })
        .await
    }

    async fn put_inline(&self) -> Result<Vec<Element>, Fault> {
        let name = self.name("PolicyName", POLICY_NAME_CHARS_MAX)?;
        let document = self.document("PolicyDocument", INLINE_CHARS_MAX)?;
        self.change(|role| {
            role.inline.insert(name.to_owned(), document.clone());
            let chars: usize = role.inline.values().map(String::len).sum();
            if chars <= INLINE_CHARS_MAX {
                return Ok(());
            }
            let name = &role.name;
            let text =
                format!("Maximum policy size of {INLINE_CHARS_MAX} bytes exceeded for role {name}");
            Err(Fault::refused("LimitExceeded", text).with(axum::http::StatusCode::CONFLICT))
        })
        .await
    }

    async fn inline(&self) -> Result<Vec<Element>, Fault> {
        let name = self.name("PolicyName", POLICY_NAME_CHARS_MAX)?;
        let role = self.stored().await?;
        let document = role.inline.get(name).ok_or_else(|| no_inline(name))?;
        Ok(vec![
            xml::text("RoleName", &role.name),
            xml::text("PolicyName", name),
            xml::text("PolicyDocument", &encoded(document)),
        ])
    }

    async fn attach(&self) -> Result<Vec<Element>, Fault> {
        let arn = self.need("PolicyArn")?;
        // AWS's own are many and change nothing here.
        let own = !arn.starts_with("arn:aws:iam::aws:policy/");
        if own && self.policy_of(arn).await?.is_none() {
            let text = format!("Policy {arn} does not exist or is not attachable.");
            return Err(missing(text));
        }
        self.change(|role| {
            if !role.attached.iter().any(|attached| attached == arn) {
                role.attached.push(arn.to_owned());
            }
            Ok(())
        })
        .await
    }

    /// `MaxSessionDuration`.
    fn session_seconds(&self) -> Result<Option<i64>, Fault> {
        let Some(text) = self.form().text("MaxSessionDuration") else {
            return Ok(None);
        };
        let seconds = text.parse::<i64>().ok();
        match seconds.filter(|seconds| SESSION_SECONDS.contains(seconds)) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(Fault::validation(format!(
                "1 validation error detected: Value '{text}' at '{}' failed to satisfy constraint: Member must have value from {} to {}",
                lower("MaxSessionDuration"),
                SESSION_SECONDS.start(),
                SESSION_SECONDS.end()
            ))),
        }
    }

    /// The role that the call names.
    async fn stored(&self) -> Result<Role, Fault> {
        let name = self.name("RoleName", NAME_CHARS_MAX)?;
        let engine = &self.0.state.engine;
        let found = engine.companion::<Role>(self.0.caller, KIND, name).await?;
        found.ok_or_else(|| missing(format!("The role with name {name} cannot be found.")))
    }

    async fn change(
        &self,
        change: impl Fn(&mut Role) -> Result<(), Fault>,
    ) -> Result<Vec<Element>, Fault> {
        let name = self.name("RoleName", NAME_CHARS_MAX)?;
        let engine = &self.0.state.engine;
        let change = |role: &mut Role| change(role).map_err(Unchanged::from);
        let changed = engine
            .change_companion(self.0.caller, KIND, name, change)
            .await;
        changed.map_err(|error: Unchanged| error.fault(KIND, name))?;
        Ok(Vec::new())
    }
}

fn no_inline(name: &str) -> Fault {
    missing(format!("The role policy with name {name} cannot be found."))
}

/// A list that is always given whole.
fn whole(list: Element) -> Vec<Element> {
    [list].into_iter().chain(more(None)).collect()
}
