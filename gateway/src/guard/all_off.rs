//! Closing everything directly at the hardware: when the guard was killed, hangs, or never ran.

use embedded_hal::delay::DelayNs as _;

use super::hardware::Hardware;
use crate::bus::{Field, FieldDelay};
use crate::config::GuardPart;

/// Rounds before an output counts as not closed.
const ROUNDS: u32 = 5;
/// Between two rounds, in milliseconds.
const PAUSE_MS: u32 = 200;

/// Switches every output off until it was read back as off, a few times. Gives the outputs that were
/// not, with the reason.
///
/// # Errors
/// The field can't be reached.
pub fn all_off(part: &GuardPart) -> anyhow::Result<Vec<(u8, String)>> {
    let mut kinds = part.buses.iter().map(|bus| &bus.kind);
    let simulated = kinds.find(|kind| matches!(kind, crate::config::BusKind::Simulated { .. }));
    let field = Field::connect(simulated, "furrow-guard --all-off")?;
    let mut hardware = Hardware::new(part, &field)?;
    let mut delay = FieldDelay::new(field.clock().clone());
    // Lines first: a bus that hangs takes its time.
    let lines = part
        .guard
        .outputs
        .iter()
        .filter(|o| o.at.address().is_none());
    let chips = part
        .guard
        .outputs
        .iter()
        .filter(|o| o.at.address().is_some());
    let mut left: Vec<u8> = lines.chain(chips).map(|output| output.number).collect();
    let mut failed = Vec::new();
    for round in 0..ROUNDS {
        if round > 0 {
            delay.delay_ms(PAUSE_MS);
        }
        failed.clear();
        left.retain(|output| match close(&mut hardware, *output) {
            Ok(()) => false,
            Err(why) => {
                failed.push((*output, why));
                true
            }
        });
        if left.is_empty() {
            break;
        }
    }
    Ok(failed)
}

fn close(hardware: &mut Hardware, output: u8) -> Result<(), String> {
    let told = |error: furrow_drivers::SensorError| format!("{error}: {}", error.cause);
    hardware.switch(output, false).map_err(told)?;
    let seen = hardware.read_back(output).map_err(told)?;
    match (seen.on, seen.agrees) {
        (false, true) => Ok(()),
        (true, _) => Err("it reads back as on".to_owned()),
        (false, false) => Err("its latch and its level differ".to_owned()),
    }
}
