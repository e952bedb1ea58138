//! The store of an installation that no server holds, as commands open it that look at records or change them. Hides that a whole
//! runtime is opened for it; executions that were running stay as they are.

use std::path::Path;

use anyhow::anyhow;
use stepwell_engine::{Quotas, Vault};

use crate::args::{LimitsArg, StoreUrl, TenantPlace};
use crate::client::{check_store, or_endpoint};
use crate::exit::{Outcome, Stop};
use crate::host::{self, Host, Opening};
use crate::telemetry::Listeners;

/// What becomes of a data directory that is not there, or has no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Made,
    Refused,
}

/// A store that is there.
pub(super) async fn open(place: &TenantPlace) -> Outcome<Host> {
    open_at(
        &place.data(),
        store(place)?.as_ref(),
        None,
        Missing::Refused,
    )
    .await
}

/// The same, and both are made when they are not there.
pub(super) async fn open_or_make(place: &TenantPlace) -> Outcome<Host> {
    open_at(&place.data(), store(place)?.as_ref(), None, Missing::Made).await
}

/// The database that a command names.
pub(super) fn store(place: &TenantPlace) -> Outcome<Option<StoreUrl>> {
    let store = place.store();
    store.map_err(|why| Stop::Usage(anyhow!("{why}")))
}

/// A store with the keys that open what is sealed in it. Of a database the data directory is not needed, and never made.
pub(super) async fn open_at(
    data: &Path,
    store: Option<&StoreUrl>,
    vault: Option<Vault>,
    missing: Missing,
) -> Outcome<Host> {
    if store.is_none() && missing == Missing::Refused {
        check_store(data)?;
    }
    let opening = Opening {
        data: (store.is_none() || data.is_dir()).then_some(data),
        store,
        plugins: None,
        limits: LimitsArg::Strict,
        storage: None,
        connections: None,
        endpoints: &[],
        // Nothing runs here.
        compiler: host::no_compiler(),
        policy: None,
        take_up: false,
        usual: Quotas::default(),
        listeners: Listeners::default(),
        vault,
        no_vault: None,
    };
    Host::open(opening).await.map_err(or_endpoint)
}

#[cfg(test)]
mod tests {
    use stepwell_engine::holds_store;

    use super::*;

    #[tokio::test]
    async fn the_directory_of_another_programs_database_stays_as_it_was() {
        for missing in [Missing::Refused, Missing::Made] {
            let scratch = tempfile::tempdir().unwrap();
            let data = scratch.path();
            std::fs::write(data.join("journal.sqlite"), "root:x:0:0").unwrap();
            let opened = open_at(data, None, None, missing).await;
            let Err(Stop::Usage(why)) = opened else {
                panic!("it is no store of ours");
            };
            assert!(why.to_string().contains("is no Stepwell journal"), "{why}");
            assert_eq!(std::fs::read_dir(data).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn who_only_looks_leaves_an_empty_directory_empty() {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path();
        let opened = open_at(data, None, None, Missing::Refused).await;
        let Err(Stop::Usage(why)) = opened else {
            panic!("it is no store");
        };
        assert!(why.to_string().contains("there is no store in"), "{why}");
        assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
        // Who adds something makes it.
        let Ok(host) = open_at(data, None, None, Missing::Made).await else {
            panic!("it is made");
        };
        host.close().await;
        assert!(holds_store(data));
    }
}
