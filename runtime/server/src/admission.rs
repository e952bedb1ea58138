//! What a request goes through where access keys are asked for: its tenant's turn, the proof of its key, and a pause before it is
//! told that it asks for too much. What it hides: in which order, and that a pause holds up nobody else.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
    middleware::Next,
};

use crate::{
    auth::{Gate, Identity},
    aws::Fault,
    console,
    fair::{Crowded, Known, Refusal, Turn, Whose, claimed_key},
    limits::STRANGERS_WEIGHT,
    protocol::Protocol,
    serve::ServerState,
    triggers,
};

/// Serves a request, or refuses it.
pub(crate) async fn serve(
    state: &Arc<ServerState>,
    gate: &Gate,
    request: Request,
    next: Next,
) -> Response<Body> {
    let asked = Asked::of(gate, &request);
    let Ok(turn) = enter(state, &asked.whose).await else {
        return asked.protocol.refuse(Fault::crowded());
    };
    let path = request.uri().path();
    // Each trigger has a secret of its own. The console's files are everybody's, and take their turn as a stranger's requests do.
    let proves_nothing = triggers::is_endpoint(path) || console::is_own_path(path);
    let (response, whose) = match proves_nothing {
        true => {
            let response = next.run(request).await;
            drop(turn);
            (response, asked.whose)
        }
        false => prove(state, gate, request, (asked, turn), next).await,
    };
    if response.extensions().get::<Refusal>().is_some() {
        // The turn is another's by now.
        state.refusals.pause(&whose, state.draining()).await;
    }
    response
}

/// The same of a request that has to prove a key.
async fn prove(
    state: &Arc<ServerState>,
    gate: &Gate,
    request: Request,
    (asked, turn): (Asked, Turn),
    next: Next,
) -> (Response<Body>, Whose) {
    let (protocol, request, turn) = match asked.protocol.is_told_by_form(&request) {
        false => (asked.protocol, request, Some(turn)),
        true => {
            // It is refused, and others do not wait for its form.
            drop(turn);
            let (protocol, request) = asked.protocol.of_unsigned(request).await;
            (protocol, request, None)
        }
    };
    let mut request = match gate.admit(request).await {
        Ok(request) => request,
        Err(fault) => {
            asked.known.forget();
            let mut response = protocol.refuse(fault);
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                response.extensions_mut().insert(Refusal);
            }
            return (response, asked.whose);
        }
    };
    let account = request.extensions().get::<Identity>();
    let Some(account) = account.map(|identity| identity.key.account.clone()) else {
        return (next.run(request).await, asked.whose);
    };
    if let Some(key_id) = &asked.key_id {
        asked.known.prove(key_id, &account);
    }
    let whose = Whose::Account(account);
    let turn = match turn.filter(|turn| turn.is_of(&whose)) {
        Some(turn) => turn,
        None => match enter(state, &whose).await {
            Ok(turn) => turn,
            Err(Crowded) => return (asked.protocol.refuse(Fault::crowded()), whose),
        },
    };
    let turn = Arc::new(turn);
    request.extensions_mut().insert(turn.clone());
    let response = next.run(request).await;
    drop(turn);
    (response, whose)
}

async fn enter(state: &ServerState, whose: &Whose) -> Result<Turn, Crowded> {
    let weight = match whose {
        Whose::Account(account) => state.engine.weight(account),
        Whose::Address(_) => STRANGERS_WEIGHT,
    };
    state.turns.enter(whose, weight).await
}

/// What is known of a request before it is proved.
struct Asked {
    known: Known,
    key_id: Option<Box<str>>,
    whose: Whose,
    protocol: Protocol,
}

