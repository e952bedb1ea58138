//! The SDK's client, set up from the environment. Hides what an address instead of a host name asks for.

use anyhow::{Context, Result};
use aws_sdk_sfn::{
    Client, Config,
    config::{
        ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
        interceptors::BeforeTransmitInterceptorContextMut,
    },
    error::BoxError,
};

pub(crate) fn connect() -> Result<Client> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let endpoint = variable("AWS_ENDPOINT_URL_SFN")?;
    let key = Credentials::new(
        variable("AWS_ACCESS_KEY_ID")?,
        variable("AWS_SECRET_ACCESS_KEY")?,
        None,
        None,
        "environment",
    );
    let config = Config::builder()
        .endpoint_url(&endpoint)
        .region(Region::new(variable("AWS_REGION")?))
        .credentials_provider(key)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .interceptor(SameHost { endpoint })
        .build();
    Ok(Client::from_conf(config))
}

/// StartSyncExecution and TestState go to the host `sync-…`, which an address cannot have; this SDK has no setting
/// against it, so the request is led back before it is signed.
#[derive(Debug)]
struct SameHost {
    endpoint: String,
}

impl Intercept for SameHost {
    fn name(&self) -> &'static str {
        "SameHost"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = format!("{}/", self.endpoint.trim_end_matches('/'));
        context.request_mut().set_uri(uri)?;
        Ok(())
    }
}
