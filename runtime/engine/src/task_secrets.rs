//! Secrets of tasks that tenants keep in the store. Hides that they are sealed; their values leave this module for the
//! attempts of tasks alone.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use stepwell_interp::Timestamp;

use crate::{
    engine::Engine,
    error::Error,
    node::Node,
    runner::TaskSecrets,
    sealed::{Found, Kept, KeptPage, SealedKind, SealedStore, invalid},
};

impl Engine {
    /// Keeps a secret of an account, in the place of the one of that name; attempts that begin from now on have it. Tells
    /// whether the name is new.
    ///
    /// # Errors
    /// Of no error the text has the value.
    pub async fn put_secret(&self, account: &str, name: &str, value: &str) -> Result<bool, Error> {
        if value.is_empty() {
            return Err(invalid(format!(
                "the value of the secret `{name}` is empty"
            )));
        }
        let value = |_| Ok(value.to_owned());
        self.put_sealed(SealedKind::Secret, account, name, value)
            .await
    }

    /// A page of the names of an account's secrets.
    pub async fn secrets(
        &self,
        account: &str,
        after: Option<&str>,
    ) -> Result<KeptPage<Kept>, Error> {
        let page = self.list_sealed(SealedKind::Secret, account, after).await?;
        let sealed = &self.node().sealed;
        let closed = |found: &Found| {
            let value = sealed.open(SealedKind::Secret, account, &found.name, &found.record);
            let error = value.err()?;
            tracing::warn!(%error, "a secret is listed that does not open");
            Some(error.why)
        };
        let kept = page.items.into_iter().map(|found| Kept {
            hidden: self.hides_secret(account, &found.name),
            closed: closed(&found),
            name: found.name,
            created_at: Timestamp(found.record.created_ms),
            changed_at: Timestamp(found.record.changed_ms),
        });
        Ok(KeptPage {
            items: kept.collect(),
            after: page.after,
        })
    }

    /// Whether the operator's own file has a secret of that name, which counts before the store's.
    pub fn hides_secret(&self, account: &str, name: &str) -> bool {
        self.node().runner.has_secret(account, name)
    }

    /// Forgets a secret of an account; attempts that run keep what they began with.
    pub async fn delete_secret(&self, account: &str, name: &str) -> Result<(), Error> {
        self.delete_sealed(SealedKind::Secret, account, name).await
    }
}

/// The secrets of one account, for one attempt.
struct OfAccount {
    sealed: Arc<SealedStore>,
    account: Arc<str>,
}

impl TaskSecrets for OfAccount {
    fn open(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'static, Result<BTreeMap<String, String>, String>> {
        let (sealed, account) = (self.sealed.clone(), self.account.clone());
        Box::pin(async move {
            let mut opened = BTreeMap::new();
            for name in names {
                let value = secret(&sealed, &account, &name).await.map_err(|error| {
                    tracing::error!(account = &*account, secret = name, %error, "a task does not get its secret");
                    format!("the secret `{name}` cannot be had now; the server's log says why")
                })?;
                if let Some(value) = value {
                    opened.insert(name, value);
                }
            }
            Ok(opened)
        })
    }
}

impl Node {
    /// Where an attempt of an account's task finds its secrets.
    pub(crate) fn secrets_of(&self, account: &Arc<str>) -> Arc<dyn TaskSecrets> {
        Arc::new(OfAccount {
            sealed: self.sealed.clone(),
            account: account.clone(),
        })
    }
}

async fn secret(sealed: &SealedStore, account: &str, name: &str) -> Result<Option<String>, Error> {
    let kind = SealedKind::Secret;
    let found = sealed.find(kind, account, name).await?;
    let opened = found.map(|record| sealed.open(kind, account, name, &record));
    Ok(opened.transpose()?)
}
