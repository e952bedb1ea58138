//! What executions reach outside of the runtime: object storage and AWS services, as the flags name them. Hides where their keys are
//! found.

use std::path::Path;

use anyhow::anyhow;
use stepwell_egress::{Connector, Credentials};
use stepwell_engine::Services;
#[cfg(feature = "s3")]
use stepwell_items::S3;
use stepwell_items::Storage;

use super::{TENANT, USUAL_DATA};
use crate::args::{ServiceEndpoint, StorageArgs};
use crate::exit::{Outcome, Stop};

/// The object storage that the arguments name; without them the folder in the data directory, or in the usual one when
/// there is none and it is there.
pub(super) fn storage(args: Option<&StorageArgs>, data: Option<&Path>) -> Outcome<Option<Storage>> {
    let named = args.and_then(|args| Some((args, args.storage.as_deref()?)));
    let Some((args, named)) = named else {
        let usual = || {
            let usual = Path::new(USUAL_DATA).join("buckets");
            usual.is_dir().then_some(usual)
        };
        let folder = data.map(|data| data.join("buckets")).or_else(usual);
        return Ok(folder.map(|folder| Storage::folder(folder, TENANT)));
    };
    let url = named.starts_with("http://") || named.starts_with("https://");
    if !url && named != "aws" {
        if !Path::new(named).is_dir() {
            return Err(Stop::Usage(anyhow!(
                "there is no directory `{named}` with buckets\nhint: create it, or name an S3 endpoint with its scheme: --storage http://127.0.0.1:9000"
            )));
        }
        return Ok(Some(Storage::folder(named, TENANT)));
    }
    endpoint(args, named, url).map(Some)
}

/// The buckets of an S3 endpoint.
#[cfg(not(feature = "s3"))]
fn endpoint(_: &StorageArgs, named: &str, _: bool) -> Outcome<Storage> {
    Err(Stop::Usage(anyhow!(
        "this program was built without the feature `s3` and cannot reach `{named}`\nhint: --storage DIR takes a directory with buckets in it"
    )))
}

/// The same.
#[cfg(feature = "s3")]
fn endpoint(args: &StorageArgs, named: &str, url: bool) -> Outcome<Storage> {
    let Some(key) = &args.storage_key else {
        return Err(Stop::Usage(anyhow!(
            "the S3 endpoint `{named}` needs a key\nhint: --storage-key ID:SECRET, or STEPWELL_STORAGE_KEY in the environment"
        )));
    };
    let settings = S3 {
        endpoint: url.then(|| named.to_owned()),
        region: args.storage_region.clone(),
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.clone(),
        session_token: key.token.clone(),
    };
    Ok(Storage::s3(settings, TENANT))
}

/// The AWS services that the arguments name, with the key that AWS's own tools take from the environment.
pub(super) fn services(endpoints: &[ServiceEndpoint]) -> Outcome<Services> {
    if endpoints.is_empty() {
        return Ok(Services::default());
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let key = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    );
    let credentials = match key {
        (Some(key_id), Some(secret)) => Some(Credentials {
            key_id,
            secret,
            session_token: variable("AWS_SESSION_TOKEN"),
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Stop::Usage(anyhow!(
                "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set; --endpoint needs both, or none"
            )));
        }
    };
    let connector = Connector::new().map_err(|error| Stop::Runtime(error.into()))?;
    let named = endpoints
        .iter()
        .map(|named| (named.service.clone(), named.endpoint.clone()));
    Services::new(named, credentials, connector, TENANT)
        .map_err(|why| Stop::Usage(anyhow!("--endpoint: {why}")))
}
