//! The configuration blocks of state machines and activities: logging, tracing, encryption. What it hides: their
//! defaults, which describing calls always show (Terraform and CDK see drift without them).

use stepwell_engine::MachineSettings;
use stepwell_query::Value;

use super::{
    fault::Fault,
    input::{Fields, Wire},
};

/// Takes the blocks of a request. `Err` where they contradict themselves.
pub(super) fn take(input: &mut Fields<'_>) -> Result<MachineSettings, Fault> {
    let logging = input
        .structure("loggingConfiguration")
        .map(logging)
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

fn logging(mut fields: Fields<'_>) -> Result<Value, Fault> {
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
        members.push(("destinations", Wire::List(destinations).to_value()));
    }
    Ok(Value::object(members))
}

fn tracing(mut fields: Fields<'_>) -> Value {
    Value::object([(
        "enabled",
        Value::from(fields.boolean("enabled").unwrap_or(false)),
    )])
}
