//! What a function is called with, in and out. Wire types, REST JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stepwell_engine::{Caller, Function, FunctionSettings, SettingsChange};

use super::fault::Fault;
use crate::limits::{
    EPHEMERAL_MB_MAX, EPHEMERAL_MB_MIN, FUNCTION_ENVIRONMENT_BYTES_MAX, FUNCTION_MEMORY_MB,
    FUNCTION_MEMORY_MB_MAX, FUNCTION_MEMORY_MB_MIN, FUNCTION_TIMEOUT_S, FUNCTION_TIMEOUT_S_MAX,
    LOG_GROUP_CHARS_MAX,
};

/// Members that count for nothing here and are told back, as tools compare them with what they sent; each with its own members.
const TOLD: [(&str, &[&str]); 3] = [
    (EPHEMERAL_STORAGE, &["Size"]),
    (
        LOGGING,
        &[
            "LogFormat",
            "LogGroup",
            "ApplicationLogLevel",
            "SystemLogLevel",
        ],
    ),
    (TRACING, &["Mode"]),
];
const EPHEMERAL_STORAGE: &str = "EphemeralStorage";
const LOGGING: &str = "LoggingConfig";
const TRACING: &str = "TracingConfig";

/// Wire form of the settings in CreateFunction and UpdateFunctionConfiguration.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Settings {
    role: Option<String>,
    runtime: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    environment: Option<Environment>,
    architectures: Option<Vec<String>>,
    package_type: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Environment {
    variables: BTreeMap<String, String>,
}

/// Members that would change how a function is called and that are not served, each with what is there instead.
const NOT_SERVED: [(&str, &str); 11] = [
    ("Layers", "put all code into the one `.wasm`"),
    ("VpcConfig", "functions have no network of their own"),
    (
        "DeadLetterConfig",
        "start an execution with a Catch instead of an Event invocation",
    ),
    (
        "FileSystemConfigs",
        "folders are granted to plugins of the plugin directory alone",
    ),
    ("ImageConfig", "container images are not run here"),
    ("KMSKeyArn", "variables are kept as they are"),
    (
        "SnapStart",
        "plugins are compiled when they are uploaded, and start in microseconds",
    ),
    ("CodeSigningConfigArn", "code is not signed here"),
    ("CapacityProviderConfig", "functions run in this process"),
    ("DurableConfig", "a state machine is what is durable here"),
    (
        "TenancyConfig",
        "each call has an instance of its own anyway",
    ),
];

impl Settings {
    /// The settings of a new function.
    pub(super) fn new_function(self) -> Result<FunctionSettings, Fault> {
        let architecture = self.architectures.as_ref().and_then(|all| all.first());
        let architecture = architecture.cloned().unwrap_or_else(|| "x86_64".to_owned());
        let change = self.change()?;
        Ok(FunctionSettings {
            role: change.role.ok_or_else(|| {
                Fault::invalid("Role is required; any role's ARN will do, it is kept and not used")
            })?,
            runtime: change.runtime,
            handler: change.handler,
            architecture,
            description: change.description.unwrap_or_default(),
            timeout_s: change.timeout_s.unwrap_or(FUNCTION_TIMEOUT_S),
            memory_mb: change.memory_mb.unwrap_or(FUNCTION_MEMORY_MB),
            environment: change.environment.unwrap_or_default(),
            told: change.told,
        })
    }

    /// What the request changes.
    pub(super) fn change(self) -> Result<SettingsChange, Fault> {
        for (member, instead) in NOT_SERVED {
            if self.others.get(member).is_some_and(says_something) {
                return Err(Fault::invalid(format!(
                    "{member} is not offered here: {instead}"
                )));
            }
        }
        if self
            .package_type
            .as_deref()
            .is_some_and(|kind| kind != "Zip")
        {
            return Err(Fault::invalid(
                "PackageType is Zip here: container images are not run",
            ));
        }
        if let Some(runtime) = &self.runtime
            && !runtime.starts_with("provided")
        {
            return Err(Fault::invalid(format!(
                "the runtime `{runtime}` is not here: functions are WebAssembly of any language; say `provided.al2023`, or leave it out, and upload a `.wasm`"
            )));
        }
        let told = told(&self.others)?;
        let (timeout, memory) = (self.timeout, self.memory_size);
        let environment = self.environment.map(|environment| environment.variables);
        if let Some(variables) = &environment {
            check_environment(variables)?;
        }
        Ok(SettingsChange {
            role: self.role,
            runtime: self.runtime,
            handler: self.handler,
            description: self.description,
            timeout_s: bounded(timeout, "timeout", 1, FUNCTION_TIMEOUT_S_MAX)?,
            memory_mb: bounded(
                memory,
                "memorySize",
                FUNCTION_MEMORY_MB_MIN,
                FUNCTION_MEMORY_MB_MAX,
            )?,
            environment,
            told,
        })
    }
}

