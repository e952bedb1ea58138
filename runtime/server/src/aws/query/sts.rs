//! STS: who a key is, and keys that hold for a while. AWS's query protocol: a form in, XML out. What it hides: the calls,
//! their parameters and how sessions come from them.
//!
//! Source: the API reference of STS (2011-06-15). Texts of errors are those that its clients are known to meet.

use stepwell_engine::{Assumed, AuditEntry, Role, Session, SessionCredentials};

use super::{
    Query, Reply, form,
    xml::{self, Element},
};
use crate::{
    auth::{Identity, now_s},
    aws::Fault,
    limits::{
        ROLE_SESSION_SECONDS, ROLE_SESSION_SECONDS_MAX, SESSION_SECONDS, SESSION_SECONDS_MAX,
        SESSION_SECONDS_MIN,
    },
};

/// The members of the call's result; `None` when there is no such call.
pub(super) async fn call(query: Query<'_>) -> Result<Reply, Fault> {
    let call = Call(query);
    Ok(Some(match query.action {
        "GetCallerIdentity" => call.caller_identity(),
        "GetSessionToken" => call.session_token().await?,
        "AssumeRole" => call.assume_role().await?,
        _ => return Ok(None),
    }))
}

struct Call<'a>(Query<'a>);

impl Call<'_> {
    fn account(&self) -> &str {
        self.0
            .identity
            .map_or(&self.0.state.config.account, |identity| {
                &identity.key.account
            })
    }

    fn caller_identity(&self) -> Vec<Element> {
        let account = self.account();
        let (arn, user) = match self.0.identity {
            Some(identity) => (identity.arn(), identity.user_id()),
            None => (format!("arn:aws:iam::{account}:root"), account.to_owned()),
        };
        vec![
            xml::text("Arn", &arn),
            xml::text("UserId", &user),
            xml::text("Account", account),
        ]
    }

    async fn session_token(&self) -> Result<Vec<Element>, Fault> {
        let mut wrong = form::Wrong::default();
        let seconds = self.0.form.seconds(
            SESSION_SECONDS,
            SESSION_SECONDS_MIN..=SESSION_SECONDS_MAX,
            &mut wrong,
        );
        wrong.told()?;
        // A code that nobody can check is not taken for a right one.
        if self.0.form.text("TokenCode").is_some() || self.0.form.text("SerialNumber").is_some() {
            let text = "MultiFactorAuthentication failed with invalid MFA one time pass code. ";
            return Err(Fault::denied(text.to_owned()));
        }
        let identity = self.0.identity;
        if identity.is_some_and(|identity| identity.session.is_some()) {
            let text = "Cannot call GetSessionToken with session credentials";
            return Err(Fault::denied(text.to_owned()));
        }
        self.audit("sts:GetSessionToken", "", None).await?;
        let session = Session {
            parent: identity.map_or_else(|| "-".into(), |identity| identity.key.id.clone()),
            account: self.account().into(),
            role: identity.map_or(Role::Operator, |identity| identity.key.role),
            expires_s: now_s() + seconds,
            assumed: None,
        };
        Ok(vec![credentials(&self.begin(session))])
    }

    async fn assume_role(&self) -> Result<Vec<Element>, Fault> {
        let (role, assumed, seconds) = self.assumption()?;
        let account = self.account().to_owned();
        let granted = self.granted(role.account, &assumed.role);
        let Some(granted) = granted else {
            self.audit("sts:AssumeRole", role.arn, Some("AccessDenied"))
                .await?;
            return Err(self.denied(role.arn));
        };
        let chained = self
            .0
            .identity
            .and_then(|identity| identity.session.as_ref());
        let until = now_s() + seconds;
        let session = Session {
            parent: self
                .0
                .identity
                .map_or_else(|| "-".into(), |identity| identity.key.id.clone()),
            account: account.as_str().into(),
            role: granted,
            // What a session begins ends with it, or a stolen one would last for ever.
            expires_s: chained.map_or(until, |within| until.min(within.session.expires_s)),
            assumed: Some(assumed.clone()),
        };
        self.audit("sts:AssumeRole", role.arn, None).await?;
        let arn = format!(
            "arn:aws:sts::{}:assumed-role/{}/{}",
            role.account, assumed.role, assumed.name
        );
        let id = xml::text(
            "AssumedRoleId",
            &crate::auth::role_session_id(role.account, &assumed),
        );
        let mut result = vec![
            xml::nested("AssumedRoleUser", vec![id, xml::text("Arn", &arn)]),
            credentials(&self.begin(session)),
        ];
        if let Some(source) = self.0.form.text("SourceIdentity") {
            result.push(xml::text("SourceIdentity", source));
        }
        Ok(result)
    }

    /// The role that is asked for, the session's name and its time, all in form.
    fn assumption(&self) -> Result<(RoleArn<'_>, Assumed, i64), Fault> {
        let mut wrong = form::Wrong::default();
        let arn = self.0.form.need("RoleArn", &mut wrong);
        wrong.length("roleArn", arn, 20..=2048);
        let name = self.0.form.need("RoleSessionName", &mut wrong);
        wrong.length("roleSessionName", name, 2..=64);
        wrong.characters("roleSessionName", name);
        let range = SESSION_SECONDS_MIN..=ROLE_SESSION_SECONDS_MAX;
        let seconds = self.0.form.seconds(ROLE_SESSION_SECONDS, range, &mut wrong);
        wrong.told()?;
        let arn = arn.unwrap_or_default();
        let role = RoleArn::read(arn);
        let role = role.ok_or_else(|| Fault::validation(format!("{arn} is invalid")))?;
        let chained = self
            .0
            .identity
            .is_some_and(|identity| identity.session.is_some());
        if chained && seconds > ROLE_SESSION_SECONDS {
            return Err(Fault::validation(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            ));
        }
        if self.0.form.has("Policy") || self.0.form.has("PolicyArns") {
            // A restriction that is not enforced would be worse than none.
            return Err(Fault::validation(
                "session policies are not offered by this version of Stepwell; assume one of the roles read, run, admin and operator instead",
            ));
        }
        let assumed = Assumed {
            role: role.name.into(),
            name: name.unwrap_or_default().into(),
        };
        Ok((role, assumed, seconds))
    }

    /// What the session may do: the role of that name, when the caller may do as much. Without keys all may.
    fn granted(&self, account: &str, role: &str) -> Option<Role> {
        let Some(identity) = self.0.identity else {
            return Some(Role::Operator);
        };
        let role = Role::ALL.into_iter().find(|known| known.name() == role)?;
        (*identity.key.account == *account && role <= identity.key.role).then_some(role)
    }

    fn denied(&self, arn: &str) -> Fault {
        let who = self.0.identity.map_or_else(String::new, Identity::arn);
        Fault::denied(format!(
            "User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn} (the roles of an account here are read, run, admin and operator, and a key assumes those that may do no more than itself)"
        ))
    }

    /// Where no key is needed a session is as good as anything.
    fn begin(&self, session: Session) -> SessionCredentials {
        let authentication = self.0.state.config.authentication.as_ref();
        let vault = authentication.map(|how| how.vault.clone());
        vault
            .unwrap_or_else(stepwell_engine::Vault::fresh)
            .begin_session(session)
    }

    /// Who makes keys is in the audit log, before they are made.
    async fn audit(
        &self,
        operation: &str,
        resource: &str,
        refused: Option<&str>,
    ) -> Result<(), Fault> {
        let Some(identity) = self.0.identity else {
            return Ok(());
        };
        let entry = AuditEntry {
            refused: refused.map(str::to_owned),
            ..identity.entry(operation, resource, self.0.request_id)
        };
        let account = &identity.key.account;
        Ok(self.0.state.engine.audit(account, &entry).await?)
    }
}

