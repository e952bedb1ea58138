//! The seeded simulation: 1,000 seeds, and the same seed twice.

use stepwell_tests::torture;

const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_seeds_end_right() {
    let failed: Vec<String> = (0..SEEDS)
        .filter_map(|seed| {
            torture::run(seed)
                .err()
                .map(|wrong| format!("seed {seed}: {wrong}"))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {SEEDS} seeds failed, the first: {}",
        failed.len(),
        failed[0]
    );
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [1, 7, 42, 99] {
        assert_eq!(torture::run(seed), torture::run(seed), "seed {seed}");
    }
}