impl Asked {
    fn of(gate: &Gate, request: &Request) -> Asked {
        let known = request.extensions().get::<Known>();
        let known = known.cloned().unwrap_or_default();
        let key_id = claimed_key(request.headers());
        let whose = match key_id.and_then(|key_id| known.account(key_id)) {
            Some(account) => Whose::Account(account),
            None => Whose::stranger(gate.origin(request.headers(), request.extensions())),
        };
        Asked {
            known,
            key_id: key_id.map(Into::into),
            whose,
            protocol: Protocol::of(request.uri(), request.headers()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        time::{SystemTime, UNIX_EPOCH},
    };

    use axum::{
        Router,
        http::{HeaderMap, HeaderValue, Method, Uri, header},
    };
    use bytes::Bytes;
    use futures_util::{FutureExt, stream};
    use stepwell_egress::sigv4::Signer;
    use stepwell_engine::{
        Engine, Options, PluginCall, PluginEnd, Quotas, Rate, Rates, Role, Store, TaskRunner, Vault,
    };
    use stepwell_interp::OnCrash;
    use tokio::task::JoinSet;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        auth::Authentication, config::ServerConfig, limits::REFUSALS_AT_ONCE, metrics::TurnCounts,
        router::router,
    };

    const A: &str = "111111111111";
    const B: &str = "222222222222";

    struct NoPlugins;

    impl TaskRunner for NoPlugins {
        fn run(&self, _: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
            let cause = "there are no plugins".to_owned();
            Box::pin(async { PluginEnd::Missing { cause } })
        }

        fn on_crash(&self, _: &str, _: &str) -> OnCrash {
            OnCrash::Redispatch
        }
    }

    struct Rig {
        engine: Engine,
        state: Arc<ServerState>,
        router: Router,
        counts: TurnCounts,
        a: Client,
        b: Client,
    }

    /// A tenant on one connection.
    #[derive(Clone)]
    struct Client {
        signer: Signer,
        known: Known,
    }

    impl Client {
        async fn new(engine: &Engine, vault: &Vault, account: &str) -> Client {
            engine.add_tenant(account, "").await.unwrap();
            let made = engine.add_access_key(vault, account, Role::Admin, "").await;
            let made = made.unwrap();
            Client {
                signer: Signer {
                    key_id: made.key.id.to_string(),
                    secret: made.secret,
                    session_token: None,
                    region: "us-east-1".to_owned(),
                    service: "states".to_owned(),
                },
                known: Known::default(),
            }
        }

        /// The status of the answer to ListActivities.
        async fn ask(&self, router: &Router, body: Body) -> StatusCode {
            let uri = Uri::from_static("http://localhost/");
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("content-type", "application/x-amz-json-1.0"),
                ("x-amz-target", "AWSStepFunctions.ListActivities"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let now_s = i64::try_from(now.as_secs()).unwrap();
            let signed = self
                .signer
                .sign(&Method::POST, &uri, &mut headers, b"{}", now_s);
            signed.unwrap();
            let mut request = Request::post("/").body(body).unwrap();
            *request.headers_mut() = headers;
            request.extensions_mut().insert(self.known.clone());
            let answer = router.clone().oneshot(request).await;
            answer.unwrap().status()
        }
    }

    impl Rig {
        /// Both tenants have asked something.
        async fn new() -> Rig {
            let options = Options {
                store: Store::Memory,
                raised_limits: false,
                take_up: true,
                shards: 1,
                storage: None,
                connections: Default::default(),
                services: Default::default(),
                observer: None,
            };
            let engine = Engine::open(options, Arc::new(NoPlugins)).unwrap();
            let vault = Vault::fresh();
            let a = Client::new(&engine, &vault, A).await;
            let b = Client::new(&engine, &vault, B).await;
            let config = ServerConfig {
                authentication: Some(Authentication {
                    vault,
                    behind_proxy: false,
                }),
                ..ServerConfig::default()
            };
            let state = ServerState::new(config, engine.clone(), Arc::new(Vec::new));
            let state = Arc::new(state);
            let counts = state.metrics.turns.clone();
            let rig = Rig {
                engine,
                router: router(state.clone()),
                state,
                counts,
                a,
                b,
            };
            assert_eq!(rig.asks(&rig.a).await, StatusCode::OK);
            assert_eq!(rig.asks(&rig.b).await, StatusCode::OK);
            rig
        }

        async fn asks(&self, client: &Client) -> StatusCode {
            client.ask(&self.router, Body::from("{}")).await
        }

        /// So many requests of the first tenant at once.
        fn flood(&self, count: usize, body: fn() -> Body) -> JoinSet<StatusCode> {
            let mut requests = JoinSet::new();
            for _ in 0..count {
                let (client, router) = (self.a.clone(), self.router.clone());
                requests.spawn(async move { client.ask(&router, body()).await });
            }
            requests
        }
    }

    /// Their bodies never come, and they hold their places for as long as they may: more of them than have turns in the time
    /// that another tenant's request takes.
    #[tokio::test]
    async fn a_flood_waits_and_another_tenant_does_not() {
        let rig = Rig::new().await;
        let never = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let mut flood = rig.flood(8_000, never);
        while rig.counts.waiting.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.asks(&rig.b).await, StatusCode::OK);
        assert!(rig.counts.waiting.get() > 0, "the flood waits still");
        // Its connections go away.
        flood.shutdown().await;
        assert_eq!(rig.counts.waiting.get(), 0);
        assert_eq!(rig.asks(&rig.a).await, StatusCode::OK);
        rig.engine.shutdown().await;
    }

    /// The head of a request that claims the first tenant's key, and of its answer: status, content type, and the body.
    async fn refused(rig: &Rig, asked: (&str, &str, &str)) -> (u16, String, String) {
        let (key, service) = (&rig.a.signer.key_id, asked.2);
        let claim = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260131/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none"
        );
        answered(rig, asked, &claim).await
    }

