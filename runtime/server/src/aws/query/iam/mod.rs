//! IAM, as far as tools need it that make a role before the state machine that is to run under it: roles, their inline policies
//! and managed policies are kept and given back. What it hides: the calls. Nothing is granted by them: what a key may do is its
//! role here (`auth::rights`), and what plugins may do their grants.
//!
//! Source: the API reference of IAM (2010-05-08). Texts of errors are those that its clients are known to meet.

mod policies;
mod record;
mod roles;

use axum::http::{Method, StatusCode};
use stepwell_engine::{CompanionError, CompanionKind, PageRequest};
use stepwell_query::Value;

use super::{
    Query, Reply,
    form::{Form, Wrong, lower},
    xml::{self, Element},
};
use crate::{
    auth::{CHANGE, LOOK, Permit, now_s},
    aws::Fault,
    guard,
};

/// Items of a page, unless the call says otherwise (IAM: `MaxItems`).
const ITEMS: u32 = 100;
const ITEMS_MAX: u32 = 1_000;
const TAGS_MAX: usize = 50;

/// The members of the call's result; `None` when there is no such call.
pub(super) async fn call(query: Query<'_>) -> Result<Reply, Fault> {
    if query.identity.is_none() && guard::is_of_page(query.headers) {
        // Without authentication a form of any page could change something here.
        return Err(Fault::denied(
            "web pages may not call this service; it is for programs".to_owned(),
        ));
    }
    if query.identity.is_none() && query.method != Method::POST {
        // An address is followed without asking; a form is sent with its page's name.
        return Err(Fault::denied(
            "without access keys this service is asked by POST, with the form as its body"
                .to_owned(),
        ));
    }
    let looks = ["Get", "List"];
    let looks = looks.iter().any(|verb| query.action.starts_with(verb));
    let permit = match query.identity {
        Some(identity) => {
            let action = format!("iam:{}", query.action);
            let right = if looks { LOOK } else { CHANGE };
            let named = ["RoleName", "PolicyArn", "PolicyName"];
            let about = named.iter().find_map(|name| query.form.text(name));
            let about = about.unwrap_or_default();
            let id = query.request_id;
            Some(Permit::ask_for(query.state, identity, &action, right, about, id).await?)
        }
        None => None,
    };
    let call = Call(query);
    let served = match call.role().await {
        Ok(None) => call.policy().await,
        found @ (Ok(Some(_)) | Err(_)) => found,
    };
    if let (Some(permit), Err(fault)) = (permit, &served) {
        permit.failed(fault.code()).await?;
    }
    served
}

/// One call, with what all of them do.
#[derive(Clone, Copy)]
struct Call<'a>(Query<'a>);

impl<'a> Call<'a> {
    fn form(&self) -> &'a Form {
        self.0.form
    }

    /// A parameter that the call cannot do without.
    fn need(&self, name: &'static str) -> Result<&'a str, Fault> {
        let mut wrong = Wrong::default();
        let found = self.0.form.need(name, &mut wrong);
        wrong.told()?;
        Ok(found.unwrap_or_default())
    }

    /// A name in the characters that IAM has for names.
    fn name(&self, name: &'static str, most: usize) -> Result<&'a str, Fault> {
        let mut wrong = Wrong::default();
        let found = self.0.form.need(name, &mut wrong);
        let member = lower(name);
        wrong.length(&member, found, 1..=most);
        wrong.characters(&member, found);
        wrong.told()?;
        Ok(found.unwrap_or_default())
    }

    /// `Path`: begins and ends with a slash.
    fn path(&self) -> Result<String, Fault> {
        let path = self.0.form.text("Path").unwrap_or("/");
        let whole = path.starts_with('/') && path.ends_with('/') && path.len() <= 512;
        if whole && path.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
            return Ok(path.to_owned());
        }
        Err(Fault::validation(format!(
            "The specified value for path is invalid: {path}. It must begin and end with / and contain only printable ASCII characters."
        )))
    }

    /// A policy's text: JSON within IAM's size.
    fn document(&self, name: &'static str, most: usize) -> Result<String, Fault> {
        let text = self.need(name)?;
        if text.chars().filter(|c| !c.is_whitespace()).count() > most {
            let text = format!("Cannot exceed quota for PolicySize: {most}");
            return Err(Fault::refused("LimitExceeded", text).with(StatusCode::CONFLICT));
        }
        let read = Value::parse(text);
        if read.is_ok_and(|document| document.get("Statement").is_some()) {
            return Ok(text.to_owned());
        }
        let text = "This policy contains invalid Json";
        Err(Fault::refused("MalformedPolicyDocument", text))
    }

    /// `Tags.member.N`.
    fn tags(&self) -> Result<Vec<(String, String)>, Fault> {
        let mut tags = Vec::new();
        for index in 1.. {
            let of = |part: &str| self.0.form.text(&format!("Tags.member.{index}.{part}"));
            let Some(key) = of("Key") else { break };
            tags.push((key.to_owned(), of("Value").unwrap_or_default().to_owned()));
        }
        if tags.len() > TAGS_MAX {
            return Err(too_many_tags());
        }
        Ok(tags)
    }

    /// `TagKeys.member.N`.
    fn tag_keys(&self) -> Vec<&'a str> {
        let member = |index: usize| self.0.form.text(&format!("TagKeys.member.{index}"));
        (1..).map_while(member).collect()
    }

    /// `MaxItems` and `Marker`.
    fn page(&self) -> Result<PageRequest, Fault> {
        let size = match self.0.form.text("MaxItems").map(str::parse::<u32>) {
            None => ITEMS,
            Some(Ok(size)) if (1..=ITEMS_MAX).contains(&size) => size,
            Some(Ok(_) | Err(_)) => {
                let text = format!("MaxItems must be from 1 to {ITEMS_MAX}");
                return Err(Fault::validation(text));
            }
        };
        Ok(PageRequest {
            max_results: size,
            next_token: self.0.form.text("Marker").map(str::to_owned),
        })
    }

    fn arn(&self, kind: &str, path: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:{kind}{path}{name}", self.0.caller.tenant)
    }
}

