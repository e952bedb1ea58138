//! The fuzzer: libFuzzer around the target that `FUZZ_TARGET` names. Started by `cargo xtask fuzz`.
#![no_main]

use std::sync::LazyLock;

/// The target of this process.
static TARGET: LazyLock<stepwell_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = stepwell_fuzz::TARGETS
        .iter()
        .find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("FUZZ_TARGET is `{name}`, which is no target"))
        .1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
