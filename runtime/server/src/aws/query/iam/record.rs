//! What is kept of roles and policies. What it hides: how they are shown.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    super::xml::{self, Element},
    now_s, tag_list,
};

/// What stays as it is in a policy's text (RFC 3986, as IAM writes it).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Stored form, codec v1: fields are only added, with a default.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) created_s: i64,
    /// Who may assume it.
    pub(super) trust: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) session_seconds: i64,
    /// ARN of the policy that bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boundary: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<(String, String)>,
    /// Policies of its own, by name.
    #[serde(default)]
    pub(super) inline: BTreeMap<String, String>,
    /// ARNs of managed policies.
    #[serde(default)]
    pub(super) attached: Vec<String>,
}

/// Stored form, codec v1: fields are only added, with a default.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) created_s: i64,
    pub(super) updated_s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Number of the version that counts.
    pub(super) default: u32,
    /// The highest number that a version ever got.
    pub(super) last: u32,
    /// By number.
    pub(super) versions: BTreeMap<u32, PolicyVersion>,
    #[serde(default)]
    pub(super) tags: Vec<(String, String)>,
}

/// Stored form, codec v1.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyVersion {
    pub(super) document: String,
    pub(super) created_s: i64,
}

impl Role {
    /// The members of a role; a list leaves some out, as IAM does.
    pub(super) fn shown(&self, whole: bool) -> Vec<Element> {
        let mut shown = vec![
            xml::text("Path", &self.path),
            xml::text("RoleName", &self.name),
            xml::text("RoleId", &self.id),
            xml::text("Arn", &self.arn),
            xml::text("CreateDate", &xml::time(self.created_s)),
            xml::text("AssumeRolePolicyDocument", &encoded(&self.trust)),
        ];
        shown.extend(
            self.description
                .as_ref()
                .map(|text| xml::text("Description", text)),
        );
        let seconds = self.session_seconds.to_string();
        shown.push(xml::text("MaxSessionDuration", &seconds));
        if !whole {
            return shown;
        }
        if let Some(arn) = &self.boundary {
            let kind = xml::text("PermissionsBoundaryType", "Policy");
            let arn = xml::text("PermissionsBoundaryArn", arn);
            shown.push(xml::nested("PermissionsBoundary", vec![kind, arn]));
        }
        if !self.tags.is_empty() {
            shown.push(tag_list(&self.tags));
        }
        shown.push(xml::nested("RoleLastUsed", Vec::new()));
        shown
    }
}

impl Policy {
    /// The members of a policy; a list leaves some out, as IAM does.
    pub(super) fn shown(&self, attachments: usize, whole: bool) -> Vec<Element> {
        let mut shown = vec![
            xml::text("PolicyName", &self.name),
            xml::text("PolicyId", &self.id),
            xml::text("Arn", &self.arn),
            xml::text("Path", &self.path),
            xml::text("DefaultVersionId", &format!("v{}", self.default)),
            xml::text("AttachmentCount", &attachments.to_string()),
            xml::text("PermissionsBoundaryUsageCount", "0"),
            xml::text("IsAttachable", "true"),
            xml::text("CreateDate", &xml::time(self.created_s)),
            xml::text("UpdateDate", &xml::time(self.updated_s)),
        ];
        if whole {
            shown.extend(
                self.description
                    .as_ref()
                    .map(|text| xml::text("Description", text)),
            );
            shown.push(tag_list(&self.tags));
        }
        shown
    }

    /// The members of one of its versions.
    pub(super) fn version(
        &self,
        number: u32,
        version: &PolicyVersion,
        whole: bool,
    ) -> Vec<Element> {
        let document = whole.then(|| xml::text("Document", &encoded(&version.document)));
        let rest = [
            xml::text("VersionId", &format!("v{number}")),
            xml::text("IsDefaultVersion", &(number == self.default).to_string()),
            xml::text("CreateDate", &xml::time(version.created_s)),
        ];
        document.into_iter().chain(rest).collect()
    }

    /// Adds a version; it counts when it is to.
    pub(super) fn add(&mut self, document: &str, counts: bool) -> u32 {
        self.last += 1;
        let version = PolicyVersion {
            document: document.to_owned(),
            created_s: now_s(),
        };
        self.versions.insert(self.last, version);
        if counts {
            self.default = self.last;
            self.updated_s = now_s();
        }
        self.last
    }
}

/// A policy's text as IAM writes it.
pub(super) fn encoded(document: &str) -> String {
    utf8_percent_encode(document, PLAIN).to_string()
}

/// An id that nothing else has: `AROA` or `ANPA` and 17 more (IAM user guide).
pub(super) fn fresh_id(prefix: &str) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = Uuid::new_v4().as_u128();
    let mut id = prefix.to_owned();
    for _ in 0..17 {
        id.push(char::from(DIGITS[(random % 32) as usize]));
        random /= 32;
    }
    id
}
