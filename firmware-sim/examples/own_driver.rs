//! Somebody's own driver against a simulated chip, its faults included. Here it is the published
//! `sht4x` crate; any driver that takes `embedded_hal::i2c::I2c` is tested the same way.
//!
//! ```text
//! furrow-sim greenhouse --listen tcp:127.0.0.1:7000 --lock-step &
//! cargo run -p furrow-sim --example own_driver -- tcp:127.0.0.1:7000 tcp:127.0.0.1:7001
//! ```
#![allow(clippy::print_stdout, reason = "its figures are its purpose")]

use anyhow::{Context, ensure};
use furrow_sim::control::{Command, ask};
use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim_bus::RemoteBus;
use sht4x::{Error, Precision, Sht4x};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let bus = arguments.next().context("name the bus")?;
    check(&bus, &arguments.next().context("name the control port")?)
}

fn check(bus: &str, control: &str) -> anyhow::Result<()> {
    let order = |fault| Command::Fault {
        order: FaultOrder {
            fault,
            after_ms: 0,
            for_ms: None,
        },
    };
    let device = || "sht-inside".to_owned();
    let bus = RemoteBus::connect(bus, "own-driver")?;
    let mut delay = bus.clock().delay();
    // The driver's delays are simulated time, which stands still while this program works.
    delay.carry(bus.clock().busy());
    let mut driver = Sht4x::new(bus.i2c(1));

    let reading = driver.measure(Precision::High, &mut delay);
    let reading = reading.ok().context("the driver gave no reading")?;
    let celsius: f64 = reading.temperature_celsius().to_num();
    let status = ask(control, &Command::Status)?.context("no status")?;
    let truth = status.pointer("/truth/air_temperature_c");
    let truth = truth.and_then(|truth| truth.as_f64()).context("no truth")?;
    println!("the driver says {celsius:.2} °C, the greenhouse has {truth:.2} °C");
    ensure!((celsius - truth).abs() < 1.0, "that is another temperature");

    ask(
        control,
        &order(Fault::Crc {
            device: device(),
            rate: 1.0,
        }),
    )?;
    let disturbed = driver.measure(Precision::High, &mut delay);
    ensure!(
        matches!(disturbed, Err(Error::Crc)),
        "{disturbed:?} in spite of a flipped bit"
    );
    ask(control, &order(Fault::Unplug { device: device() }))?;
    let unplugged = driver.measure(Precision::High, &mut delay);
    ensure!(
        matches!(unplugged, Err(Error::I2c(_))),
        "{unplugged:?} without a sensor"
    );
    println!("a flipped bit and a pulled plug are errors, too");
    Ok(())
}

#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

#[test]
fn the_published_driver_reads_our_chip_and_sees_its_faults() {
    let simulator = support::start(support::options(support::LOCK_STEP));
    let (bus, control) = (simulator.bus.to_string(), simulator.control.to_string());
    let done = support::within(std::time::Duration::from_secs(30), move || {
        check(&bus, &control)
    });
    assert!(done.is_ok(), "{done:?}");
}