    /// The same with another header of authorization.
    async fn answered(
        rig: &Rig,
        (path, kind, _): (&str, &str, &str),
        claim: &str,
    ) -> (u16, String, String) {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, kind)
            .header(header::AUTHORIZATION, claim)
            .extension(rig.a.known.clone())
            .body(Body::empty());
        let answer = rig.router.clone().oneshot(request.unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let kind = head.headers[header::CONTENT_TYPE].to_str().unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (head.status.as_u16(), kind.to_owned(), body)
    }

    const ASKED: [((&str, &str, &str), &str, &str); 14] = {
        let json = r#"{"__type":"com.amazon.coral.service#"#;
        let form = "application/x-www-form-urlencoded";
        let (one, other) = ("application/x-amz-json-1.0", "application/x-amz-json-1.1");
        [
            (("/", one, "states"), one, json),
            (("/", other, "events"), other, json),
            (
                ("/", form, "sts"),
                "text/xml",
                r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">"#,
            ),
            (
                ("/", form, "iam"),
                "text/xml",
                r#"<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">"#,
            ),
            (
                ("/2015-03-31/functions", "", "lambda"),
                "application/json",
                r#"{"Type":""#,
            ),
            (
                ("/schedules/a", "", "scheduler"),
                "application/json",
                r#"{"Message":""#,
            ),
            (
                ("/api/executions/a/limits", "", "states"),
                "application/json",
                r#"{"error":""#,
            ),
            // Who was asked is told by the address, where the credential does not.
            (
                ("/?Action=GetCallerIdentity&Version=2011-06-15", "", "sts"),
                "text/xml",
                r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">"#,
            ),
            (
                ("/?Action=ListRoles&Version=2010-05-08", "", "none"),
                "text/xml",
                r#"<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">"#,
            ),
            // Nothing is there: who was asked is whom the credential names.
            (
                ("/2021-10-31/functions/a/url", "", "lambda"),
                "application/json",
                r#"{"Type":""#,
            ),
            (
                ("/nowhere/%ff", "", "lambda"),
                "application/json",
                r#"{"Type":""#,
            ),
            (
                ("/nowhere", "", "scheduler"),
                "application/json",
                r#"{"Message":""#,
            ),
            (("/nowhere", one, "states"), one, json),
            (
                ("/nowhere", form, "iam"),
                "text/xml",
                r#"<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">"#,
            ),
        ]
    };

