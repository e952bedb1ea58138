//! Why a request is not taken for its key's. What it hides: nothing.
//!
//! The codes and texts are those of AWS's other service that speaks AWS JSON 1.0, DynamoDB, as the project `dynalite` noted
//! them from the service (`index.js`); of Step Functions none are recorded. Ours are: the five minutes of the clock (of AWS's
//! general documentation), the texts about `X-Amz-Expires`, `x-amz-content-sha256`, the order of `SignedHeaders` and headers
//! that are not among them. What the header `Authorization` holds is not repeated.

use std::borrow::Cow;

use crate::aws::Fault;

/// A request that is not authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) code: &'static str,
    pub(super) message: Cow<'static, str>,
}

impl Wrong {
    pub(super) fn missing() -> Wrong {
        Wrong {
            code: "MissingAuthenticationTokenException",
            message: "Request is missing Authentication Token".into(),
        }
    }

    /// Of the key: not known, disabled, or with a session token that is not its.
    pub(super) fn unknown() -> Wrong {
        Wrong {
            code: "UnrecognizedClientException",
            message: "The security token included in the request is invalid.".into(),
        }
    }

    /// Of a session that has ended.
    pub(super) fn expired() -> Wrong {
        Wrong {
            code: "ExpiredTokenException",
            message: "The security token included in the request is expired".into(),
        }
    }

    pub(super) fn incomplete(why: &str) -> Wrong {
        Wrong {
            code: "IncompleteSignatureException",
            message: why.to_owned().into(),
        }
    }

    pub(super) fn algorithm(found: &str) -> Wrong {
        Wrong::incomplete(&format!(
            "Unsupported AWS 'algorithm': '{found}' (only AWS4-HMAC-SHA256 for now). "
        ))
    }

    pub(super) fn scope(why: &str) -> Wrong {
        Wrong::signature(why.to_owned())
    }

    pub(super) fn mismatch() -> Wrong {
        Wrong::signature("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.".to_owned())
    }

    pub(super) fn framing() -> Wrong {
        Wrong::incomplete("The body is not in chunks as the header x-amz-content-sha256 says.")
    }

    pub(super) fn signature(message: String) -> Wrong {
        Wrong {
            code: "InvalidSignatureException",
            message: message.into(),
        }
    }
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Fault {
        Fault::unauthenticated(wrong.code, wrong.message)
    }
}
