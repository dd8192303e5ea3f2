//! The system's limit of open files, of which each connected gateway takes one.
//!
//! A shell gives 1,024 unless asked, and lets a process ask for more. At the limit connections are
//! refused in silence, and neither marks nor archives can be written.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{LinkSettings, Settings};

/// Asked for in any case, as the systemd unit does: ten thousand gateways and room.
const ENOUGH: u64 = 65_536;
/// Files of the log, sockets of the API and of the system.
const FILES_OF_OURS: u64 = 256;
/// Connections to one cooperative's file, each with its two companions.
const FILES_A_COOPERATIVE: u64 = 32;
/// A gateway's connection, and its dead one that has not timed out yet.
const FILES_A_GATEWAY: u64 = 2;

/// Raises the limit as far as the system lets us, and warns when that is too little.
pub(crate) fn raise_limit(settings: &Settings) {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return tracing::warn!(%error, "the limit of open files is unknown"),
    };
    let needed = needed(settings);
    let wanted = needed.max(ENOUGH).min(hard).max(soft);
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit of open files can't be raised");
            soft
        }
    };
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "too few open files for all gateways; raise the limit (systemd: LimitNOFILE)"
        );
    }
}

fn needed(settings: &Settings) -> u64 {
    let each: u64 = match settings.link {
        LinkSettings::Embedded { .. } => FILES_A_GATEWAY,
        LinkSettings::Outside { .. } => 0,
    };
    let of = |gateways: usize| {
        FILES_A_COOPERATIVE + each.saturating_mul(u64::try_from(gateways).unwrap_or(u64::MAX))
    };
    let cooperatives = settings.cooperatives.iter();
    cooperatives.fold(FILES_OF_OURS, |sum, cooperative| {
        sum.saturating_add(of(cooperative.gateways.len()))
    })
}