    #[tokio::test]
    async fn a_form_that_nobody_signed_is_refused_in_the_words_of_its_service() {
        let rig = Rig::new().await;
        for (version, namespace) in [
            ("2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"),
            ("2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"),
        ] {
            let request = Request::post("/")
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::from(format!("Action=Any&Version={version}")));
            let answer = rig.router.clone().oneshot(request.unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN);
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
            assert!(body.contains(namespace), "{version}: {body}");
            assert!(
                body.contains("<Code>MissingAuthenticationToken</Code>"),
                "{body}"
            );
        }
        rig.engine.shutdown().await;
    }

    /// One is let in by its key, and finds nothing where it asks.
    #[tokio::test]
    async fn a_path_at_which_nothing_is_has_the_form_of_the_api_that_was_meant() {
        let rig = Rig::new().await;
        for (service, kind, says) in [
            (
                "lambda",
                "application/json",
                r#"{"Type":"User","Message":""#,
            ),
            ("scheduler", "application/json", r#"{"Message":""#),
            (
                "states",
                "application/x-amz-json-1.0",
                "#UnknownOperationException",
            ),
            ("sts", "text/xml", "<Code>InvalidAction</Code>"),
        ] {
            let signer = Signer {
                service: service.to_owned(),
                ..rig.a.signer.clone()
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let now_s = i64::try_from(now.as_secs()).unwrap();
            let uri = Uri::from_static("http://localhost/nowhere");
            let mut headers = HeaderMap::new();
            signer
                .sign(&Method::GET, &uri, &mut headers, b"", now_s)
                .unwrap();
            let mut request = Request::get("/nowhere").body(Body::empty()).unwrap();
            *request.headers_mut() = headers;
            let answer = rig.router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{service}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
            assert!(body.contains(says), "{service}: {body}");
        }
        rig.engine.shutdown().await;
    }

    #[tokio::test]
    async fn a_refusal_has_the_form_of_the_api_that_was_asked() {
        let rig = Rig::new().await;
        let whose = Whose::Account(A.into());
        let (mut waiting, mut turns) = (Vec::new(), Vec::new());
        // As long as another tenant has a turn the first one has a part alone.
        let other = Whose::Account(B.into());
        let other = rig.state.turns.enter(&other, STRANGERS_WEIGHT).await;
        let other = other.expect("nobody waits");
        other.keep();
        for (asked, kind, begins) in ASKED {
            // As many wait as may.
            loop {
                let mut next = Box::pin(rig.state.turns.enter(&whose, STRANGERS_WEIGHT));
                let entered = next.as_mut().now_or_never();
                match entered {
                    Some(Ok(turn)) => turns.push(turn),
                    Some(Err(Crowded)) => break,
                    None => waiting.push(next),
                }
            }
            let (status, found, body) = refused(&rig, asked).await;
            assert_eq!((status, found.as_str()), (503, kind), "{asked:?}");
            assert!(body.starts_with(begins), "{asked:?}: {body}");
            assert!(body.contains("wait for their turn"), "{asked:?}: {body}");
        }
        // What proves nothing waits for its turn as all else does.
        let console = ("/console/", "application/json", "states");
        let (status, _, body) = refused(&rig, console).await;
        assert_eq!(status, 503, "{body}");
        drop((waiting, turns, other));
        // There is room, and the signature is none.
        for (asked, kind, begins) in ASKED {
            let (status, found, body) = refused(&rig, asked).await;
            assert!((400..500).contains(&status), "{asked:?}: {status}");
            assert_eq!(found, kind, "{asked:?}");
            assert!(body.starts_with(begins), "{asked:?}: {body}");
        }
        // What is no signature at all proves as little.
        for (path, expected) in [
            ("/", 400),
            ("/2015-03-31/functions", 403),
            ("/schedules/a", 403),
        ] {
            let (asked, _, _) = ASKED
                .into_iter()
                .find(|((of, _, _), _, _)| *of == path)
                .expect("it is one of them");
            let (status, _, body) = answered(&rig, asked, "AWS4-HMAC-SHA256 nothing").await;
            assert_eq!(status, expected, "{asked:?}: {body}");
            assert!(
                body.contains("Authorization header requires"),
                "{asked:?}: {body}"
            );
        }
        rig.engine.shutdown().await;
    }

    #[tokio::test]
    async fn refusals_of_who_does_not_stop_wait_and_another_tenant_does_not() {
        let rig = Rig::new().await;
        let rate = Rate {
            bucket: 0,
            per_second: 0,
        };
        let rates = Rates::Set([("ListActivities".to_owned(), rate)].into());
        let quotas = Quotas {
            rates: Some(rates),
            ..Quotas::default()
        };
        rig.engine.set_quotas(A, quotas).await.unwrap();
        for _ in 0..REFUSALS_AT_ONCE {
            assert_eq!(rig.asks(&rig.a).await, StatusCode::BAD_REQUEST);
        }
        let mut flood = rig.flood(2_000, || Body::from("{}"));
        while rig.counts.paused.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.asks(&rig.b).await, StatusCode::OK);
        flood.shutdown().await;
        assert_eq!(rig.counts.paused.get(), 0);
        rig.engine.shutdown().await;
    }

    #[tokio::test]
    async fn a_key_that_is_only_claimed_is_nobodys() {
        let rig = Rig::new().await;
        let forged = Client {
            signer: Signer {
                secret: "forged".to_owned(),
                ..rig.a.signer.clone()
            },
            known: rig.a.known.clone(),
        };
        let key_id = forged.signer.key_id.clone();
        assert_eq!(rig.a.known.account(&key_id).as_deref(), Some(A));
        let refused = rig.asks(&forged).await;
        assert!(refused.is_client_error(), "{refused}");
        // On that connection nothing is believed until it is proved again.
        assert_eq!(rig.a.known.account(&key_id), None);
        assert_eq!(rig.asks(&rig.a).await, StatusCode::OK);
        assert_eq!(rig.a.known.account(&key_id).as_deref(), Some(A));
        rig.engine.shutdown().await;
    }
}
