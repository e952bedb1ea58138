//! What an attempt used, as it is measured and stored. Hides how measures are numbered.
//!
//! A measure is stored under its number, and only where it is not 0: a new one is an addition, which older logs do not have.

/// Something that is measured of an attempt of a plugin. The numbers are those of the store, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// CPU time of the guest and of the host on its behalf, microseconds.
    Cpu = 1,
    /// From the guest's start to its end, microseconds.
    Wall = 2,
    /// From the call to the guest's start, microseconds.
    Queued = 3,
    /// Most memory held at once, bytes.
    Memory = 4,
    /// Fuel, of a plugin whose manifest bounds it.
    Fuel = 5,
    /// Bytes of the input, JSON.
    BytesIn = 6,
    /// Bytes of the output, JSON.
    BytesOut = 7,
    /// Bytes that its HTTP requests sent, heads and bodies.
    HttpSent = 8,
    /// Bytes that its HTTP requests received, heads and bodies.
    HttpReceived = 9,
    /// Bytes that it wrote to its TCP connections.
    TcpSent = 10,
    /// Bytes that it read from its TCP connections.
    TcpReceived = 11,
    /// Lines given to the log interface.
    Logs = 12,
    /// Signs of life.
    Heartbeats = 13,
    /// Values asked for of the configuration.
    Configs = 14,
    /// Secrets asked for.
    Secrets = 15,
    /// HTTP requests, refused ones too.
    HttpRequests = 16,
    /// TCP connections begun, refused ones too.
    TcpConnections = 17,
    /// Files and folders opened, refused ones too.
    Files = 18,
}

/// Calls of the host's interfaces, by kind.
const HOST_CALLS: [Measure; 7] = [
    Measure::Logs,
    Measure::Heartbeats,
    Measure::Configs,
    Measure::Secrets,
    Measure::HttpRequests,
    Measure::TcpConnections,
    Measure::Files,
];

impl Measure {
    /// All measures, in the order of their numbers.
    pub const ALL: [Measure; 18] = [
        Measure::Cpu,
        Measure::Wall,
        Measure::Queued,
        Measure::Memory,
        Measure::Fuel,
        Measure::BytesIn,
        Measure::BytesOut,
        Measure::HttpSent,
        Measure::HttpReceived,
        Measure::TcpSent,
        Measure::TcpReceived,
        Measure::Logs,
        Measure::Heartbeats,
        Measure::Configs,
        Measure::Secrets,
        Measure::HttpRequests,
        Measure::TcpConnections,
        Measure::Files,
    ];

    /// The name under which it is told, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Cpu => "cpuMicros",
            Measure::Wall => "wallMicros",
            Measure::Queued => "queuedMicros",
            Measure::Memory => "memoryBytesMax",
            Measure::Fuel => "fuel",
            Measure::BytesIn => "bytesIn",
            Measure::BytesOut => "bytesOut",
            Measure::HttpSent => "httpBytesSent",
            Measure::HttpReceived => "httpBytesReceived",
            Measure::TcpSent => "tcpBytesSent",
            Measure::TcpReceived => "tcpBytesReceived",
            Measure::Logs => "logCalls",
            Measure::Heartbeats => "heartbeatCalls",
            Measure::Configs => "configCalls",
            Measure::Secrets => "secretCalls",
            Measure::HttpRequests => "httpRequests",
            Measure::TcpConnections => "tcpConnections",
            Measure::Files => "filesOpened",
        }
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// The one of that number; `None` of one that a newer program measured.
    pub(crate) fn numbered(number: u8) -> Option<Measure> {
        Measure::ALL
            .into_iter()
            .find(|measure| measure.number() == number)
    }
}

/// What an attempt used, by measure; 0 of what was not used, or not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures([u64; Measure::ALL.len()]);

impl Measures {
    /// These, and 0 of all others.
    pub fn of(values: &[(Measure, u64)]) -> Measures {
        let mut measures = Measures::default();
        for (measure, value) in values {
            measures.set(*measure, *value);
        }
        measures
    }

    /// One measure's value.
    pub fn get(&self, measure: Measure) -> u64 {
        self.0[usize::from(measure.number() - 1)]
    }

    pub(crate) fn set(&mut self, measure: Measure, value: u64) {
        self.0[usize::from(measure.number() - 1)] = value;
    }

    /// Those that are not 0, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, u64)> + '_ {
        let all = Measure::ALL.into_iter();
        all.map(|measure| (measure, self.get(measure)))
            .filter(|(_, value)| *value > 0)
    }

    /// Calls of the host's interfaces, all kinds together.
    pub fn host_calls(&self) -> u64 {
        self.sum(&HOST_CALLS)
    }

    /// Bytes that left over the network, however.
    pub fn bytes_sent(&self) -> u64 {
        self.sum(&[Measure::HttpSent, Measure::TcpSent])
    }

    /// Bytes that came over the network, however.
    pub fn bytes_received(&self) -> u64 {
        self.sum(&[Measure::HttpReceived, Measure::TcpReceived])
    }

    fn sum(&self, measures: &[Measure]) -> u64 {
        let values = measures.iter().map(|measure| self.get(*measure));
        values.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Event, Place, TaskId, Timestamp, What, decode, encode};

    #[test]
    fn each_measure_has_a_number_and_a_name_of_its_own() {
        for (index, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(measure.number()), index + 1);
            assert_eq!(Measure::numbered(measure.number()), Some(measure));
            let same = Measure::ALL
                .iter()
                .filter(|other| other.name() == measure.name());
            assert_eq!(same.count(), 1, "{}", measure.name());
        }
        assert_eq!(Measure::numbered(0), None);
        assert_eq!(Measure::numbered(255), None);
    }

    #[test]
    fn what_was_used_is_read_as_it_was_written() {
        let used = |measures: Measures| Event {
            at: Timestamp(1_769_860_800_000),
            previous: 0,
            place: Place(Arc::new([2, 0])),
            what: What::Used {
                task: TaskId {
                    entry: 17,
                    attempt: 3,
                },
                plugin: "pay".into(),
                measures: Arc::new(measures),
            },
        };
        let all = Measure::ALL.map(|measure| (measure, u64::from(measure.number()) << 40));
        let events = [
            used(Measures::of(&all)),
            used(Measures::default()),
            used(Measures::of(&[(Measure::Files, u64::MAX)])),
        ];
        let segment = encode(&events);
        assert_eq!(decode(&segment).as_deref(), Ok(&events[..]));
        // What was not used takes no room: the time, the place, the task and the plugin's name are all.
        assert!(encode(&events[1..2]).len() < 32);
    }

    #[test]
    fn sums_are_those_of_their_kinds() {
        let all = Measures::of(&Measure::ALL.map(|measure| (measure, 1)));
        assert_eq!(
            (all.host_calls(), all.bytes_sent(), all.bytes_received()),
            (7, 2, 2)
        );
        let most = Measures::of(&[(Measure::HttpSent, u64::MAX), (Measure::TcpSent, 1)]);
        assert_eq!(most.bytes_sent(), u64::MAX);
    }
}
