//! Members of requests as the SDK's types. Hides how a case writes them.

use aws_sdk_sfn::types::{
    CloudWatchLogsLogGroup, EncryptionConfiguration, EncryptionType, LogDestination,
    LoggingConfiguration, MockErrorOutput, MockInput, RoutingConfigurationListItem, Tag,
    TracingConfiguration,
};
use serde_json::Value;

pub(crate) fn text(of: &Value, name: &str) -> Option<String> {
    of[name].as_str().map(str::to_owned)
}

/// One of the words that a member may hold.
pub(crate) fn word<T: for<'a> From<&'a str>>(of: &Value, name: &str) -> Option<T> {
    of[name].as_str().map(T::from)
}

pub(crate) fn int(of: &Value, name: &str) -> Option<i32> {
    of[name].as_i64().and_then(|number| number.try_into().ok())
}

pub(crate) fn long(of: &Value, name: &str) -> Option<i64> {
    of[name].as_i64()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the member is a float of 32 bits"
)]
pub(crate) fn float(of: &Value, name: &str) -> Option<f32> {
    of[name].as_f64().map(|number| number as f32)
}

pub(crate) fn boolean(of: &Value, name: &str) -> Option<bool> {
    of[name].as_bool()
}

pub(crate) fn texts(of: &Value, name: &str) -> Option<Vec<String>> {
    let items = of[name].as_array()?.iter();
    Some(
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
    )
}

pub(crate) fn tags(of: &Value, name: &str) -> Option<Vec<Tag>> {
    let tag = |item: &Value| {
        let tag = Tag::builder().set_key(text(item, "key"));
        tag.set_value(text(item, "value")).build()
    };
    Some(of[name].as_array()?.iter().map(tag).collect())
}

pub(crate) fn routing(of: &Value, name: &str) -> Option<Vec<RoutingConfigurationListItem>> {
    let part = |item: &Value| {
        RoutingConfigurationListItem::builder()
            .set_state_machine_version_arn(text(item, "stateMachineVersionArn"))
            .set_weight(int(item, "weight"))
            .build()
            .expect("the case gives both members")
    };
    Some(of[name].as_array()?.iter().map(part).collect())
}

pub(crate) fn logging(of: &Value, name: &str) -> Option<LoggingConfiguration> {
    let block = of.get(name)?;
    let destinations = block["destinations"].as_array().map(|items| {
        let group = |item: &Value| {
            let arn = text(&item["cloudWatchLogsLogGroup"], "logGroupArn");
            let group = CloudWatchLogsLogGroup::builder().set_log_group_arn(arn);
            let destination = LogDestination::builder();
            destination
                .cloud_watch_logs_log_group(group.build())
                .build()
        };
        items.iter().map(group).collect()
    });
    let logging = LoggingConfiguration::builder()
        .set_level(word(block, "level"))
        .set_include_execution_data(boolean(block, "includeExecutionData"));
    Some(logging.set_destinations(destinations).build())
}

pub(crate) fn tracing(of: &Value, name: &str) -> Option<TracingConfiguration> {
    let block = of.get(name)?;
    let tracing = TracingConfiguration::builder();
    Some(tracing.set_enabled(boolean(block, "enabled")).build())
}

pub(crate) fn encryption(of: &Value, name: &str) -> Option<EncryptionConfiguration> {
    let block = of.get(name)?;
    let encryption = EncryptionConfiguration::builder()
        .set_kms_key_id(text(block, "kmsKeyId"))
        .set_kms_data_key_reuse_period_seconds(int(block, "kmsDataKeyReusePeriodSeconds"))
        .set_type(word::<EncryptionType>(block, "type"));
    Some(encryption.build().expect("the case gives the type"))
}

pub(crate) fn mock(of: &Value, name: &str) -> Option<MockInput> {
    let block = of.get(name)?;
    let error = block.get("errorOutput").map(|output| {
        let error = MockErrorOutput::builder().set_error(text(output, "error"));
        error.set_cause(text(output, "cause")).build()
    });
    let mock = MockInput::builder().set_result(text(block, "result"));
    Some(mock.set_error_output(error).build())
}
