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
    aws::{self, Fault},
    fair::{Crowded, Known, Refusal, Turn, Whose, claimed_key},
    limits::STRANGERS_WEIGHT,
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
        return aws::refuse(&Fault::crowded());
    };
    // Each trigger has a secret of its own.
    let (response, whose) = match triggers::is_endpoint(request.uri().path()) {
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
    let query = aws::query::is_query(request.headers());
    let mut request = match gate.admit(request).await {
        Ok(request) => request,
        Err(fault) => {
            asked.known.forget();
            let mut response = match query {
                true => aws::query::refuse(&fault),
                false => aws::refuse(&fault),
            };
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
    let turn = match turn.is_of(&whose) {
        true => turn,
        false => {
            drop(turn);
            match enter(state, &whose).await {
                Ok(turn) => turn,
                Err(Crowded) => return (aws::refuse(&Fault::crowded()), whose),
            }
        }
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
        }
    }
}
