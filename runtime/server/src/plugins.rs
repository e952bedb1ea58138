//! The plugins of the server's plugin directory, as JSON. AWS's API has uploaded functions alone. What it hides: in whose memory
//! they are, and pages.

use std::{fmt, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use serde::{Deserialize, Serialize};
use stepwell_engine::Error;

use crate::{
    api::problem,
    auth::Identity,
    aws,
    extract::InQuery,
    in_flight,
    limits::{PAGE_ITEMS_MAX, PAGE_ITEMS_USUAL},
    router,
    serve::ServerState,
};

/// A plugin of the plugin directory.
#[derive(Clone, Debug, Default)]
pub struct DirectoryPlugin {
    pub name: String,
    /// That of its manifest, once it was loaded.
    pub version: Option<String>,
    /// Its place, relative to the plugin directory.
    pub source: String,
    /// How it is called, once it was loaded.
    pub contract: Option<&'static str>,
    /// Of its file, once it was loaded.
    pub sha256: Option<String>,
    /// What it asks for and does not get, once it was loaded.
    pub missing_grants: Vec<String>,
    /// Why it cannot be called.
    pub problem: Option<String>,
}

type Listing = dyn Fn(&str) -> Vec<DirectoryPlugin> + Send + Sync;

/// Tells the plugins of the plugin directory that serve an account; none where there is no directory.
#[derive(Clone)]
pub struct DirectoryPlugins(Arc<Listing>);

impl DirectoryPlugins {
    /// `of` is called once a page, on a thread that may block, and compiles nothing.
    pub fn new(
        of: impl Fn(&str) -> Vec<DirectoryPlugin> + Send + Sync + 'static,
    ) -> DirectoryPlugins {
        DirectoryPlugins(Arc::new(of))
    }

    fn of(&self, account: &str) -> Vec<DirectoryPlugin> {
        (self.0)(account)
    }
}

impl Default for DirectoryPlugins {
    fn default() -> DirectoryPlugins {
        DirectoryPlugins::new(|_| Vec::new())
    }
}

impl fmt::Debug for DirectoryPlugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryPlugins")
    }
}

/// Wire form of the query.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PluginsQuery {
    #[serde(default)]
    max_results: u32,
    next_token: Option<String>,
}

/// Wire form of a page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    plugins: Vec<PluginAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

/// Wire form of a plugin.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PluginAnswer<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    missing_grants: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

impl<'a> PluginAnswer<'a> {
    fn of(plugin: &'a DirectoryPlugin) -> PluginAnswer<'a> {
        PluginAnswer {
            name: &plugin.name,
            version: plugin.version.as_deref(),
            source: &plugin.source,
            contract: plugin.contract,
            sha256: plugin.sha256.as_deref(),
            missing_grants: &plugin.missing_grants,
            problem: plugin.problem.as_deref(),
        }
    }
}

/// `GET /api/plugins`: a page of the account's plugins of the plugin directory, by name.
pub(crate) async fn list(
    State(state): State<Arc<ServerState>>,
    InQuery(query): InQuery<PluginsQuery>,
    headers: HeaderMap,
    identity: Option<Extension<Identity>>,
) -> Response<Body> {
    let account = aws::caller(&state.config, &headers, identity.as_deref()).tenant;
    let plugins = state.config.plugins.clone();
    // The directory is looked at again where it has changed.
    let found = tokio::task::spawn_blocking(move || plugins.of(&account)).await;
    let mut found = match found {
        Ok(found) => found,
        Err(error) => return problem(Error::Broken(error.to_string())),
    };
    found.sort_by(|a, b| a.name.cmp(&b.name));
    // The token is the last name that was told: what comes and goes meanwhile moves nothing.
    if let Some(last) = &query.next_token {
        found.retain(|plugin| plugin.name > *last);
    }
    let most = match query.max_results {
        0 => PAGE_ITEMS_USUAL,
        most => most.min(PAGE_ITEMS_MAX),
    };
    let page = &found[..found.len().min(most as usize)];
    let answer = Answer {
        plugins: page.iter().map(PluginAnswer::of).collect(),
        next_token: page
            .last()
            .filter(|_| page.len() < found.len())
            .map(|last| &*last.name),
    };
    let text = serde_json::to_vec(&answer).expect("answers have string keys");
    match state.answer_place(identity.as_deref(), text.len()) {
        Ok(place) => router::json_body(StatusCode::OK, in_flight::body(text, place)),
        Err(error) => problem(error),
    }
}
