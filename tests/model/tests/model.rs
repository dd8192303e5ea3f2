//! The protocol holds within small bounds of each kind, and no deliberate mistake goes unnoticed.

use std::collections::BTreeSet;
use std::time::Duration;

use furrow_delivery_model::properties::{DELIVERY, NO_DUPLICATE, NO_LOSS, NOTHING_UNSTORED};
use furrow_delivery_model::{Bounds, Delivery, Flaw, Start, Verdict, check, hunt};

/// Never needed: all of them together take 18 s of processor time, 9 s on two free cores.
const PATIENCE: Duration = Duration::from_secs(600);
const THREADS: usize = 2;

#[track_caller]
fn holds(model: Delivery) -> Verdict {
    let verdict = check(model, THREADS, PATIENCE);
    let bounds = model.bounds;
    assert!(verdict.is_complete, "{bounds:?}\n{verdict}");
    assert!(verdict.broken.is_empty(), "{bounds:?}\n{verdict}");
    verdict
}

#[test]
fn the_protocol_keeps_its_promise_within_the_bounds() {
    let calm = Bounds::CALM;
    let holes = Delivery {
        start: Start::Holes,
        ..Delivery::new(Bounds { records: 0, ..calm })
    };
    let one = Bounds { records: 1, ..calm };
    let bounds = [
        Bounds { faults: 1, ..calm },
        Bounds {
            faults: 1,
            acks: 2,
            ..one
        },
        Bounds { crashes: 1, ..calm },
        Bounds {
            crashes: 1,
            faults: 1,
            ..one
        },
        Bounds { images: 1, ..calm },
        Bounds {
            images: 1,
            crashes: 1,
            ..one
        },
        Bounds { backups: 1, ..calm },
        Bounds {
            backups: 1,
            crashes: 1,
            ..one
        },
        Bounds {
            images: 1,
            backups: 1,
            ..one
        },
        Bounds {
            cap: Some(1),
            ..calm
        },
        Bounds {
            cap: Some(1),
            crashes: 1,
            ..one
        },
    ];
    let mut all = vec![holes];
    all.extend(bounds.map(Delivery::new));
    let mut unreached: Option<BTreeSet<&str>> = None;
    for model in all {
        let verdict = holds(model);
        let not_here: BTreeSet<&str> = verdict.unreached.into_iter().collect();
        unreached = Some(match unreached {
            Some(before) => before.intersection(&not_here).copied().collect(),
            None => not_here,
        });
    }
    assert_eq!(
        unreached,
        Some(BTreeSet::new()),
        "states that nothing reaches"
    );
}

#[test]
fn every_flaw_is_found() {
    let calm = Bounds::CALM;
    let table = [
        (
            Flaw::AckBeforeStore,
            Bounds { crashes: 1, ..calm },
            NOTHING_UNSTORED,
        ),
        (
            Flaw::ForgetOnPuback,
            Bounds { faults: 1, ..calm },
            NOTHING_UNSTORED,
        ),
        (
            Flaw::AckOnlyFirstRange,
            Bounds { records: 0, ..calm },
            DELIVERY,
        ),
        (Flaw::ReuseSeq, Bounds { images: 1, ..calm }, NO_LOSS),
        (
            Flaw::ForgetMarks,
            Bounds { crashes: 1, ..calm },
            NO_DUPLICATE,
        ),
        (
            Flaw::DropBeforeLoss,
            Bounds {
                cap: Some(1),
                ..calm
            },
            NO_LOSS,
        ),
        (
            Flaw::TakeNothingBack,
            Bounds { backups: 1, ..calm },
            DELIVERY,
        ),
    ];
    for (flaw, bounds, property) in table {
        let start = match flaw {
            Flaw::AckOnlyFirstRange => Start::Holes,
            Flaw::AckBeforeStore
            | Flaw::ForgetOnPuback
            | Flaw::ReuseSeq
            | Flaw::ForgetMarks
            | Flaw::DropBeforeLoss
            | Flaw::TakeNothingBack => Start::Empty,
        };
        let sound = Delivery {
            bounds,
            flaw: None,
            start,
        };
        let flawed = Delivery {
            flaw: Some(flaw),
            ..sound
        };
        let verdict = hunt(flawed, property, THREADS, PATIENCE);
        let broken: Vec<&str> = verdict.broken.iter().map(|(name, _)| *name).collect();
        assert!(broken.contains(&property), "{flaw:?}: {verdict}");
    }
}
