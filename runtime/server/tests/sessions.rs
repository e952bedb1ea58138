//! Sessions end: with their time, with their access key, and with its rights. Through the router without a socket.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

mod support;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Method, Request, Uri},
};
use stepwell_egress::sigv4::Signer;
use stepwell_engine::{Engine, Role, Session, SessionCredentials, Vault};
use stepwell_server::{Authentication, ServerConfig, ServerState, router};
use tower::ServiceExt;

const ACCOUNT: &str = "111111111111";

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

/// A server of its own over the engine: it knows no key from before.
fn server(engine: &Engine, vault: &Vault) -> Router {
    let config = ServerConfig {
        authentication: Some(Authentication {
            vault: vault.clone(),
            behind_proxy: false,
        }),
        ..ServerConfig::default()
    };
    let state = ServerState::new(config, engine.clone(), support::sandbox());
    router(Arc::new(state))
}

fn signer(made: &SessionCredentials, service: &str) -> Signer {
    Signer {
        key_id: made.id.to_string(),
        secret: made.secret.clone(),
        session_token: Some(made.token.clone()),
        region: "us-east-1".to_owned(),
        service: service.to_owned(),
    }
}

/// Status and text of the answer to a signed request.
async fn ask(
    router: &Router,
    signer: &Signer,
    headers: &[(&'static str, &str)],
    body: &str,
) -> (u16, String) {
    let uri = Uri::from_static("http://localhost/");
    let mut signed = HeaderMap::new();
    for (name, value) in headers {
        signed.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    signer
        .sign(&Method::POST, &uri, &mut signed, body.as_bytes(), now_s())
        .unwrap();
    let mut request = Request::post("/")
        .body(Body::from(body.to_owned()))
        .unwrap();
    *request.headers_mut() = signed;
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn operation(
    router: &Router,
    made: &SessionCredentials,
    name: &str,
    body: &str,
) -> (u16, String) {
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", &format!("AWSStepFunctions.{name}")),
    ];
    ask(router, &signer(made, "states"), &headers, body).await
}

async fn who(router: &Router, made: &SessionCredentials) -> (u16, String) {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    ask(router, &signer(made, "sts"), &headers, body).await
}

#[tokio::test]
async fn sessions_end_with_their_time_their_key_and_its_rights() {
    let engine = support::engine(false, None);
    let vault = Vault::fresh();
    engine.add_tenant(ACCOUNT, "").await.unwrap();
    engine.add_tenant("222222222222", "").await.unwrap();
    let key = engine
        .add_access_key(&vault, ACCOUNT, Role::Run, "")
        .await
        .unwrap()
        .key;
    let begin = |account: &str, role, lasts_s| {
        vault.begin_session(Session {
            parent: key.id.clone(),
            account: account.into(),
            role,
            expires_s: now_s() + lasts_s,
            assumed: None,
        })
    };
    let good = begin(ACCOUNT, Role::Operator, 900);
    let served = server(&engine, &vault);
    assert_eq!(
        operation(&served, &good, "ListStateMachines", "{}").await.0,
        200
    );
    let (status, text) = who(&served, &good).await;
    assert!(
        status == 200 && text.contains(&format!("<Account>{ACCOUNT}</Account>")),
        "{text}"
    );
    // A token that says more than its key may: no more than that is taken from it.
    let (_, text) = operation(&served, &good, "CreateActivity", r#"{"name":"a"}"#).await;
    assert!(text.contains("AccessDeniedException"), "{text}");
    let over = begin(ACCOUNT, Role::Run, -1);
    let (status, text) = operation(&served, &over, "ListStateMachines", "{}").await;
    assert!(
        status == 400 && text.contains("ExpiredTokenException"),
        "{text}"
    );
    let (status, text) = who(&served, &over).await;
    assert!(
        status == 403
            && text.contains("<Code>ExpiredToken</Code>")
            && text.contains("The security token included in the request is expired"),
        "{text}"
    );
    let another = begin("222222222222", Role::Run, 900);
    let (_, text) = who(&served, &another).await;
    assert!(
        text.contains("InvalidClientTokenId"),
        "of another tenant: {text}"
    );
    let foreign = Vault::fresh().begin_session(good.session.clone());
    let (_, text) = who(&served, &foreign).await;
    assert!(
        text.contains("InvalidClientTokenId"),
        "of another key file: {text}"
    );
    for (disabled, status) in [(true, 403), (false, 200)] {
        engine.disable_access_key(&key.id, disabled).await.unwrap();
        assert_eq!(who(&server(&engine, &vault), &good).await.0, status);
    }
    engine.remove_access_key(&key.id).await.unwrap();
    assert_eq!(who(&server(&engine, &vault), &good).await.0, 403);
}

/// The query protocol takes a call behind the `?` as well, signed like every other request.
#[tokio::test]
async fn who_asks_by_an_address_alone_is_told_who_it_is() {
    let engine = support::engine(false, None);
    let vault = Vault::fresh();
    engine.add_tenant(ACCOUNT, "").await.unwrap();
    let made = engine.add_access_key(&vault, ACCOUNT, Role::Read, "").await;
    let made = made.unwrap();
    let served = server(&engine, &vault);
    let asks = async |service: &str, query: &str| {
        let signer = Signer {
            key_id: made.key.id.to_string(),
            secret: made.secret.clone(),
            session_token: None,
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
        };
        let uri: Uri = format!("http://localhost/?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        signer
            .sign(&Method::GET, &uri, &mut headers, b"", now_s())
            .unwrap();
        let mut request = Request::get(format!("/?{query}"))
            .body(Body::empty())
            .unwrap();
        *request.headers_mut() = headers;
        let answer = served.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    };
    let who = "Action=GetCallerIdentity&Version=2011-06-15";
    let roles = "Action=ListRoles&Version=2010-05-08";
    for (service, query, status, says) in [
        ("sts", who, 200, "<Account>111111111111</Account>"),
        ("iam", roles, 200, "<ListRolesResponse"),
        ("states", who, 403, "correct service: 'sts' or 'iam'"),
        ("iam", who, 403, "correct service: 'sts'."),
        ("sts", roles, 403, "correct service: 'iam'."),
        ("sts", roles, 403, "<Code>SignatureDoesNotMatch</Code>"),
    ] {
        let (found, text) = asks(service, query).await;
        assert!(
            found == status && text.contains(says),
            "{service} {query}: {found} {text}"
        );
    }
    // A role is not made by who may only look.
    let make = "Action=CreateRole&Version=2010-05-08&RoleName=a";
    let (status, text) = asks("iam", make).await;
    assert!(
        status == 403 && text.contains("<Code>AccessDenied</Code>"),
        "{text}"
    );
}

#[tokio::test]
async fn without_keys_sts_answers_for_the_one_account() {
    let engine = support::engine(false, None);
    let state = ServerState::new(ServerConfig::default(), engine, support::sandbox());
    let router = router(Arc::new(state));
    let any = Vault::fresh().begin_session(Session {
        parent: "-".into(),
        account: ACCOUNT.into(),
        role: Role::Read,
        expires_s: 0,
        assumed: None,
    });
    let (status, text) = who(&router, &any).await;
    assert!(
        status == 200 && text.contains("<Arn>arn:aws:iam::000000000000:root</Arn>"),
        "{text}"
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    for body in [
        "Action=GetSessionToken&Version=2011-06-15",
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::000000000000:role/any&RoleSessionName=me",
    ] {
        let (status, text) = ask(&router, &signer(&any, "sts"), &headers, body).await;
        assert!(status == 200 && text.contains("<SessionToken>"), "{text}");
    }
}

/// What the header alone shows to be wrong is refused before anything of a body is read, which may be large.
#[tokio::test]
async fn a_body_is_read_of_those_alone_whose_header_may_be_right() {
    let engine = support::engine(false, None);
    let vault = Vault::fresh();
    engine.add_tenant(ACCOUNT, "").await.unwrap();
    let made = engine
        .add_access_key(&vault, ACCOUNT, Role::Admin, "")
        .await;
    let made = made.unwrap();
    let served = server(&engine, &vault);
    let known = Signer {
        key_id: made.key.id.to_string(),
        secret: made.secret.clone(),
        session_token: None,
        region: "us-east-1".to_owned(),
        service: "lambda".to_owned(),
    };
    let stranger = Signer {
        key_id: "AKIAAAAAAAAAAAAAAAAA".to_owned(),
        ..known.clone()
    };
    let elsewhere = Signer {
        service: "states".to_owned(),
        ..known.clone()
    };
    for (signer, at, code) in [
        (&stranger, now_s(), "UnrecognizedClientException"),
        (&known, now_s() - 3_600, "InvalidSignatureException"),
        (&elsewhere, now_s(), "InvalidSignatureException"),
    ] {
        let uri = Uri::from_static("http://localhost/2015-03-31/functions");
        let mut headers = HeaderMap::new();
        signer
            .sign(&Method::POST, &uri, &mut headers, b"", at)
            .unwrap();
        // Nothing of it ever comes.
        let never = futures_util::stream::pending::<Result<String, std::convert::Infallible>>();
        let mut request = Request::post("/2015-03-31/functions")
            .body(Body::from_stream(never))
            .unwrap();
        *request.headers_mut() = headers;
        let answer = served.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["x-amzn-errortype"], code);
    }
}