/// `arn:aws:iam::ACCOUNT:role/PATH/NAME`.
#[derive(Clone, Copy)]
struct RoleArn<'a> {
    arn: &'a str,
    account: &'a str,
    name: &'a str,
}

impl<'a> RoleArn<'a> {
    fn read(arn: &'a str) -> Option<RoleArn<'a>> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", "aws", "iam", "", account, role] = parts[..] else {
            return None;
        };
        let name = role.strip_prefix("role/")?.rsplit('/').next()?;
        let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        (digits && !name.is_empty()).then_some(RoleArn { arn, account, name })
    }
}

fn credentials(made: &SessionCredentials) -> Element {
    xml::nested(
        "Credentials",
        vec![
            xml::text("AccessKeyId", &made.id),
            xml::text("SecretAccessKey", &made.secret),
            xml::text("SessionToken", &made.token),
            xml::text("Expiration", &xml::time(made.session.expires_s)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_named_by_its_arn() {
        let read = |arn| RoleArn::read(arn).map(|role| (role.account, role.name));
        assert_eq!(
            read("arn:aws:iam::111111111111:role/team/read"),
            Some(("111111111111", "read"))
        );
        for arn in [
            "",
            "read",
            "arn:aws:iam::111111111111:user/read",
            "arn:aws:iam::1:role/read",
            "arn:aws:iam::111111111111:role/",
            "arn:aws:iam:us-east-1:111111111111:role/read",
            "arn:aws:sts::111111111111:role/read",
        ] {
            assert_eq!(read(arn), None, "{arn}");
        }
    }
}
