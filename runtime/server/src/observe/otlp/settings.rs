//! What says where telemetry goes, in the words of OpenTelemetry's specification ("OpenTelemetry Protocol Exporter"). What it
//! hides: how the URLs of the signals come of one, and how lists are written in a variable.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use stepwell_egress::Url;

use super::{OtlpConfig, OtlpTarget};

/// The settings as they are given, each a text; an empty one is none. A setting of one signal beats the one for both.
#[derive(Clone, Debug, Default)]
pub struct OtlpSettings {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the paths of the signals are added.
    pub endpoint: String,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`: as it is. `none` sends none.
    pub traces_endpoint: String,
    /// `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`: as it is. `none` sends none.
    pub logs_endpoint: String,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: `key=value,key=value`, percent-encoded.
    pub headers: String,
    pub traces_headers: String,
    pub logs_headers: String,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`, milliseconds.
    pub timeout_ms: u64,
    /// `OTEL_EXPORTER_OTLP_COMPRESSION` is `gzip`.
    pub gzip: bool,
    /// `OTEL_SERVICE_NAME`.
    pub service_name: String,
    /// `OTEL_RESOURCE_ATTRIBUTES`: written as the headers are.
    pub resource_attributes: String,
}

/// Says that a signal is not sent.
const NONE: &str = "none";

impl OtlpSettings {
    /// The configuration that they come to; none when nothing is sent.
    ///
    /// # Errors
    /// Which setting is wrong and how it is written. No header is repeated: it may be a key.
    pub fn read(&self) -> Result<Option<OtlpConfig>, String> {
        let traces = self.target(
            "traces",
            &self.traces_endpoint,
            &self.traces_headers,
            "v1/traces",
        )?;
        let logs = self.target("logs", &self.logs_endpoint, &self.logs_headers, "v1/logs")?;
        if traces.is_none() && logs.is_none() {
            return Ok(None);
        }
        let given = pairs(&self.resource_attributes)
            .ok_or("the resource's attributes are `key=value`, with commas between")?;
        let named = given.iter().find(|(key, _)| key == "service.name");
        let name = match (self.service_name.as_str(), named) {
            ("", Some((_, name))) => name.clone(),
            ("", None) => "stepwell".to_owned(),
            (name, _) => name.to_owned(),
        };
        let own = [
            ("service.name".to_owned(), name),
            (
                "service.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ];
        let other = given
            .into_iter()
            .filter(|(key, _)| own.iter().all(|(known, _)| known != key));
        let other: Vec<_> = other.collect();
        Ok(Some(OtlpConfig {
            traces,
            logs,
            resource: own.into_iter().chain(other).collect(),
        }))
    }

    fn target(
        &self,
        signal: &str,
        own: &str,
        own_headers: &str,
        path: &str,
    ) -> Result<Option<OtlpTarget>, String> {
        if own == NONE || (own.is_empty() && self.endpoint.is_empty()) {
            return Ok(None);
        }
        let text = if own.is_empty() {
            let base = self.endpoint.trim_end_matches('/');
            format!("{base}/{path}")
        } else {
            own.to_owned()
        };
        let form = "a collector is a URL with its scheme, such as http://127.0.0.1:4318";
        let url = Url::parse(&text).map_err(|error| format!("{signal}: {error}; {form}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(format!("{signal}: {form}"));
        }
        let headers = if own_headers.is_empty() {
            &self.headers
        } else {
            own_headers
        };
        let headers = pairs(headers)
            .ok_or_else(|| format!("{signal}: headers are `key=value`, with commas between"))?;
        Ok(Some(OtlpTarget {
            url,
            headers,
            timeout: Duration::from_millis(self.timeout_ms),
            gzip: self.gzip,
        }))
    }
}

/// `key=value,key=value` with percent-encoded values, as W3C's baggage is written.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim);
    let pairs = pairs.filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let key = key.trim();
            (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> OtlpSettings {
        OtlpSettings {
            timeout_ms: 10_000,
            ..OtlpSettings::default()
        }
    }

    #[test]
    fn one_endpoint_is_both_signals_and_an_own_one_is_taken_as_it_is() {
        assert!(settings().read().unwrap().is_none());
        let read = OtlpSettings {
            endpoint: "http://collector:4318/base/".to_owned(),
            logs_endpoint: "https://logs.example/in".to_owned(),
            headers: "api-key=a%20b, x=1".to_owned(),
            logs_headers: "k=v".to_owned(),
            ..settings()
        };
        let config = read.read().unwrap().unwrap();
        let (traces, logs) = (config.traces.unwrap(), config.logs.unwrap());
        assert_eq!(traces.url.as_str(), "http://collector:4318/base/v1/traces");
        assert_eq!(logs.url.as_str(), "https://logs.example/in");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(traces.headers, [pair("api-key", "a b"), pair("x", "1")]);
        assert_eq!(logs.headers, [pair("k", "v")]);
        let only_logs = OtlpSettings {
            traces_endpoint: "none".to_owned(),
            ..read
        };
        assert!(only_logs.read().unwrap().unwrap().traces.is_none());
    }

    #[test]
    fn the_resource_is_named_by_the_name_first() {
        let name = |service_name: &str, attributes: &str| {
            let settings = OtlpSettings {
                endpoint: "http://c".to_owned(),
                service_name: service_name.to_owned(),
                resource_attributes: attributes.to_owned(),
                ..settings()
            };
            let resource = settings.read().unwrap().unwrap().resource;
            let named = |wanted: &str| {
                let found: Vec<_> = resource.iter().filter(|(key, _)| key == wanted).collect();
                assert!(found.len() <= 1, "{resource:?}");
                found.first().map(|(_, value)| value.clone())
            };
            (named("service.name").unwrap(), named("zone"))
        };
        assert_eq!(name("", ""), ("stepwell".to_owned(), None));
        assert_eq!(
            name("a", "service.name=b,zone=z"),
            ("a".to_owned(), Some("z".to_owned()))
        );
        assert_eq!(name("", "service.name=b"), ("b".to_owned(), None));
    }

    #[test]
    fn what_is_wrong_is_told_without_a_key() {
        for (settings, why) in [
            (
                OtlpSettings {
                    endpoint: "collector:4318".to_owned(),
                    ..settings()
                },
                "with its scheme",
            ),
            (
                OtlpSettings {
                    endpoint: "http://c".to_owned(),
                    headers: "api-key".to_owned(),
                    ..settings()
                },
                "headers are `key=value`",
            ),
            (
                OtlpSettings {
                    logs_endpoint: "ftp://c".to_owned(),
                    ..settings()
                },
                "logs: a collector is",
            ),
        ] {
            let told = settings.read().unwrap_err();
            assert!(told.contains(why) && !told.contains("api-key"), "{told}");
        }
    }
}
