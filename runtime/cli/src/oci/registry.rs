//! A registry, spoken to by OCI's distribution protocol. Hides requests, authorization and redirects. What comes is believed
//! only as far as its digest says.

use anyhow::{Context, anyhow};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::Value;
use stepwell_egress::Url;

use super::artifact::{Artifact, Blob, Described, MANIFEST};
use super::challenge::Challenge;
use super::credentials::{self, Credentials};
use super::{Reference, digest};
use crate::client::{HttpsClient, https_client, root_cause};
use crate::exit::{Blame, Outcome, Stop};
use crate::transfer::{Patience, Transfer, Unreceived, received, time_for};

/// Bytes of a manifest (the protocol's least that every registry takes).
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Bytes of a plugin (the sandbox's).
const WASM_BYTES_MAX: u64 = 100 << 20;
/// Bytes of an answer that is not content.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Places that an answer may be fetched from in turn (ours).
const REDIRECTS_MAX: usize = 5;

/// See the module. One repository of it.
pub(crate) struct Registry {
    http: Box<HttpsClient>,
    base: Url,
    reference: Reference,
    credentials: Option<Credentials>,
    /// The header that answered the last challenge.
    authorization: Option<String>,
    /// How far the plugin is on its way.
    transfer: Transfer,
}

/// One request; its body is sent anew when authorization is asked for.
struct Call<'a> {
    method: Method,
    url: Url,
    content_type: Option<&'static str>,
    accept: Option<&'static str>,
    body: &'a [u8],
    answer_bytes_max: usize,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Registry {
    /// Looks up who one is there; asks nothing yet.
    pub(crate) fn open(reference: &Reference, plain_http: bool) -> Outcome<Registry> {
        let scheme = match plain_http || reference.is_loopback() {
            true => "http",
            false => "https",
        };
        let base = format!(
            "{scheme}://{}/v2/{}/",
            host(reference),
            reference.repository
        );
        Ok(Registry {
            http: https_client()?,
            base: Url::parse(&base)
                .with_context(|| format!("`{}` is no host of a registry", reference.registry))
                .usage()?,
            credentials: credentials::of(&reference.registry)?,
            reference: reference.clone(),
            authorization: None,
            transfer: Transfer::default(),
        })
    }

    /// How far the plugin is on its way, now and later.
    pub(crate) fn transfer(&self) -> Transfer {
        self.transfer.clone()
    }

    /// What the reference stands for now, and the manifest's digest.
    pub(crate) async fn describe(&mut self) -> Outcome<(Described, String)> {
        let target = self.reference.target().to_owned();
        let call = Call {
            accept: Some(MANIFEST),
            answer_bytes_max: MANIFEST_BYTES_MAX,
            ..self.call(Method::GET, &format!("manifests/{target}"))?
        };
        let answer = self.asked(call).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Stop::Usage(anyhow!(
                "{} has no `{target}` of `{}`\nhint: is the name right, and may you read it? `docker login {}` tells who you are",
                self.reference.registry,
                self.reference.repository,
                self.reference.registry
            )));
        }
        let answer = self.good(answer, StatusCode::OK)?;
        let found = digest(&answer.body);
        if let Some(wanted) = self
            .reference
            .digest
            .as_ref()
            .filter(|wanted| **wanted != found)
        {
            return Err(self.false_content("the manifest", wanted, &found));
        }
        let described = Described::read(&answer.body)
            .with_context(|| self.reference.to_string())
            .usage()?;
        Ok((described, found))
    }

    /// The content of a blob.
    pub(crate) async fn blob(&mut self, blob: &Blob) -> Outcome<Vec<u8>> {
        if blob.bytes > WASM_BYTES_MAX {
            return Err(Stop::Usage(anyhow!(
                "{} has {} bytes, and a plugin at most {WASM_BYTES_MAX}",
                self.reference,
                blob.bytes
            )));
        }
        let call = Call {
            answer_bytes_max: usize::try_from(blob.bytes).unwrap_or(usize::MAX),
            ..self.call(Method::GET, &format!("blobs/{}", blob.digest))?
        };
        self.transfer.begin(blob.bytes);
        let answer = self.asked(call).await?;
        let answer = self.good(answer, StatusCode::OK)?;
        let found = digest(&answer.body);
        if found != blob.digest {
            return Err(self.false_content("the plugin", &blob.digest, &found));
        }
        Ok(answer.body)
    }

    /// Uploads an artifact: its parts first, so that the tag never stands for what is not there. Gives the manifest's digest.
    pub(crate) async fn push(&mut self, artifact: &Artifact) -> Outcome<String> {
        self.put_blob(&artifact.wasm).await?;
        self.put_blob(&artifact.config()).await?;
        let manifest = artifact.manifest();
        let tag = self.reference.tag().to_owned();
        let call = Call {
            content_type: Some(MANIFEST),
            body: &manifest,
            ..self.call(Method::PUT, &format!("manifests/{tag}"))?
        };
        let answer = self.asked(call).await?;
        self.good(answer, StatusCode::CREATED)?;
        Ok(digest(&manifest))
    }

    async fn put_blob(&mut self, bytes: &[u8]) -> Outcome {
        let digest = digest(bytes);
        let there = self.call(Method::HEAD, &format!("blobs/{digest}"))?;
        if self.asked(there).await?.status == StatusCode::OK {
            return Ok(());
        }
        let begun = self.call(Method::POST, "blobs/uploads/")?;
        let begun = self.asked(begun).await?;
        let begun = self.good(begun, StatusCode::ACCEPTED)?;
        let location = begun.headers.get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let mut url = location
            .and_then(|location| self.base.join(location).ok())
            .ok_or_else(|| self.odd("it begins an upload and says no place for it"))?;
        url.query_pairs_mut().append_pair("digest", &digest);
        let call = Call {
            method: Method::PUT,
            url,
            content_type: Some("application/octet-stream"),
            accept: None,
            body: bytes,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answer = self.asked(call).await?;
        self.good(answer, StatusCode::CREATED).map(drop)
    }

    fn call(&self, method: Method, path: &str) -> Outcome<Call<'static>> {
        Ok(Call {
            method,
            url: self.base.join(path).usage()?,
            content_type: None,
            accept: None,
            body: &[],
            answer_bytes_max: ANSWER_BYTES_MAX,
        })
    }

    /// Sends a request, and once more when the registry asks who one is.
    async fn asked(&mut self, call: Call<'_>) -> Outcome<Answer> {
        let answer = self.sent(&call).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let asks = answer.headers.get(header::WWW_AUTHENTICATE);
        let asks = asks.and_then(|asks| Challenge::read(asks.to_str().ok()?));
        let Some(challenge) = asks else {
            return Err(self.odd("it asks for an authorization that is not known here"));
        };
        self.authorization = Some(self.authorized(challenge).await?);
        self.sent(&call).await
    }

    /// The header that answers a challenge.
    async fn authorized(&self, challenge: Challenge) -> Outcome<String> {
        let (realm, service, scope) = match challenge {
            Challenge::Basic => {
                let credentials = self.credentials.as_ref().map(Credentials::basic);
                return credentials.ok_or_else(|| self.unknown());
            }
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => (realm, service, scope),
        };
        let mut url = self
            .base
            .join(&realm)
            .map_err(|_| self.odd("the place where it has tokens given out is no URL"))?;
        if url.scheme() != "https" && self.base.scheme() == "https" {
            return Err(self.odd("it has passwords sent to a place without TLS"));
        }
        for (name, value) in [("service", service), ("scope", scope)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        let mut request = Request::get(url.as_str());
        if let Some(credentials) = &self.credentials {
            request = request.header(header::AUTHORIZATION, credentials.basic());
        }
        let request = request.body(Body::empty()).usage()?;
        let response = self.exchanged(request, 0).await?;
        let answer = self.read(response, ANSWER_BYTES_MAX).await?;
        if answer.status != StatusCode::OK {
            return Err(self.unknown());
        }
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = told["token"]
            .as_str()
            .or_else(|| told["access_token"].as_str());
        let token = token
            .ok_or_else(|| self.odd("it gives out tokens in a form that is not known here"))?;
        Ok(format!("Bearer {token}"))
    }

    /// Sends a request and goes where it is sent to. The authorization stays with the registry.
    async fn sent(&self, call: &Call<'_>) -> Outcome<Answer> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let request = self.request(call, &url)?;
            let response = self.exchanged(request, call.body.len()).await?;
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let next = match (response.status().is_redirection(), location) {
                (true, Some(location)) => url.join(location).ok(),
                (_, _) => None,
            };
            let Some(next) = next else {
                return self.read(response, call.answer_bytes_max).await;
            };
            if next.scheme() != "https" && self.base.scheme() == "https" {
                return Err(self.odd("it sends one to a place without TLS"));
            }
            url = next;
        }
        Err(self.odd("it sends one from place to place"))
    }

    fn request(&self, call: &Call<'_>, url: &Url) -> Outcome<Request<Body>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(url.as_str());
        if let Some(kind) = call.content_type {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(kind) = call.accept {
            request = request.header(header::ACCEPT, kind);
        }
        let at_home = url.origin() == self.base.origin();
        if let Some(authorization) = self.authorization.as_ref().filter(|_| at_home) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if call.body.is_empty() {
            return request.body(Body::empty()).usage();
        }
        // A body that is counted does not say how long it is.
        let request = request.header(header::CONTENT_LENGTH, call.body.len());
        request.body(self.transfer.body(call.body.to_vec())).usage()
    }

    /// The answer to a request with a body of so many bytes, or why there is none.
    async fn exchanged(&self, request: Request<Body>, bytes: usize) -> Outcome<Response<Body>> {
        let host = request.uri().authority().map(ToString::to_string);
        let time = time_for(bytes as u64);
        let answer = match tokio::time::timeout(time, self.http.request(request)).await {
            Ok(answer) => answer,
            Err(_) => return Err(self.slow(&format!("no answer within {} s", time.as_secs()))),
        };
        let answer = answer.map_err(|error| {
            anyhow!(
                "no answer from {}: {}\nhint: what was pulled before needs no registry; --plain-http speaks to one without TLS",
                host.unwrap_or_default(),
                root_cause(&error)
            )
        });
        Ok(answer.runtime()?.map(Body::new))
    }

    async fn read(&self, response: Response<Body>, bytes_max: usize) -> Outcome<Answer> {
        let (parts, body) = response.into_parts();
        // An error is told in more words than the content may have.
        let bytes_max = match parts.status.is_success() {
            true => bytes_max,
            false => ANSWER_BYTES_MAX,
        };
        let patience = Patience::for_bytes(bytes_max as u64);
        let body = received(body, bytes_max, patience, &self.transfer).await;
        let registry = &self.reference.registry;
        let body = body.map_err(|error| match error {
            Unreceived::Slow { bytes, time } => self.slow(&format!(
                "{bytes} bytes of an answer came in {} s, and no more was waited for",
                time.as_secs()
            )),
            Unreceived::TooLong => Stop::Runtime(anyhow!(
                "the answer of {registry} is too long: more than {bytes_max} bytes"
            )),
            Unreceived::Broken(why) => {
                Stop::Runtime(anyhow!("the answer of {registry} broke off: {why}"))
            }
        });
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body?,
        })
    }

    /// The answer, if its status is the one that is wanted.
    fn good(&self, answer: Answer, wanted: StatusCode) -> Outcome<Answer> {
        if answer.status == wanted {
            return Ok(answer);
        }
        if matches!(
            answer.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(self.unknown());
        }
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &told["errors"][0];
        let words = ["code", "message"].map(|key| error[key].as_str().unwrap_or_default());
        let what = format!("{} {}", answer.status, words.join(" "));
        Err(self.odd(what.trim_end()))
    }

    fn unknown(&self) -> Stop {
        let registry = &self.reference.registry;
        let known = match self.credentials {
            Some(_) => "does not let this user",
            None => "lets nobody without a password",
        };
        Stop::Usage(anyhow!(
            "{registry} {known} at `{}`\nhint: `docker login {registry}`, or STEPWELL_REGISTRY_USER and STEPWELL_REGISTRY_PASSWORD in the environment",
            self.reference.repository
        ))
    }

    fn slow(&self, what: &str) -> Stop {
        Stop::Runtime(anyhow!(
            "the registry {} is too slow: {what}; nothing was kept\nhint: try again later, or fetch it from another registry",
            self.reference.registry
        ))
    }

    fn odd(&self, what: &str) -> Stop {
        Stop::Runtime(anyhow!(
            "the registry {} does not do as the protocol has it: {what}",
            self.reference.registry
        ))
    }

    fn false_content(&self, what: &str, wanted: &str, found: &str) -> Stop {
        Stop::Runtime(anyhow!(
            "{} of {} is not what its digest says: {found} came, {wanted} is meant; nothing was kept",
            what,
            self.reference
        ))
    }
}

/// Where the registry listens; Docker's has another name for it.
fn host(reference: &Reference) -> &str {
    match reference.registry.as_str() {
        "docker.io" => "registry-1.docker.io",
        registry => registry,
    }
}
