//! What an attempt used, read from JSON and told in a few words. Hides the names of what is measured.

use serde_json::Value;

use crate::sizes;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    cpu_us: u64,
    /// The most that was held at once.
    memory_bytes: u64,
    fuel: u64,
    host_calls: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Calls of the host's interfaces, as the API names them.
const HOST_CALLS: [&str; 7] = [
    "logCalls",
    "heartbeatCalls",
    "configCalls",
    "secretCalls",
    "httpRequests",
    "tcpConnections",
    "filesOpened",
];

impl Used {
    /// From an object of measures; what is not there is 0.
    pub(crate) fn read(measures: &Value) -> Option<Used> {
        let measures = measures.as_object()?;
        let of = |name: &str| measures.get(name).and_then(Value::as_u64).unwrap_or(0);
        let sum = |names: &[&str]| {
            names
                .iter()
                .map(|name| of(name))
                .fold(0, u64::saturating_add)
        };
        Some(Used {
            cpu_us: of("cpuMicros"),
            memory_bytes: of("memoryBytesMax"),
            fuel: of("fuel"),
            host_calls: sum(&HOST_CALLS),
            sent_bytes: sum(&["httpBytesSent", "tcpBytesSent"]),
            received_bytes: sum(&["httpBytesReceived", "tcpBytesReceived"]),
        })
    }

    /// Together with another attempt's: sums, and the most memory of either.
    pub(crate) fn and(self, other: Used) -> Used {
        Used {
            cpu_us: self.cpu_us.saturating_add(other.cpu_us),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            fuel: self.fuel.saturating_add(other.fuel),
            host_calls: self.host_calls.saturating_add(other.host_calls),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
        }
    }

    /// `1.25 ms`, as a cell of a table.
    pub(crate) fn cpu(&self) -> String {
        match self.cpu_us {
            us @ 0..1_000 => format!("{us} µs"),
            us @ 1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1_000.0),
            us => format!("{:.2} s", us as f64 / 1_000_000.0),
        }
    }

    pub(crate) fn memory(&self) -> String {
        sizes::measured(self.memory_bytes)
    }

    /// Bytes over the network, out and in.
    pub(crate) fn network(&self) -> String {
        match (self.sent_bytes, self.received_bytes) {
            (0, 0) => String::new(),
            (sent, received) => {
                format!("{} / {}", sizes::measured(sent), sizes::measured(received))
            }
        }
    }

    pub(crate) fn calls(&self) -> String {
        self.host_calls.to_string()
    }
}

/// `cpu 1.25 ms, 3.1 MiB, 4 host calls, sent 120 B, received 3.0 KiB, 5000 fuel`: what was used at all.
impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cpu {}, {}", self.cpu(), self.memory())?;
        match self.host_calls {
            0 => {}
            1 => f.write_str(", 1 host call")?,
            calls => write!(f, ", {calls} host calls")?,
        }
        if self.sent_bytes > 0 {
            write!(f, ", sent {}", sizes::measured(self.sent_bytes))?;
        }
        if self.received_bytes > 0 {
            write!(f, ", received {}", sizes::measured(self.received_bytes))?;
        }
        if self.fuel > 0 {
            write!(f, ", {} fuel", self.fuel)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_used_is_told_and_the_rest_left_out() {
        let small = json!({"cpuMicros": 850, "memoryBytesMax": 1_114_112});
        let small = Used::read(&small).expect("an object");
        assert_eq!(small.to_string(), "cpu 850 µs, 1.1 MiB");
        assert_eq!(
            (small.network(), small.calls()),
            (String::new(), "0".to_owned())
        );
        let large = json!({
            "cpuMicros": 1_250_000, "memoryBytesMax": 900, "logCalls": 2, "filesOpened": 1, "fuel": 5_000,
            "httpBytesSent": 100, "tcpBytesSent": 20, "httpBytesReceived": 3_072,
        });
        let large = Used::read(&large).expect("an object");
        assert_eq!(
            large.to_string(),
            "cpu 1.25 s, 900 B, 3 host calls, sent 120 B, received 3.0 KiB, 5000 fuel"
        );
        let both = small.and(large);
        assert_eq!(
            (both.memory(), both.cpu()),
            ("1.1 MiB".to_owned(), "1.25 s".to_owned())
        );
        assert_eq!(both.network(), "120 B / 3.0 KiB");
        assert_eq!(Used::read(&json!("text")), None);
    }
}
