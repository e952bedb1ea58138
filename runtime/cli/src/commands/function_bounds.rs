//! What an attempt of an uploaded plugin has of what its settings say: the operator's ceiling may leave less. Hides how a server
//! tells it.

const NO_MORE: &str = "the operator's ceiling allows no more";

/// The most that an attempt has; where a server does not tell, nothing is known of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Bounds {
    memory_bytes: Option<u64>,
    time_ms: Option<u64>,
}

impl Bounds {
    /// As the header tells them: `memory=268435456;time=3000`. What is not understood bounds nothing.
    pub(super) fn read(text: &str) -> Bounds {
        let told = |key: &str| {
            let mut parts = text.split(';').filter_map(|part| part.split_once('='));
            parts.find_map(|(name, value)| (name == key).then(|| value.parse().ok())?)
        };
        Bounds {
            memory_bytes: told("memory"),
            time_ms: told("time"),
        }
    }

    /// The memory of an attempt of a function with so many MiB.
    pub(super) fn memory(&self, mib: u64) -> String {
        match self.memory_bytes.filter(|bytes| *bytes < mib << 20) {
            Some(bytes) if bytes.is_multiple_of(1 << 20) => {
                format!("{} MiB of memory (not {mib} MiB: {NO_MORE})", bytes >> 20)
            }
            Some(bytes) => format!("{} KiB of memory (not {mib} MiB: {NO_MORE})", bytes >> 10),
            None => format!("{mib} MiB of memory"),
        }
    }

    /// The time of an attempt of a function with so many seconds.
    pub(super) fn time(&self, seconds: u64) -> String {
        match self.time_ms.filter(|ms| *ms < seconds * 1_000) {
            Some(ms) if ms.is_multiple_of(1_000) => {
                format!("{} s (not {seconds} s: {NO_MORE})", ms / 1_000)
            }
            Some(ms) => format!("{ms} ms (not {seconds} s: {NO_MORE})"),
            None => format!("{seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_told_where_it_is_less() {
        let bounds = Bounds::read("memory=268435456;time=2500");
        for (told, wanted) in [
            (bounds.memory(256), "256 MiB of memory"),
            (
                bounds.memory(512),
                "256 MiB of memory (not 512 MiB: the operator's ceiling allows no more)",
            ),
            (bounds.time(2), "2 s"),
            (
                bounds.time(3),
                "2500 ms (not 3 s: the operator's ceiling allows no more)",
            ),
            (Bounds::read("other=1").memory(512), "512 MiB of memory"),
            (
                Bounds::read("time=1000").time(3),
                "1 s (not 3 s: the operator's ceiling allows no more)",
            ),
        ] {
            assert_eq!(told, wanted);
        }
    }
}
