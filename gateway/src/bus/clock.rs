//! The field clock: what sampling, leases and schedules live by.
//!
//! On a Pi it is the kernel's boot-time clock, which counts from boot and never steps, and the
//! system's wall clock for as long as that is synchronised. On a simulated field it is the
//! simulator's, and [`Busy`] tokens keep simulated time from running ahead of work in hand.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use furrow_kernel_clock::Discipline;
use furrow_sim_bus::RemoteClock;
use nix::time::{ClockId, clock_gettime};

/// A clock that says less was never set: this program is younger. 2026-01-01, milliseconds.
const WALL_LEAST_MS: i64 = 1_767_225_600_000;

/// One moment of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldTime {
    /// Names this boot of the machine.
    pub boot: u64,
    /// Nanoseconds since that boot.
    pub mono_ns: u64,
    /// Milliseconds since 1970, only while the wall clock is known to be right.
    pub wall_unix_ms: Option<i64>,
}

impl FieldTime {
    /// Milliseconds since boot.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        self.mono_ns / 1_000_000
    }
}

/// The field clock. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct FieldClock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Pi(Arc<PiClock>),
    Simulated(RemoteClock),
}

#[derive(Debug)]
struct PiClock {
    boot: u64,
    discipline: Asked,
}

/// How the kernel is asked whether the clock is right; a test answers in its place.
type Asked = fn() -> io::Result<Discipline>;

/// Work is in hand: simulated time stands still in lock-step. On a Pi it means nothing. Hand it on
/// with the work, and keep it until the work's result has been dealt with.
#[derive(Debug)]
#[must_use = "dropping the token lets simulated time run on"]
pub struct Busy(Option<furrow_sim_bus::Busy>);

impl FieldClock {
    pub(super) fn simulated(clock: RemoteClock) -> Self {
        Self(Kind::Simulated(clock))
    }

    pub(super) fn pi() -> io::Result<Self> {
        Self::pi_asking(furrow_kernel_clock::read)
    }

    fn pi_asking(discipline: Asked) -> io::Result<Self> {
        if let Err(error) = discipline() {
            tracing::warn!(%error, "the kernel can't be asked about its clock: the time is unknown");
        }
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let boot = boot_of(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the boot id is no UUID"))?;
        Ok(Self(Kind::Pi(Arc::new(PiClock { boot, discipline }))))
    }

    /// The moment. On a simulated field it is exact while a token is held.
    #[must_use]
    pub fn now(&self) -> FieldTime {
        match &self.0 {
            Kind::Pi(clock) => clock.now(),
            Kind::Simulated(clock) => {
                let now = clock.now();
                FieldTime {
                    boot: now.boot,
                    mono_ns: now.mono_ns,
                    wall_unix_ms: now.wall_unix_ms,
                }
            }
        }
    }

    /// Takes a token. One round trip to a simulator when none is held, otherwise free.
    pub fn busy(&self) -> Busy {
        match &self.0 {
            Kind::Pi(_) => Busy(None),
            Kind::Simulated(clock) => Busy(Some(clock.busy())),
        }
    }

    /// Blocks this thread until the clock reaches `mono_ns`; returns at once when it has, or when
    /// simulated time has ended.
    pub fn wait_until(&self, mono_ns: u64, busy: Busy) -> Busy {
        match (&self.0, busy.0) {
            (Kind::Pi(clock), _) => {
                let left = Duration::from_nanos(mono_ns.saturating_sub(clock.now().mono_ns));
                sleep(left);
                Busy(None)
            }
            (Kind::Simulated(clock), Some(token)) => Busy(Some(clock.wait_until(mono_ns, token))),
            (Kind::Simulated(clock), None) => Busy(Some(clock.wait_until(mono_ns, clock.busy()))),
        }
    }

    /// Ready when the clock reaches `mono_ns`, or when simulated time has [ended](Self::ended).
    ///
    /// The token is given up by this call, not by the first poll. Dropping the future withdraws the
    /// deadline and gives nothing back: whoever was woken by something else has a token from
    /// there (a job's result carries one), or takes one with [`FieldClock::busy`] **before** dropping.
    pub fn wait_until_async(
        &self,
        mono_ns: u64,
        busy: Busy,
    ) -> impl Future<Output = Busy> + Send + 'static + use<> {
        let wait = match (&self.0, busy.0) {
            (Kind::Pi(clock), _) => Err(Duration::from_nanos(
                mono_ns.saturating_sub(clock.now().mono_ns),
            )),
            (Kind::Simulated(clock), token) => {
                let token = token.unwrap_or_else(|| clock.busy());
                Ok(clock.wait_until_async(mono_ns, token))
            }
        };
        async move {
            match wait {
                Ok(wait) => Busy(Some(wait.await)),
                Err(left) => {
                    tokio::time::sleep(left).await;
                    Busy(None)
                }
            }
        }
    }

