//! Clock and random numbers that are the same for all attempts of one visit to a state, for tasks whose every run has to
//! be the same.

use crate::grants::Source;
use crate::limits;
use crate::registry::Loaded;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// A clock that stands still. Who sleeps still sleeps; a loop that waits for its time to pass ends by its CPU limit.
struct Standing;

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        limits::FIXED_CLOCK
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Gives a guest what its manifest wants in place of the world's clock and randomness.
pub(crate) fn set(builder: &mut WasiCtxBuilder, plugin: &Loaded, idempotency_key: &str) {
    if plugin.granted.clock == Source::Fixed {
        builder.wall_clock(Standing).monotonic_clock(Standing);
    }
    if plugin.granted.random == Source::Fixed {
        let seed = |purpose: &[u8]| -> [u8; 32] {
            let mut hash = Sha256::new();
            hash.update(purpose);
            hash.update(idempotency_key.as_bytes());
            hash.finalize().into()
        };
        let insecure = ChaCha20Rng::from_seed(seed(b"insecure"));
        let mut once = ChaCha20Rng::from_seed(seed(b"once"));
        let number = u128::from(once.next_u64()) << 64 | u128::from(once.next_u64());
        builder
            .secure_random(ChaCha20Rng::from_seed(seed(b"secure")))
            .insecure_random(insecure)
            .insecure_random_seed(number);
    }
}
