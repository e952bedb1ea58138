//! What keeps items from being read or results from being written. The texts are causes that the author of a state
//! machine reads; where S3 has words for it, they are S3's.

/// Why items cannot be read or results cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "The specified bucket does not exist (Service: S3, Status Code: 404, Request ID: null, Extended Request ID: null)"
    )]
    NoSuchBucket,
    #[error(
        "The specified key does not exist. (Service: S3, Status Code: 404, Request ID: null, Extended Request ID: null)"
    )]
    NoSuchKey,
    #[error(
        "Access Denied (Service: S3, Status Code: 403, Request ID: null, Extended Request ID: null)"
    )]
    AccessDenied,
    /// The name is none that S3 allows.
    #[error(
        "The specified bucket is not valid. (Service: S3, Status Code: 400, Request ID: null, Extended Request ID: null)"
    )]
    InvalidBucket,
    #[error("The key '{key}' cannot be used: {why}")]
    InvalidKey { key: String, why: String },
    /// One of the above or below, of that object or bucket.
    #[error("{error}: {place}")]
    At { error: Box<Error>, place: String },
    /// What was read is another version by now.
    #[error("The object s3://{bucket}/{key} changed while it was read")]
    Changed { bucket: String, key: String },
    /// The content is not what the reader was told.
    #[error("{0}")]
    Malformed(String),
    /// The storage does not answer, or answers nonsense.
    #[error("The object storage failed: {0}")]
    Storage(String),
}

impl Error {
    pub(crate) fn malformed(text: impl Into<String>) -> Error {
        Error::Malformed(text.into())
    }

    /// The error with the object that it is of, or the bucket where there is no key: S3's words name neither.
    pub(crate) fn at(self, bucket: &str, key: &str) -> Error {
        match self {
            Error::NoSuchBucket
            | Error::NoSuchKey
            | Error::AccessDenied
            | Error::InvalidBucket
            | Error::Storage(_) => Error::At {
                error: Box::new(self),
                place: match key {
                    "" => format!("s3://{bucket}"),
                    key => format!("s3://{bucket}/{key}"),
                },
            },
            Error::InvalidKey { .. }
            | Error::At { .. }
            | Error::Changed { .. }
            | Error::Malformed(_) => self,
        }
    }

    /// What `object_store` says of an object.
    pub(crate) fn of_object(error: object_store::Error, bucket: &str, key: &str) -> Error {
        use object_store::Error as E;
        match error {
            E::NotFound { source, .. } if source.to_string().contains("NoSuchBucket") => {
                Error::NoSuchBucket
            }
            E::NotFound { .. } => Error::NoSuchKey,
            E::Precondition { .. } => Error::Changed {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Error::AccessDenied,
            E::InvalidPath { source } => Error::InvalidKey {
                key: key.to_owned(),
                why: source.to_string(),
            },
            other => Error::of_storage(&other),
        }
    }

    /// What `object_store` says otherwise.
    pub(crate) fn of_storage(error: &object_store::Error) -> Error {
        let text = error.to_string();
        if text.contains("NoSuchBucket") {
            return Error::NoSuchBucket;
        }
        Error::Storage(text)
    }
}
