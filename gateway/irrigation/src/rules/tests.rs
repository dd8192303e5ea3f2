#![allow(clippy::float_cmp, reason = "sums of small whole numbers are exact")]

use super::*;
use jiff::civil::{date, time};

const MINUTE: u64 = 60_000;

fn rule(kind: RuleKind) -> Rule {
    Rule {
        name: "a".into(),
        amount: Amount::time(10 * MINUTE),
        window: None,
        fallback: Fallback::Skip,
        kind,
    }
}

fn moisture() -> Rule {
    rule(RuleKind::Moisture {
        input: InputIndex(0),
        start_below: 22.0,
        stop_above: 30.0,
    })
}

fn seen(value: f64) -> Seen {
    Seen {
        known: Known::Fresh { value, age_ms: 0 },
        sum: 0.0,
        is_thirsty: false,
        minute: Some(600),
        since_run_ms: Some(0),
    }
}

#[test]
fn moisture_has_hysteresis() {
    let rule = moisture();
    let water = Verdict::Water(rule.amount);
    for (value, is_thirsty, expected) in [
        (21.9, false, water),
        (22.0, false, Verdict::Enough),
        (25.0, false, Verdict::Enough),
        (25.0, true, water),
        (29.9, true, water),
        (30.0, true, Verdict::Enough),
    ] {
        let seen = Seen {
            is_thirsty,
            ..seen(value)
        };
        assert_eq!(evaluate(&rule, &seen), expected, "{value} {is_thirsty}");
    }
}

#[test]
fn dry_is_never_assumed() {
    let mut rule = moisture();
    let hour = 60 * MINUTE;
    for known in [Known::Never, Known::Stale { age_ms: 99 }] {
        let seen = |since_run_ms| Seen {
            known,
            is_thirsty: true,
            since_run_ms,
            ..seen(0.0)
        };
        rule.fallback = Fallback::Skip;
        assert_eq!(
            evaluate(&rule, &seen(Some(99 * hour))),
            Verdict::InputUnknown
        );
        let amount = Amount::time(MINUTE);
        rule.fallback = Fallback::Dose {
            amount,
            every_ms: 6 * hour,
        };
        assert_eq!(
            evaluate(&rule, &seen(Some(6 * hour))),
            Verdict::SafeDose(amount)
        );
        assert_eq!(
            evaluate(&rule, &seen(Some(6 * hour - 1))),
            Verdict::InputUnknown
        );
        assert_eq!(evaluate(&rule, &seen(None)), Verdict::InputUnknown);
    }
}

#[test]
fn without_a_clock_only_soil_moisture_waters() {
    let at = |minute| Seen {
        minute,
        sum: 1_000.0,
        ..seen(9.0)
    };
    let kinds = [
        RuleKind::RadiationSum {
            input: InputIndex(0),
            threshold_j_cm2: 100.0,
        },
        RuleKind::Vpd {
            input: InputIndex(0),
            above_kpa: 1.2,
        },
    ];
    for kind in kinds {
        let rule = rule(kind);
        assert_eq!(evaluate(&rule, &at(None)), Verdict::ClockUnknown);
        assert_eq!(evaluate(&rule, &at(Some(0))), Verdict::Water(rule.amount));
    }
    let mut rule = moisture();
    rule.window = Some(Window {
        from: time(6, 0, 0, 0),
        to: time(9, 0, 0, 0),
    });
    let water = Verdict::Water(rule.amount);
    assert_eq!(evaluate(&rule, &at(None)), water);
    assert_eq!(evaluate(&rule, &at(Some(359))), Verdict::OutsideWindow);
    assert_eq!(evaluate(&rule, &at(Some(360))), water);
    assert_eq!(evaluate(&rule, &at(Some(540))), Verdict::OutsideWindow);
    rule.window = Some(Window {
        from: time(22, 0, 0, 0),
        to: time(4, 0, 0, 0),
    });
    assert_eq!(evaluate(&rule, &at(Some(23 * 60))), water);
    assert_eq!(evaluate(&rule, &at(Some(3 * 60 + 59))), water);
    assert_eq!(evaluate(&rule, &at(Some(12 * 60))), Verdict::OutsideWindow);
}

