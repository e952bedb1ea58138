//! Errors of the engine's calls, split by what the caller can do about them.

/// Why a call was not carried out.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The caller's fault; the code and the text are AWS's.
    #[error("{code:?}: {message}")]
    Rejected { code: Code, message: String },
    /// Nothing was done and the same call may succeed later (full disk, full queue, shutting down).
    #[error("busy: {0}")]
    Busy(String),
    /// Another process has the store, which is the one to ask then; told at the start.
    #[error("{0}")]
    Held(String),
    /// The store could not be opened: the operator's to mend, told at the start.
    #[error("{0}")]
    Unopened(String),
    /// What was named is no store, or one of a newer version: whoever named it has to name another.
    #[error("{0}")]
    Unusable(String),
    /// What is stored is not what was stored: the operator's to mend, with a text that says how. Never for the wire.
    #[error("{0}")]
    Damaged(String),
    /// The runtime's own failure. The text is for the operator's log, never for the wire.
    #[error("internal failure: {0}")]
    Broken(String),
}

/// AWS's error codes, as the API model names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    ActivityAlreadyExists,
    ActivityDoesNotExist,
    ActivityLimitExceeded,
    ActivityWorkerLimitExceeded,
    ConflictException,
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionLimitExceeded,
    /// Ours: of no AWS model.
    ExecutionNotForkable,
    ExecutionNotRedrivable,
    InvalidArn,
    InvalidDefinition,
    InvalidExecutionInput,
    InvalidName,
    InvalidOutput,
    InvalidToken,
    MissingRequiredParameter,
    /// Of EventBridge.
    ResourceAlreadyExists,
    ResourceNotFound,
    ServiceQuotaExceededException,
    StateMachineAlreadyExists,
    StateMachineDeleting,
    StateMachineDoesNotExist,
    StateMachineLimitExceeded,
    StateMachineTypeNotSupported,
    TaskDoesNotExist,
    TaskTimedOut,
    /// Of every service, in no model.
    ThrottlingException,
    TooManyTags,
    ValidationException,
}

impl Error {
    pub(crate) fn rejected(code: Code, message: impl Into<String>) -> Error {
        Error::Rejected {
            code,
            message: message.into(),
        }
    }
}
