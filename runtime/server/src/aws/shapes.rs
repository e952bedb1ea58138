//! The shapes that requests are made of, as the service's API model has them. One table; operations name its entries.

use super::constraint::{Member, Pattern, Shape, Text, Unit};

const fn text(min: usize, max: usize) -> Text {
    Text {
        min,
        max,
        raised: max,
        unit: Unit::Chars,
        pattern: None,
        sensitive: false,
    }
}

const fn secret(min: usize, max: usize) -> Text {
    Text {
        sensitive: true,
        ..text(min, max)
    }
}

const fn payload(max: usize) -> Text {
    Text {
        unit: Unit::Bytes,
        ..raisable(secret(0, max))
    }
}

/// Bounded by whoever reads it when limits are raised.
const fn raisable(text: Text) -> Text {
    Text {
        raised: usize::MAX,
        ..text
    }
}

const fn matching(text: Text, pattern: &'static str, holds: fn(&str) -> bool) -> Text {
    Text {
        pattern: Some(Pattern {
            text: pattern,
            holds,
        }),
        ..text
    }
}

/// A member that must be there.
pub(super) const fn must(name: &'static str, shape: &'static Shape) -> Member {
    Member {
        name,
        shape,
        required: true,
    }
}

/// A member that may be left out.
pub(super) const fn may(name: &'static str, shape: &'static Shape) -> Member {
    Member {
        name,
        shape,
        required: false,
    }
}

pub(super) static ARN: Shape = Shape::Text(text(1, 256));
pub(super) static LONG_ARN: Shape = Shape::Text(text(1, 2_000));
pub(super) static NAME: Shape = Shape::Text(text(1, 80));
pub(super) static STATE_NAME: Shape = Shape::Text(secret(1, 80));
pub(super) static DEFINITION: Shape = Shape::Text(raisable(secret(1, 1_048_576)));
pub(super) static DATA: Shape = Shape::Text(payload(262_144));
pub(super) static ERROR: Shape = Shape::Text(secret(0, 256));
pub(super) static CAUSE: Shape = Shape::Text(secret(0, 32_768));
pub(super) static TASK_TOKEN: Shape = Shape::Text(secret(1, 2_048));
pub(super) static DESCRIPTION: Shape = Shape::Text(secret(0, 256));
pub(super) static REVISION: Shape = Shape::Text(text(0, usize::MAX));
pub(super) static PAGE_TOKEN: Shape = Shape::Text(text(1, 1_024));
pub(super) static EXECUTIONS_PAGE_TOKEN: Shape = Shape::Text(text(1, 3_096));
pub(super) static TRACE_HEADER: Shape =
    Shape::Text(matching(text(0, 256), r"\p{ASCII}*", str::is_ascii));
pub(super) static CLIENT_TOKEN: Shape = Shape::Text(matching(text(1, 64), "[!-~]+", is_graphic));
pub(super) static ALIAS_NAME: Shape = Shape::Text(matching(
    text(1, 80),
    r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$",
    is_alias_name,
));

pub(super) static PAGE_SIZE: Shape = Shape::Number { min: 0, max: 1_000 };
pub(super) static DIAGNOSTICS_SIZE: Shape = Shape::Number { min: 0, max: 100 };
pub(super) static COUNT: Shape = Shape::Number {
    min: 0,
    max: i64::MAX,
};
pub(super) static PERCENTAGE: Shape = Shape::Number { min: 0, max: 100 };
pub(super) static SHARE: Shape = Shape::Fraction {
    min: 0.0,
    max: 100.0,
};
pub(super) static BOOLEAN: Shape = Shape::Boolean;

