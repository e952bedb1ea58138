//! Buckets of one endpoint that speaks S3. What it hides: `object_store`'s client, its retries and its names for settings.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use object_store::{
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
};

use crate::{
    connect::Connector,
    error::Error,
    limits::{RETRIES_MAX, RETRY_MS_MAX},
};

/// An endpoint that speaks S3's protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    /// Such as `http://127.0.0.1:9000`; none is AWS.
    pub endpoint: Option<String>,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

/// An endpoint, and the clients of its buckets that were asked for.
pub(crate) struct Endpoint {
    settings: S3,
    own: Arc<str>,
    connector: Connector,
    buckets: Mutex<BTreeMap<String, Arc<AmazonS3>>>,
}

impl Endpoint {
    pub(crate) fn new(settings: S3, own: Arc<str>) -> Endpoint {
        Endpoint {
            settings,
            own,
            connector: Connector::default(),
            buckets: Mutex::default(),
        }
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> &str {
        self.settings.endpoint.as_deref().unwrap_or("AWS")
    }

    /// A bucket as an account sees it; the endpoint is only asked when the bucket is used.
    pub(crate) fn bucket(&self, name: &str, account: &Arc<str>) -> Result<Arc<AmazonS3>, Error> {
        if *account != self.own {
            return Err(Error::AccessDenied);
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = buckets.get(name) {
            return Ok(store.clone());
        }
        let settings = &self.settings;
        let retry = RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: Duration::from_millis(RETRY_MS_MAX),
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_region(&settings.region)
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(&settings.secret_access_key)
            .with_http_connector(self.connector.clone())
            .with_retry(retry)
            .with_allow_http(true)
            // Names with dots are no names of a wildcard certificate, and other servers have no such hosts.
            .with_virtual_hosted_style_request(false);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| Error::of_storage(&error))?;
        let store = Arc::new(store);
        buckets.insert(name.to_owned(), store.clone());
        Ok(store)
    }
}
