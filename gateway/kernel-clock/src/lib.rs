//! Whether the kernel holds the system's clock for synchronised: `adjtimex(2)`, read-only.
//!
//! Whatever keeps the time (systemd-timesyncd, chrony, ntpd) tells the kernel, and the kernel takes
//! it back when nobody has for long: its estimate of the error grows by 500 ppm and passes 16 s after
//! nine hours. No library that is kept up offers this call, so it is made here, and nothing else is.

use std::io;
use std::mem::MaybeUninit;

/// What the kernel says of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// Somebody synchronises the clock, and did lately.
    pub is_synchronised: bool,
    /// Largest error that the kernel assumes, in microseconds; 16 s or more when nobody tells.
    pub max_error_us: u64,
}

/// Asks the kernel. Needs no rights.
///
/// # Errors
/// The kernel's: a sandbox may forbid the call.
pub fn read() -> io::Result<Discipline> {
    // SAFETY: `timex` holds integers only, for which all zeros are valid; `modes` 0 asks and sets
    // nothing.
    let mut asked: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the pointer is to a whole `timex` that lives through the call.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    #[allow(
        clippy::useless_conversion,
        reason = "a C long has 32 bits on a 32-bit Pi"
    )]
    let max_error_us = i64::from(asked.maxerror);
    Ok(discipline(asked.status, max_error_us))
}

fn discipline(status: libc::c_int, max_error_us: i64) -> Discipline {
    Discipline {
        is_synchronised: status & libc::STA_UNSYNC == 0,
        max_error_us: u64::try_from(max_error_us).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unsynchronised_bit_decides() {
        let check = |status, is_synchronised| {
            let expected = Discipline {
                is_synchronised,
                max_error_us: 7,
            };
            assert_eq!(discipline(status, 7), expected);
        };
        check(0, true);
        check(libc::STA_NANO | libc::STA_PLL, true);
        check(libc::STA_UNSYNC, false);
        check(libc::STA_UNSYNC | libc::STA_NANO, false);
    }

    /// The kernel's own rule (`ntp_update_status` in kernel/time/ntp.c): above 16 s nobody is
    /// believed.
    #[test]
    fn the_kernel_answers_consistently() {
        match read() {
            Ok(found) => assert!(!found.is_synchronised || found.max_error_us <= 16_000_000),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
