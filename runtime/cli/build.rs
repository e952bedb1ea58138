//! How the binary is linked. Hides which systems understand packed relocations.

use std::process::Command;

/// The C library that loads programs with packed relocations, and its version from which on it does.
const LIBRARY: &str = "glibc";
const VERSION_MIN: (u32, u32) = (2, 36);

/// The binary has 130,000 addresses that its loader adjusts at each start. Written one by one they take three megabytes of
/// memory of every process; packed they take a fiftieth.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=STEPWELL_PORTABLE");
    let of = |name| std::env::var(name).unwrap_or_default();
    // Of other systems it is not known here what they load. Rust's own linker, which this target has, packs.
    let here = of("TARGET") == of("HOST") && of("TARGET") == "x86_64-unknown-linux-gnu";
    if here && of("STEPWELL_PORTABLE").is_empty() && loads_packed() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether programs of this system may have packed relocations. No, where it cannot be told.
fn loads_packed() -> bool {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
    told.is_ok_and(|told| version(&told).is_some_and(|version| version >= VERSION_MIN))
}

/// `glibc 2.36`
fn version(told: &str) -> Option<(u32, u32)> {
    let (library, version) = told.trim().split_once(' ')?;
    let (major, minor) = version.split_once('.')?;
    (library == LIBRARY).then_some((major.parse().ok()?, minor.parse().ok()?))
}
