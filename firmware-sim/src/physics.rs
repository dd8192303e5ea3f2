//! What happens in and around the greenhouse: weather, climate, water. No chip, no socket, no clock:
//! time is an argument, chance comes from a seed, transcendental functions from `libm`.

pub(crate) mod air;
pub(crate) mod bed;
pub(crate) mod climate;
pub(crate) mod hydraulics;
pub(crate) mod noise;
pub(crate) mod plant;
mod valve;
pub(crate) mod weather;
