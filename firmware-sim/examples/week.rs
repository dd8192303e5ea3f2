//! What a program against the remote bus looks like, and what it costs: five devices sampled every
//! simulated minute, for as long as the simulation lasts, in lock-step.
//!
//! ```text
//! furrow-sim greenhouse --listen tcp:127.0.0.1:7000 --seed 1 --lock-step --for 7d
//! cargo run -p furrow-sim --example week -- tcp:127.0.0.1:7000
//! ```
#![allow(clippy::print_stdout, reason = "its figures are its purpose")]

use std::time::Instant;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use furrow_sim_bus::{BusError, RemoteBus, RemoteDelay, RemoteI2c};

const MINUTE_NS: u64 = 60_000_000_000;

/// Counts of what was done.
#[derive(Default)]
struct Done {
    transactions: u32,
    waits: u32,
}

fn main() -> Result<(), BusError> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("tcp:127.0.0.1:7000");
    let bus = RemoteBus::connect(address, "week")?;
    let clock = bus.clock();
    let (mut sensors, mut valves) = (bus.i2c(1), bus.i2c(3));
    let mut delay = clock.delay();
    let (real, start_ns) = (Instant::now(), clock.now().mono_ns);
    let mut done = Done::default();
    delay.carry(clock.busy());
    // It may still be measuring for the program before: stop it, and give it its half second.
    sensors.write(0x62, &[0x3F, 0x86])?;
    delay.delay_ms(500);
    sensors.write(0x62, &[0x21, 0xB1])?;
    let mut busy = delay.release().unwrap_or_else(|| clock.busy());
    for tick in 1_u64.. {
        busy = clock.wait_until(start_ns + tick * MINUTE_NS, busy);
        done.waits += 1;
        if clock.ended().is_some() {
            break;
        }
        delay.carry(busy);
        sample(&mut sensors, &mut valves, &mut delay, &mut done)?;
        bus.pulses(17).count()?;
        busy = delay.release().unwrap_or_else(|| clock.busy());
    }
    let (real, simulated_ns) = (real.elapsed(), clock.now().mono_ns - start_ns);
    println!(
        "{} simulated minutes in {real:.2?}: {} transactions, {} waits, {:.1} µs each",
        simulated_ns / MINUTE_NS,
        done.transactions,
        done.waits,
        real.as_secs_f64() * 1e6 / f64::from(done.transactions + done.waits),
    );
    Ok(())
}

fn sample(
    sensors: &mut RemoteI2c,
    valves: &mut RemoteI2c,
    delay: &mut RemoteDelay,
    done: &mut Done,
) -> Result<(), BusError> {
    for address in [0x44, 0x45] {
        sensors.write(address, &[0xFD])?;
        delay.delay_us(8_300);
        sensors.read(address, &mut [0; 6])?;
    }
    sensors.write(0x62, &[0xEC, 0x05])?;
    delay.delay_ms(1);
    sensors.read(0x62, &mut [0; 9])?;
    for config in [0xC3, 0xD3, 0xE3] {
        sensors.write(0x48, &[0x01, config, 0x83])?;
        delay.delay_us(8_600);
        sensors.write_read(0x48, &[0x00], &mut [0; 2])?;
    }
    valves.write_read(0x2C, &[0x03], &mut [0; 2])?;
    done.waits += 6;
    done.transactions += 14;
    Ok(())
}
