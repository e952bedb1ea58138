//! The configuration blocks of state machines and activities: logging, tracing, encryption. What it hides: their
//! defaults, which describing calls always show (Terraform and CDK see drift without them).

use stepwell_engine::MachineSettings;
use stepwell_query::Value;

use super::{
    fault::Fault,
    input::{Fields, Wire},
};

/// Takes the blocks of a request of an account. `Err` where they contradict themselves, or name what is another account's.
pub(super) fn take(input: &mut Fields<'_>, account: &str) -> Result<MachineSettings, Fault> {
    let logging = input
        .structure("loggingConfiguration")
        .map(|fields| logging(fields, account))
        .transpose()?;
    let tracing = input.structure("tracingConfiguration").map(tracing);
    let encryption = take_encryption(input)?;
    Ok(MachineSettings {
        logging,
        tracing,
        encryption,
    })
}

/// Takes `encryptionConfiguration`.
pub(super) fn take_encryption(input: &mut Fields<'_>) -> Result<Option<Value>, Fault> {
    let Some(fields) = input.structure("encryptionConfiguration") else {
        return Ok(None);
    };
    let value = fields.to_value();
    let customer_managed =
        value.get("type").and_then(Value::as_str) == Some("CUSTOMER_MANAGED_KMS_KEY");
    if customer_managed != value.get("kmsKeyId").is_some() {
        let message = if customer_managed {
            "Invalid Encryption Configuration: 'kmsKeyId' must be specified for the type CUSTOMER_MANAGED_KMS_KEY"
        } else {
            "Invalid Encryption Configuration: 'kmsKeyId' can only be specified for the type CUSTOMER_MANAGED_KMS_KEY"
        };
        return Err(Fault::refused("InvalidEncryptionConfiguration", message));
    }
    Ok(Some(value))
}

/// What a state machine without the block shows.
pub(super) fn default_logging() -> Value {
    Value::object([
        ("level", Value::from("OFF")),
        ("includeExecutionData", Value::from(false)),
    ])
}

/// What a state machine without the block shows.
pub(super) fn default_tracing() -> Value {
    Value::object([("enabled", Value::from(false))])
}

/// What a state machine or activity without the block shows.
pub(super) fn default_encryption() -> Value {
    Value::object([("type", Value::from("AWS_OWNED_KEY"))])
}

/// Blocks equal to the default become absent: creating with and without them is the same request.
pub(super) fn without_defaults(settings: MachineSettings) -> MachineSettings {
    MachineSettings {
        logging: settings.logging.filter(|block| *block != default_logging()),
        tracing: settings.tracing.filter(|block| *block != default_tracing()),
        encryption: settings
            .encryption
            .filter(|block| *block != default_encryption()),
    }
}

fn logging(mut fields: Fields<'_>, account: &str) -> Result<Value, Fault> {
    let level = fields.text("level").unwrap_or_else(|| "OFF".to_owned());
    let include = fields.boolean("includeExecutionData").unwrap_or(false);
    let destinations = fields.list("destinations");
    if level != "OFF" && destinations.as_ref().map_or(0, Vec::len) != 1 {
        let message = "Invalid Logging Configuration: Must specify exactly one Log Destination.";
        return Err(Fault::refused("InvalidLoggingConfiguration", message));
    }
    let mut members = vec![
        ("level", Value::from(level)),
        ("includeExecutionData", Value::from(include)),
    ];
    if let Some(destinations) = destinations {
        let destinations = Wire::List(destinations).to_value();
        if !groups(&destinations).all(|arn| is_group_of(arn, account)) {
            let message = "Invalid Logging Configuration: Log Destination not found.";
            return Err(Fault::refused("InvalidLoggingConfiguration", message));
        }
        members.push(("destinations", destinations));
    }
    Ok(Value::object(members))
}

/// The ARNs of the log groups that destinations name; empty where one names none.
fn groups(destinations: &Value) -> impl Iterator<Item = &str> {
    let listed = if let Value::Array(items) = destinations {
        Some(items)
    } else {
        None
    };
    listed.into_iter().flatten().map(|destination| {
        let group = destination.get("cloudWatchLogsLogGroup");
        let arn = group.and_then(|group| group.get("logGroupArn"));
        arn.and_then(Value::as_str).unwrap_or_default()
    })
}

/// Whether an ARN is one of a log group of the account: `arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*`. Whether there is
/// such a group is not asked: groups are kept for tools alone.
fn is_group_of(arn: &str, account: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(7, ':').collect();
    let [scheme, _, service, _, owner, kind, name] = parts[..] else {
        return false;
    };
    let named = !name.trim_end_matches(":*").is_empty();
    scheme == "arn" && service == "logs" && owner == account && kind == "log-group" && named
}

fn tracing(mut fields: Fields<'_>) -> Value {
    Value::object([(
        "enabled",
        Value::from(fields.boolean("enabled").unwrap_or(false)),
    )])
}

#[cfg(test)]
mod tests {
    use super::is_group_of;

    #[test]
    fn a_log_group_is_of_the_account_that_its_arn_names() {
        for (arn, own) in [
            ("arn:aws:logs:eu-west-1:111111111111:log-group:/a/b:*", true),
            ("arn:aws-cn:logs:cn-north-1:111111111111:log-group:g", true),
            ("arn:aws:logs:eu-west-1:222222222222:log-group:g:*", false),
            ("arn:aws:logs:eu-west-1:111111111111:log-group::*", false),
            ("arn:aws:logs:eu-west-1:111111111111:log-group", false),
            ("arn:aws:s3:eu-west-1:111111111111:log-group:g:*", false),
            ("arn:aws:logs:eu-west-1::log-group:g:111111111111", false),
            ("g:*", false),
            ("", false),
        ] {
            assert_eq!(is_group_of(arn, "111111111111"), own, "{arn}");
        }
    }
}