    /// Why simulated time does not run any more, if so. A Pi's time does not end.
    #[must_use]
    pub fn ended(&self) -> Option<FieldEnd> {
        match &self.0 {
            Kind::Pi(_) => None,
            Kind::Simulated(clock) => clock.ended().map(FieldEnd::of),
        }
    }

    /// Ready when simulated time has ended; never on a Pi.
    pub fn when_ended(&self) -> impl Future<Output = FieldEnd> + Send + 'static + use<> {
        let ended = match &self.0 {
            Kind::Pi(_) => None,
            Kind::Simulated(clock) => Some(clock.when_ended()),
        };
        async move {
            match ended {
                Some(ended) => FieldEnd::of(ended.await),
                None => std::future::pending().await,
            }
        }
    }
}

/// How simulated time ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldEnd {
    /// The simulation is over, for example a replay after its last row: drain and exit well.
    Finished(String),
    /// The simulator is gone: exit and be started again.
    Lost(String),
}

impl FieldEnd {
    fn of(end: furrow_sim_bus::End) -> Self {
        match end {
            furrow_sim_bus::End::Finished(why) => Self::Finished(why),
            furrow_sim_bus::End::Lost(why) => Self::Lost(why),
        }
    }
}

impl PiClock {
    fn now(&self) -> FieldTime {
        let mono = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let mono_ns = u64::try_from(mono.as_nanos()).unwrap_or(u64::MAX);
        FieldTime {
            boot: self.boot,
            mono_ns,
            wall_unix_ms: self.wall(),
        }
    }

    fn wall(&self) -> Option<i64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let unix_ms = i64::try_from(since.as_millis()).ok()?;
        let is_right = (self.discipline)().is_ok_and(|found| found.is_synchronised);
        (unix_ms >= WALL_LEAST_MS && is_right).then_some(unix_ms)
    }
}

/// A UUID folded to 64 bits.
fn boot_of(uuid: &str) -> Option<u64> {
    let hex: String = uuid.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&hex, 16)
        .ok()
        .filter(|_| hex.len() == 32)?;
    let low = u64::try_from(number & u128::from(u64::MAX)).ok()?;
    let high = u64::try_from(number >> 64).ok()?;
    Some(low ^ high)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the delay that others have injected"
)]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_folded_to_64_bits() {
        let id = "0123456789abcdef-0000000000000001\n".replace("cdef-", "-cdef");
        assert_eq!(boot_of(&id), Some(0x0123_4567_89ab_cdef ^ 1));
        for bad in ["", "0123", "not a uuid", "0123456789abcdef000000000000000g"] {
            assert_eq!(boot_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_pi_clock_runs_and_knows_the_wall_only_while_synchronised() {
        let unknown: [Asked; 2] = [
            || Err(io::ErrorKind::PermissionDenied.into()),
            || {
                Ok(Discipline {
                    is_synchronised: false,
                    max_error_us: 5,
                })
            },
        ];
        for asked in unknown {
            let clock = FieldClock::pi_asking(asked).unwrap();
            assert_eq!(clock.now().wall_unix_ms, None);
        }
        let clock = FieldClock::pi_asking(|| {
            Ok(Discipline {
                is_synchronised: true,
                max_error_us: 5,
            })
        })
        .unwrap();
        let first = clock.now();
        let busy = clock.wait_until(first.mono_ns + 2_000_000, clock.busy());
        let second = clock.now();
        drop(busy);
        assert!(second.mono_ns >= first.mono_ns + 2_000_000);
        assert_eq!(second.boot, first.boot);
        assert!(second.wall_unix_ms.is_some_and(|ms| ms > WALL_LEAST_MS));
    }
}
