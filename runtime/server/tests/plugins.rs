//! The plugins of the plugin directory over the JSON API, without access keys and with those of two accounts. Through the router
//! without a socket.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, Uri},
};
use serde_json::{Value, json};
use stepwell_egress::sigv4::Signer;
use stepwell_engine::{Engine, Role, Vault};
use stepwell_server::{
    Authentication, DirectoryPlugin, DirectoryPlugins, ServerConfig, ServerState, router,
};
use tower::ServiceExt;

const OWN: &str = "000000000000";
const A: &str = "111111111111";
const B: &str = "222222222222";

/// A directory with three plugins of the server's own account and one of a tenant's.
fn directory() -> DirectoryPlugins {
    let plugin = |name: &str, source: &str| DirectoryPlugin {
        name: name.to_owned(),
        source: source.to_owned(),
        ..DirectoryPlugin::default()
    };
    DirectoryPlugins::new(move |account| match account {
        OWN => vec![
            plugin("unread", "unread.wasm"),
            DirectoryPlugin {
                problem: Some("it is no WebAssembly".to_owned()),
                ..plugin("broken", "broken")
            },
            DirectoryPlugin {
                version: Some("1.2.0".to_owned()),
                contract: Some("command"),
                sha256: Some("ab".to_owned()),
                missing_grants: vec!["secret `K`".to_owned()],
                ..plugin("pay", "pay")
            },
        ],
        A => vec![plugin("send", "111111111111/send.wasm")],
        _ => Vec::new(),
    })
}

fn serving(
    engine: &Engine,
    plugins: DirectoryPlugins,
    authentication: Option<Authentication>,
) -> Router {
    let config = ServerConfig {
        plugins,
        authentication,
        ..ServerConfig::default()
    };
    let state = ServerState::new(config, engine.clone(), support::sandbox());
    router(Arc::new(state))
}

/// Status and answer; signed where there is a signer.
async fn get(router: &Router, path: &str, signer: Option<&Signer>) -> (u16, Value) {
    let uri: Uri = format!("http://localhost{path}").parse().unwrap();
    let mut headers = HeaderMap::new();
    if let Some(signer) = signer {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_s = i64::try_from(since.unwrap().as_secs()).unwrap();
        let signed = signer.sign(&Method::GET, &uri, &mut headers, b"", now_s);
        signed.unwrap();
    }
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    *request.headers_mut() = headers;
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn without_keys_the_servers_account_is_told_a_page_at_a_time() {
    let engine = support::engine(false, None);
    let router = serving(&engine, directory(), None);
    let broken = json!({"name": "broken", "source": "broken", "missingGrants": [],
        "problem": "it is no WebAssembly"});
    let pay = json!({"name": "pay", "version": "1.2.0", "source": "pay", "contract": "command",
        "sha256": "ab", "missingGrants": ["secret `K`"]});
    let unread = json!({"name": "unread", "source": "unread.wasm", "missingGrants": []});
    for (query, expected) in [
        ("", json!({"plugins": [broken, pay, unread]})),
        ("?maxResults=3", json!({"plugins": [broken, pay, unread]})),
        (
            "?maxResults=2",
            json!({"plugins": [broken, pay], "nextToken": "pay"}),
        ),
        ("?maxResults=2&nextToken=pay", json!({"plugins": [unread]})),
        ("?nextToken=unread", json!({"plugins": []})),
    ] {
        let answer = get(&router, &format!("/api/plugins{query}"), None).await;
        assert_eq!(answer, (200, expected), "{query}");
    }
    let without = serving(&engine, DirectoryPlugins::default(), None);
    let answer = get(&without, "/api/plugins", None).await;
    assert_eq!(answer, (200, json!({"plugins": []})));
    engine.shutdown().await;
}

#[tokio::test]
async fn with_keys_an_account_is_told_its_own() {
    let engine = support::engine(false, None);
    let vault = Vault::fresh();
    let mut signers = Vec::new();
    for account in [A, B] {
        engine.add_tenant(account, "").await.unwrap();
        let made = engine.add_access_key(&vault, account, Role::Read, "").await;
        let made = made.unwrap();
        signers.push(Signer {
            key_id: made.key.id.to_string(),
            secret: made.secret,
            session_token: None,
            region: "us-east-1".to_owned(),
            service: "states".to_owned(),
        });
    }
    let authentication = Authentication {
        vault,
        behind_proxy: false,
    };
    let router = serving(&engine, directory(), Some(authentication));
    let send = json!({"name": "send", "source": "111111111111/send.wasm", "missingGrants": []});
    for (signer, expected) in signers.iter().zip([json!([send]), json!([])]) {
        let answer = get(&router, "/api/plugins", Some(signer)).await;
        assert_eq!(answer, (200, json!({"plugins": expected})));
    }
    let (status, answer) = get(&router, "/api/plugins", None).await;
    assert!((400..=403).contains(&status), "{status} {answer}");
    assert!(answer.get("plugins").is_none(), "{answer}");
    engine.shutdown().await;
}
