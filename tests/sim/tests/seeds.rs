//! Some hundred seeds, so that a broken promise shows without the full run of `cargo xtask sim`.

use furrow_delivery_sim::World;

/// Seeds of this test. The full run takes others as well.
const SEEDS: std::ops::Range<u64> = 1_000_000..1_000_300;

#[test]
fn nothing_is_lost_and_nothing_is_stored_twice() {
    let mut broken = Vec::new();
    for seed in SEEDS {
        if let Some((step, failure)) = World::new(seed, None).run().broken {
            broken.push(format!(
                "seed {seed}, step {step}: {}: {}",
                failure.check, failure.text
            ));
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 14, 159] {
        let [first, second] = [0, 1].map(|_| World::new(seed, None).run());
        assert_eq!(first.broken, second.broken, "seed {seed}");
        assert_eq!(first.reached, second.reached, "seed {seed}");
        assert_eq!(first.steps, second.steps, "seed {seed}");
    }
}