fn too_many_tags() -> Fault {
    let text = format!("The number of tags has reached the maximum limit: {TAGS_MAX}");
    Fault::refused("LimitExceeded", text).with(StatusCode::CONFLICT)
}

/// Adds tags; a key that is there gets the new value.
fn add_tags(tags: &mut Vec<(String, String)>, added: &[(String, String)]) -> Result<(), Fault> {
    for (key, value) in added {
        match tags.iter_mut().find(|(found, _)| found == key) {
            Some((_, found)) => found.clone_from(value),
            None => tags.push((key.clone(), value.clone())),
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(too_many_tags());
    }
    Ok(())
}

/// What follows a list: whether there is more, and from where on.
fn more(next: Option<String>) -> Vec<Element> {
    let truncated = xml::text("IsTruncated", &next.is_some().to_string());
    let marker = next.map(|next| xml::text("Marker", &next));
    [truncated].into_iter().chain(marker).collect()
}

fn tag_list(tags: &[(String, String)]) -> Element {
    let entries = tags
        .iter()
        .map(|(key, value)| vec![xml::text("Key", key), xml::text("Value", value)]);
    xml::list("Tags", entries)
}

fn missing(text: String) -> Fault {
    Fault::refused("NoSuchEntity", text).with(StatusCode::NOT_FOUND)
}

fn exists(text: String) -> Fault {
    Fault::refused("EntityAlreadyExists", text).with(StatusCode::CONFLICT)
}

fn conflict(text: &'static str) -> Fault {
    Fault::refused("DeleteConflict", text).with(StatusCode::CONFLICT)
}

/// Why a role or policy was not written.
fn unwritten(kind: CompanionKind, error: CompanionError, about: &str) -> Fault {
    let role = kind == CompanionKind::Role;
    match error {
        CompanionError::Exists if role => exists(format!("Role with name {about} already exists.")),
        CompanionError::Exists => exists(format!(
            "A policy called {about} already exists. Duplicate names are not allowed."
        )),
        CompanionError::Missing if role => {
            missing(format!("The role with name {about} cannot be found."))
        }
        CompanionError::Missing => missing(format!("Policy {about} was not found.")),
        CompanionError::Full(most) => {
            let what = if role {
                "RolesPerAccount"
            } else {
                "PoliciesPerAccount"
            };
            let text = format!("Cannot exceed quota for {what}: {most}.");
            Fault::refused("LimitExceeded", text).with(StatusCode::CONFLICT)
        }
        CompanionError::Failed(error) => error.into(),
    }
}

/// A change's refusal, whichever side it comes from.
enum Unchanged {
    Refused(Fault),
    Unwritten(CompanionError),
}

impl From<CompanionError> for Unchanged {
    fn from(error: CompanionError) -> Unchanged {
        Unchanged::Unwritten(error)
    }
}

impl From<Fault> for Unchanged {
    fn from(fault: Fault) -> Unchanged {
        Unchanged::Refused(fault)
    }
}

impl Unchanged {
    fn fault(self, kind: CompanionKind, about: &str) -> Fault {
        match self {
            Unchanged::Refused(fault) => fault,
            Unchanged::Unwritten(error) => unwritten(kind, error, about),
        }
    }
}