/// The members that are told back, as far as the API's model takes them.
fn told(others: &BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Fault> {
    let mut told = BTreeMap::new();
    for (name, members) in TOLD {
        let Some(block) = others.get(name).filter(|block| !block.is_null()) else {
            continue;
        };
        check_told(name, block)?;
        let known = members.iter().filter_map(|member| {
            let value = block.get(member).filter(|value| !value.is_null())?;
            Some(((*member).to_owned(), value.clone()))
        });
        let known: Map<String, Value> = known.collect();
        told.insert(name.to_owned(), Value::Object(known).to_string());
    }
    Ok(told)
}

fn check_told(name: &str, block: &Value) -> Result<(), Fault> {
    let one_of = |member: &str, values: &[&str]| match block.get(member) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if values.contains(&text.as_str()) => Ok(()),
        Some(other) => Err(Fault::validation(&format!(
            "Value '{other}' at '{name}.{member}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
            values.join(", ")
        ))),
    };
    if !block.is_object() {
        return Err(Fault::validation(&format!(
            "Value at '{name}' failed to satisfy constraint: Member must be a structure"
        )));
    }
    if name == TRACING {
        return one_of("Mode", &["Active", "PassThrough"]);
    }
    if name == LOGGING {
        one_of("LogFormat", &["JSON", "Text"])?;
        let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
        one_of("ApplicationLogLevel", &levels)?;
        one_of("SystemLogLevel", &["DEBUG", "INFO", "WARN"])?;
        return check_group(block.get("LogGroup"));
    }
    let size = block.get("Size").and_then(Value::as_i64);
    let sound = |size: &i64| (EPHEMERAL_MB_MIN..=EPHEMERAL_MB_MAX).contains(size);
    size.filter(sound).map(drop).ok_or_else(|| {
        Fault::validation(&format!(
            "Value at 'ephemeralStorage.size' failed to satisfy constraint: Member must have value from {EPHEMERAL_MB_MIN} to {EPHEMERAL_MB_MAX}"
        ))
    })
}

fn check_group(group: Option<&Value>) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#".contains(c);
    let sound =
        |text: &str| (1..=LOG_GROUP_CHARS_MAX).contains(&text.len()) && text.chars().all(allowed);
    match group {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if sound(text) => Ok(()),
        Some(_) => Err(Fault::validation(&format!(
            "Value at 'loggingConfig.logGroup' failed to satisfy constraint: Member must be 1 to {LOG_GROUP_CHARS_MAX} characters of the regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"
        ))),
    }
}

/// Whether a member asks for something; tools send empty ones.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty() && text != "None",
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(members) => members.values().any(says_something),
    }
}

fn bounded(value: Option<i64>, name: &str, least: u32, most: u32) -> Result<Option<u32>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let wrong = |bound: &str, number: u32| {
        Fault::validation(&format!(
            "Value '{value}' at '{name}' failed to satisfy constraint: Member must have value {bound} than or equal to {number}"
        ))
    };
    match u32::try_from(value) {
        Ok(number) if number > most => Err(wrong("less", most)),
        Ok(number) if number >= least => Ok(Some(number)),
        Ok(_) => Err(wrong("greater", least)),
        Err(_) if value > 0 => Err(wrong("less", most)),
        Err(_) => Err(wrong("greater", least)),
    }
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<(), Fault> {
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > FUNCTION_ENVIRONMENT_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "the environment variables have {bytes} bytes, names and values, and {FUNCTION_ENVIRONMENT_BYTES_MAX} are the most; pass large settings in the payload"
        )));
    }
    Ok(())
}

