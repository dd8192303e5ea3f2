//! The delivery protocol between gateway, broker and ingest as a model, checked state by state.
//!
//! Within its [`Bounds`] the checker visits **every** order of steps: packets and acknowledgements
//! lost, repeated and overtaken, either side killed before or after its sync, a broker that forgets,
//! a card that goes back in time, an ingest restored from a backup, a journal at its cap. What must
//! hold in each state stands in [`properties`].
//!
//! It is a model: a stream is a small number, a record is a name and what it stands for. Its steps bear
//! the names of the code's (`Outbox::handle_ack` is [`Step::HandleAck`]), and `tests/cores.rs` takes the
//! same steps with the real cores and compares. It has no clock: what a timer does in the code can
//! happen here at any moment. A publish and the broker's PUBACK are one step, because the gateway's
//! core may learn nothing from a PUBACK; a broker that confirms and then drops is [`Step::Lose`].
//!
//! | module | owns |
//! |---|---|
//! | [`state`] | what each party holds, durably or not |
//! | [`step`] | what can happen |
//! | [`model`] | when a step can happen, within the bounds |
//! | [`properties`] | what must hold, and what must be reached |
//! | [`mod@check`] | the search and its verdict |

pub mod check;
mod gateway;
mod ingest;
pub mod model;
pub mod properties;
pub mod state;
pub mod step;

pub use check::{Verdict, check, hunt};
pub use model::{Bounds, Delivery, Flaw, Start};
pub use state::State;
pub use step::Step;
