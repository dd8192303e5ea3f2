//! Whatever happens, in whatever order: no water beyond lease, limit or interlock.

use furrow_irrigation::{FlowMode, InputIndex, Origin, SitePlan, TankPlan, ZoneOptions};
use proptest::prelude::*;

use crate::bench::{Bench, Fault, HOUR, MINUTE, SECOND, cycle, minutes, pumped, watched, zone};

#[derive(Debug, Clone, Copy)]
enum Step {
    Manual {
        zone: usize,
        run_s: u64,
        origin: Origin,
    },
    Stop {
        zone: usize,
        origin: Origin,
    },
    Hold {
        origin: Origin,
        s: u64,
    },
    Release {
        origin: Origin,
    },
    Reset,
    Fault(Fault),
    Mend,
    Reading {
        input: usize,
        value: Option<f64>,
    },
    Crash {
        off_s: u64,
        reboots: bool,
    },
    Clock {
        known: bool,
    },
    Wait {
        s: u64,
    },
}

fn origin() -> impl Strategy<Value = Origin> {
    prop::sample::select(vec![
        Origin::Button,
        Origin::Page,
        Origin::Tool,
        Origin::Cloud,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let faults = vec![
        Fault::Burst(0),
        Fault::Clogged(1),
        Fault::Leak,
        Fault::PumpDead,
        Fault::MeterJammed,
        Fault::Silent,
    ];
    prop_oneof![
        (0..3_usize, 1..4_000_u64, origin()).prop_map(|(zone, run_s, origin)| Step::Manual {
            zone,
            run_s,
            origin
        }),
        (0..3_usize, origin()).prop_map(|(zone, origin)| Step::Stop { zone, origin }),
        (origin(), 1..4_000_u64).prop_map(|(origin, s)| Step::Hold { origin, s }),
        origin().prop_map(|origin| Step::Release { origin }),
        Just(Step::Reset),
        prop::sample::select(faults).prop_map(Step::Fault),
        Just(Step::Mend),
        (0..2_usize, prop::option::of(0.0..100.0_f64))
            .prop_map(|(input, value)| Step::Reading { input, value }),
        (0..300_u64, any::<bool>()).prop_map(|(off_s, reboots)| Step::Crash { off_s, reboots }),
        any::<bool>().prop_map(|known| Step::Clock { known }),
        (0..120_u64).prop_map(|s| Step::Wait { s }),
        (0..3_000_u64).prop_map(|s| Step::Wait { s }),
    ]
}

fn bench() -> Bench {
    let options = |rules| ZoneOptions {
        daily_limit_ml: Some(300_000),
        min_off_ms: 5 * MINUTE,
        cycle: Some(cycle(20 * MINUTE, 10 * MINUTE)),
        rules,
        ..watched(FlowMode::Active)
    };
    let zones = vec![
        zone("a", options(vec![crate::rules::always(minutes(7))])),
        zone("b", options(Vec::new())),
        zone("c", options(vec![crate::rules::always(minutes(50))])),
    ];
    let site = SitePlan {
        daily_limit_ms: Some(90 * MINUTE),
        tank: Some(TankPlan {
            input: InputIndex(1),
            low: 30.0,
            empty: 10.0,
            may_be_unknown: false,
        }),
        ..pumped()
    };
    let mut bench = Bench::new(zones, 2, site);
    bench.readings = vec![Some(0.0), Some(80.0)];
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_water_beyond_lease_limit_or_interlock(steps in prop::collection::vec(step(), 1..40)) {
        let mut bench = bench();
        let mut crashes = 0;
        for step in steps {
            let now = bench.moment();
            match step {
                Step::Manual { zone, run_s, origin } => {
                    bench.manual_from(zone, run_s * SECOND, origin).ok();
                }
                Step::Stop { zone, origin } => {
                    bench.stop(zone, origin);
                }
                Step::Hold { origin, s } => {
                    let held = bench.irrigation.handle_hold(origin, s * SECOND, now);
                    bench.execute();
                    if held.is_ok() && !bench.plant.faults.contains(&Fault::Silent) {
                        bench.wait((10 * SECOND).min(s * SECOND));
                        prop_assert!(bench.all_off(), "held, and something is open");
                    }
                }
                Step::Release { origin } => {
                    bench.irrigation.handle_release(origin, now).ok();
                }
                Step::Reset => {
                    bench.irrigation.handle_reset(Origin::Page, now);
                }
                Step::Fault(fault) => bench.plant.faults.push(fault),
                Step::Mend => bench.plant.faults.clear(),
                Step::Reading { input, value } => bench.readings[input] = value,
                Step::Crash { off_s, reboots } => {
                    crashes += 1;
                    bench.crash(off_s * SECOND, reboots);
                    if off_s > 30 {
                        prop_assert!(bench.all_off(), "a lease outlived its end");
                    }
                }
                Step::Clock { known } => bench.clock_known = known,
                Step::Wait { s } => bench.wait(s * SECOND),
            }
            bench.execute();
        }
        // An empty or unknown tank ends everything within a reading's age, a look and two steps.
        bench.readings[1] = None;
        bench.plant.faults.clear();
        bench.wait(90 * SECOND);
        prop_assert!(bench.all_off());
        prop_assert!(bench.irrigation.is_shut());
        prop_assert_eq!(bench.plant.deadhead_ms, 0, "the pump worked against closed valves");
        // The steps last at most two days: each day has one budget, and each crash may cost a run
        // that was open for one lease without being counted.
        let days = bench.now / (20 * HOUR) + 2;
        let total: u64 = bench.plant.open_ms.iter().sum();
        prop_assert!(total <= days * 90 * MINUTE + crashes * 3 * 30 * SECOND, "{total}");
        for ml in bench.plant.zone_ml {
            // A burst may run for 5 s between two looks, and while the line fills.
            prop_assert!(ml <= days * 300_000 + 60_000 * (crashes + 1), "{ml}");
        }
    }
}