/// Wire form of a function's configuration.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    function_name: String,
    function_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
    code_size: u64,
    description: String,
    timeout: u32,
    memory_size: u32,
    last_modified: String,
    code_sha256: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Variables>,
    tracing_config: Value,
    revision_id: String,
    state: &'static str,
    last_update_status: &'static str,
    package_type: &'static str,
    architectures: [String; 1],
    ephemeral_storage: Value,
    logging_config: Value,
    snap_start: SnapStart,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Variables {
    variables: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapStart {
    apply_on: &'static str,
    optimization_status: &'static str,
}

impl Configuration {
    /// With the qualifier in the ARN, where there is one.
    pub(super) fn of(
        caller: &Caller,
        function: Function,
        qualifier: Option<&str>,
    ) -> Configuration {
        let Function {
            name,
            version,
            settings,
            package_sha256,
            package_bytes,
            modified_at,
            revision_id,
        } = function;
        let version = version_text(version);
        let environment = settings.environment;
        let told = |member: &str, default: Value| shown(&settings.told, member, default);
        let group = format!("/aws/lambda/{name}");
        Configuration {
            tracing_config: told(TRACING, json!({"Mode": "PassThrough"})),
            ephemeral_storage: told(EPHEMERAL_STORAGE, json!({"Size": EPHEMERAL_MB_MIN})),
            logging_config: told(LOGGING, json!({"LogFormat": "Text", "LogGroup": group})),
            function_arn: arn(caller, &name, qualifier),
            function_name: name.to_string(),
            runtime: settings.runtime,
            role: settings.role,
            handler: settings.handler,
            code_size: package_bytes,
            description: settings.description,
            timeout: settings.timeout_s,
            memory_size: settings.memory_mb,
            // RFC 3339, but for the zone.
            last_modified: format!("{}+0000", modified_at.to_string().trim_end_matches('Z')),
            code_sha256: package_sha256,
            version,
            environment: (!environment.is_empty()).then_some(Variables {
                variables: environment,
            }),
            revision_id,
            state: "Active",
            last_update_status: "Successful",
            package_type: "Zip",
            architectures: [settings.architecture],
            snap_start: SnapStart {
                apply_on: "None",
                optimization_status: "Off",
            },
        }
    }

    /// A version under its own number.
    pub(super) fn numbered(caller: &Caller, function: Function) -> Configuration {
        let version = function.version.map(|number| number.to_string());
        Configuration::of(caller, function, version.as_deref())
    }
}

/// A block as it is told: what was given, over what there is when nothing is said.
fn shown(told: &BTreeMap<String, String>, member: &str, mut default: Value) -> Value {
    let given = told.get(member);
    let given = given.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    if let (Some(block), Some(given)) = (default.as_object_mut(), given) {
        block.extend(given);
    }
    default
}

/// A number, or what is the latest.
pub(super) fn version_text(version: Option<u64>) -> String {
    version.map_or_else(|| LATEST.to_owned(), |number| number.to_string())
}

/// The qualifier of what is the latest.
pub(super) const LATEST: &str = "$LATEST";

pub(super) fn arn(caller: &Caller, name: &str, qualifier: Option<&str>) -> String {
    let Caller { tenant, region } = caller;
    let qualifier = qualifier.map_or_else(String::new, |qualifier| format!(":{qualifier}"));
    format!("arn:aws:lambda:{region}:{tenant}:function:{name}{qualifier}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<SettingsChange, String> {
        let settings: Settings = serde_json::from_str(text).unwrap();
        settings.change().map_err(|fault| fault.code().to_owned())
    }

    #[test]
    fn what_is_not_served_is_refused_where_it_asks_for_something() {
        let empty = r#"{"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "Layers": [], "DeadLetterConfig": {},
            "SnapStart": {"ApplyOn": "None"}, "TracingConfig": {"Mode": "Active"}}"#;
        assert!(settings(empty).is_ok());
        for text in [
            r#"{"VpcConfig": {"SubnetIds": ["subnet-1"]}}"#,
            r#"{"Layers": ["arn:aws:lambda:us-east-1:1:layer:l:1"]}"#,
            r#"{"Runtime": "python3.12"}"#,
            r#"{"PackageType": "Image"}"#,
        ] {
            assert_eq!(
                settings(text).unwrap_err(),
                "InvalidParameterValueException",
                "{text}"
            );
        }
    }

    #[test]
    fn what_counts_for_nothing_is_told_back() {
        let text = r#"{"TracingConfig": {"Mode": "Active"}, "EphemeralStorage": {"Size": 1024},
            "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": null}}"#;
        let told = settings(text).unwrap().told;
        let of = |member, default| shown(&told, member, default);
        assert_eq!(
            of(TRACING, json!({"Mode": "PassThrough"})),
            json!({"Mode": "Active"})
        );
        assert_eq!(
            of(EPHEMERAL_STORAGE, json!({"Size": 512})),
            json!({"Size": 1024})
        );
        assert_eq!(
            of(LOGGING, json!({"LogFormat": "Text", "LogGroup": "/g"})),
            json!({"LogFormat": "JSON", "LogGroup": "/g"})
        );
        assert_eq!(
            shown(&BTreeMap::new(), TRACING, json!({"a": 1})),
            json!({"a": 1})
        );
        for wrong in [
            r#"{"TracingConfig": {"Mode": "On"}}"#,
            r#"{"TracingConfig": "Active"}"#,
            r#"{"EphemeralStorage": {}}"#,
            r#"{"EphemeralStorage": {"Size": 511}}"#,
            r#"{"LoggingConfig": {"LogFormat": "XML"}}"#,
            r#"{"LoggingConfig": {"LogGroup": "a b"}}"#,
            r#"{"LoggingConfig": {"SystemLogLevel": "ERROR"}}"#,
        ] {
            assert_eq!(
                settings(wrong).unwrap_err(),
                "ValidationException",
                "{wrong}"
            );
        }
    }

    #[test]
    fn numbers_have_their_bounds() {
        for (text, good) in [
            (r#"{"Timeout": 1, "MemorySize": 128}"#, true),
            (r#"{"Timeout": 900, "MemorySize": 10240}"#, true),
            (r#"{"Timeout": 0}"#, false),
            (r#"{"Timeout": -5}"#, false),
            (r#"{"Timeout": 901}"#, false),
            (r#"{"MemorySize": 127}"#, false),
            (r#"{"MemorySize": 99999999999}"#, false),
        ] {
            assert_eq!(settings(text).is_ok(), good, "{text}");
        }
    }
}
