//! How much memory the store's pages may take: what they have on a large machine, less on a small one. Hides where the
//! system tells its memory.

use crate::journal::limits::{
    CACHE_KIB_MIN, READER_CACHE_KIB, READER_CACHE_SHARE, WRITER_CACHE_KIB, WRITER_CACHE_SHARE,
};

/// For the pages of the writing connection, KiB.
pub(super) fn of_writer() -> u32 {
    share(memory_kib(), WRITER_CACHE_SHARE, WRITER_CACHE_KIB)
}

/// For the pages of one reading connection, KiB.
pub(super) fn of_reader() -> u32 {
    share(memory_kib(), READER_CACHE_SHARE, READER_CACHE_KIB)
}

/// One part in so many of the memory, where it is known, between the least and the most.
fn share(memory_kib: Option<u64>, parts: u64, most: u32) -> u32 {
    let share = memory_kib.map_or(u64::from(most), |memory| memory / parts);
    let share = u32::try_from(share).unwrap_or(most);
    share.clamp(CACHE_KIB_MIN, most)
}

/// Memory of this machine, or of the group of processes where that may have less. Linux tells it.
fn memory_kib() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let group = read("/proc/self/cgroup")
        .and_then(|text| group(&text).map(|path| format!("/sys/fs/cgroup{path}/memory.max")))
        .and_then(|path| read(&path))
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(|bytes| bytes / 1_024);
    machine.into_iter().chain(group).min()
}

/// `MemTotal:        1014784 kB`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line?.split_whitespace().next()?.parse().ok()
}

/// `0::/system.slice/stepwell.service`, the line of the second version of control groups.
fn group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_gives_less() {
        let writer = |kib| share(kib, WRITER_CACHE_SHARE, WRITER_CACHE_KIB);
        assert_eq!(writer(None), WRITER_CACHE_KIB);
        assert_eq!(writer(Some(2 << 20)), WRITER_CACHE_KIB);
        assert_eq!(writer(Some(u64::MAX)), WRITER_CACHE_KIB);
        assert_eq!(writer(Some(512 << 10)), 16 << 10);
        assert_eq!(writer(Some(0)), CACHE_KIB_MIN);
        assert_eq!(
            share(Some(2 << 20), READER_CACHE_SHARE, READER_CACHE_KIB),
            READER_CACHE_KIB
        );
    }

    #[test]
    fn what_linux_tells_is_read() {
        let text = "MemFree:  1 kB\nMemTotal:        1014784 kB\n";
        assert_eq!(total(text), Some(1_014_784));
        assert_eq!(total(""), None);
        assert_eq!(group("1:name=x:/a\n0::/b/c\n"), Some("/b/c"));
        assert_eq!(group("1:name=x:/a\n"), None);
    }
}