pub(super) static MACHINE_TYPE: Shape = Shape::Choice(&["STANDARD", "EXPRESS"]);
pub(super) static INCLUDED_DATA: Shape = Shape::Choice(&["ALL_DATA", "METADATA_ONLY"]);
/// In the order of the service's text.
pub(super) static STATUS: Shape = Shape::Choice(&[
    "SUCCEEDED",
    "TIMED_OUT",
    "PENDING_REDRIVE",
    "ABORTED",
    "FAILED",
    "RUNNING",
]);
pub(super) static REDRIVE_FILTER: Shape = Shape::Choice(&["REDRIVEN", "NOT_REDRIVEN"]);
pub(super) static SEVERITY: Shape = Shape::Choice(&["ERROR", "WARNING"]);
pub(super) static INSPECTION_LEVEL: Shape = Shape::Choice(&["INFO", "DEBUG", "TRACE"]);

pub(super) static LOGGING: Shape = Shape::Structure {
    name: "LoggingConfiguration",
    members: &[
        may("level", &Shape::Choice(&["ALL", "ERROR", "FATAL", "OFF"])),
        may("includeExecutionData", &BOOLEAN),
        may(
            "destinations",
            &Shape::List {
                of: &LOG_DESTINATION,
                min: 0,
                max: usize::MAX,
            },
        ),
    ],
};
static LOG_DESTINATION: Shape = Shape::Structure {
    name: "LogDestination",
    members: &[may("cloudWatchLogsLogGroup", &LOG_GROUP)],
};
static LOG_GROUP: Shape = Shape::Structure {
    name: "CloudWatchLogsLogGroup",
    members: &[may("logGroupArn", &ARN)],
};
pub(super) static TRACING: Shape = Shape::Structure {
    name: "TracingConfiguration",
    members: &[may("enabled", &BOOLEAN)],
};
pub(super) static ENCRYPTION: Shape = Shape::Structure {
    name: "EncryptionConfiguration",
    members: &[
        may("kmsKeyId", &Shape::Text(text(1, 2_048))),
        may(
            "kmsDataKeyReusePeriodSeconds",
            &Shape::Number { min: 60, max: 900 },
        ),
        must(
            "type",
            &Shape::Choice(&["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"]),
        ),
    ],
};
pub(super) static TAGS: Shape = Shape::List {
    of: &TAG,
    min: 0,
    max: usize::MAX,
};
static TAG: Shape = Shape::Structure {
    name: "Tag",
    members: &[
        may("key", &TAG_KEY),
        may("value", &Shape::Text(text(0, 256))),
    ],
};
pub(super) static TAG_KEYS: Shape = Shape::List {
    of: &TAG_KEY,
    min: 0,
    max: usize::MAX,
};
static TAG_KEY: Shape = Shape::Text(text(1, 128));
pub(super) static ROUTING: Shape = Shape::List {
    of: &ROUTE,
    min: 1,
    max: 2,
};
static ROUTE: Shape = Shape::Structure {
    name: "RoutingConfigurationListItem",
    members: &[
        must("stateMachineVersionArn", &ARN),
        must("weight", &PERCENTAGE),
    ],
};

pub(super) static MOCK: Shape = Shape::Structure {
    name: "MockInput",
    members: &[
        may("result", &DATA),
        may("errorOutput", &MOCK_ERROR),
        may(
            "fieldValidationMode",
            &Shape::Choice(&["STRICT", "PRESENT", "NONE"]),
        ),
    ],
};
static MOCK_ERROR: Shape = Shape::Structure {
    name: "MockErrorOutput",
    members: &[may("error", &ERROR), may("cause", &CAUSE)],
};
pub(super) static STATE_CONFIGURATION: Shape = Shape::Structure {
    name: "TestStateConfiguration",
    members: &[
        may("retrierRetryCount", &COUNT),
        may("errorCausedByState", &STATE_NAME),
        may("mapIterationFailureCount", &COUNT),
        may("mapItemReaderData", &DATA),
    ],
};

fn is_graphic(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_alias_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    text.bytes().all(allowed) && text.bytes().any(|byte| !byte.is_ascii_digit())
}
