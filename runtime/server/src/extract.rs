//! What the path and the query of a request hold, as axum reads them. What it hides: that a refusal is written as the other
//! errors of these paths are.

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query},
    http::{Response, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::router;

/// What stands in the path.
pub(crate) struct InPath<T>(pub(crate) T);

/// What stands behind the `?`.
pub(crate) struct InQuery<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for InPath<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(held)| InPath(held)).map_err(|wrong| {
            let text = "what stands in a path is percent-encoded UTF-8";
            router::error(wrong.status(), &format!("{}: {text}", wrong.body_text()))
        })
    }
}

impl<S, T> FromRequestParts<S> for InQuery<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Response<Body>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(held)| InQuery(held))
            .map_err(|wrong| router::error(wrong.status(), &wrong.body_text()))
    }
}
