//! The guard: a small process that owns every output without a lease of its own, so that water stops
//! whatever becomes of the gateway, and of the guard itself.
//!
//! | module | owns |
//! |---|---|
//! | [`protocol`] | the lines between gateway and guard |
//! | [`client`] | the gateway's end of the socket |
//! | [`server`] | the guard's end of the socket |
//! | [`hardware`] | the lines and chips, and nobody else opens them |
//! | [`run`] | the lease loop |
//! | [`all_off`] | closing everything when no guard runs |
//! | [`cli`] | the command line of `furrow-guard` |
//!
//! What may be open, and until when, is decided in [`furrow_irrigation::guard`].

pub mod all_off;
pub mod cli;
pub mod client;
pub mod hardware;
pub mod protocol;
pub mod run;
pub mod server;