#[test]
fn light_sums_up_to_a_dose() {
    let rule = rule(RuleKind::RadiationSum {
        input: InputIndex(0),
        threshold_j_cm2: 100.0,
    });
    // 500 W/m² for 2000 s are 10⁶ J/m², 100 J/cm².
    assert_eq!(rule.gained(500.0, 2_000_000, None), 100.0);
    assert_eq!(
        rule.gained(-3.0, 2_000_000, None),
        0.0,
        "the sensor's offset at night"
    );
    assert_eq!(rule.left_after(104.0, None, 1.0), 4.0);
    assert_eq!(
        rule.left_after(904.0, None, 1.0),
        100.0,
        "days of light are one dose, not nine"
    );
    let with = |sum| Seen { sum, ..seen(500.0) };
    assert_eq!(evaluate(&rule, &with(99.9)), Verdict::Enough);
    assert_eq!(evaluate(&rule, &with(100.0)), Verdict::Water(rule.amount));
}

fn tomato() -> Crop {
    Crop {
        kc: [0.6, 1.15, 0.80],
        days: [30, 40, 45, 30],
        planted: date(2026, 1, 1),
    }
}

#[test]
fn kc_follows_the_stages() {
    for (day, expected) in [
        (date(2025, 12, 1), 0.6),
        (date(2026, 1, 1), 0.6),
        (date(2026, 1, 31), 0.6),
        (date(2026, 2, 20), 0.875),
        (date(2026, 3, 12), 1.15),
        (date(2026, 4, 26), 1.15),
        (date(2026, 5, 11), 0.975),
        (date(2026, 5, 26), 0.80),
        (date(2027, 1, 1), 0.80),
    ] {
        let found = tomato().kc_on(day);
        assert!((found - expected).abs() < 1e-9, "{day}: {found}");
    }
}

#[test]
fn a_balance_gives_back_what_was_used() {
    let mut rule = rule(RuleKind::WaterBalance {
        input: InputIndex(0),
        crop: tomato(),
        trigger_mm: 3.0,
        area_m2: 40.0,
        efficiency: 0.9,
    });
    // 0.5 mm/h for 6 h at Kc 1.15.
    let gained = rule.gained(0.5, 6 * 3_600_000, Some(date(2026, 4, 1)));
    assert!((gained - 3.45).abs() < 1e-9, "{gained}");
    let with = |sum| Seen { sum, ..seen(0.5) };
    assert_eq!(evaluate(&rule, &with(2.99)), Verdict::Enough);
    let expected = Amount {
        run_ms: 10 * MINUTE,
        millilitres: Some(153_333),
    };
    assert_eq!(evaluate(&rule, &with(3.45)), Verdict::Water(expected));
    let left = rule.left_after(3.45, Some(153_333), 1.0);
    assert!(left < 1e-4, "{left}");
    assert_eq!(rule.left_after(3.45, None, 1.0), 0.0);
    rule.amount.millilitres = Some(100_000);
    let most = evaluate(&rule, &with(3.45))
        .amount()
        .and_then(|a| a.millilitres);
    assert_eq!(most, Some(100_000));
}

#[test]
fn rules_that_can_not_be_right_are_refused() {
    let check = |kind: RuleKind, right: bool| {
        assert_eq!(
            rule(kind.clone()).check(20 * MINUTE).is_ok(),
            right,
            "{kind:?}"
        );
    };
    let input = InputIndex(0);
    for (start_below, stop_above, right) in [
        (22.0, 30.0, true),
        (30.0, 22.0, false),
        (f64::NAN, 30.0, false),
    ] {
        let kind = RuleKind::Moisture {
            input,
            start_below,
            stop_above,
        };
        check(kind, right);
    }
    for (threshold_j_cm2, right) in [(100.0, true), (0.0, false), (f64::INFINITY, false)] {
        check(
            RuleKind::RadiationSum {
                input,
                threshold_j_cm2,
            },
            right,
        );
    }
    for (above_kpa, right) in [(1.2, true), (-1.0, false)] {
        check(RuleKind::Vpd { input, above_kpa }, right);
    }
    assert!(
        moisture().check(9 * MINUTE).is_err(),
        "longer than the longest run"
    );
}
