//! A bus, line or port that does not open is a person's business: it is told once, with what to do.
//!
//! Owns the words. Who opens what, and when it is tried again, is the others'.

use std::fmt::Display;

/// For an I2C bus.
pub(super) const I2C: &str =
    "switch I2C on (raspi-config nonint do_i2c 0) and add the gateway's user to the group i2c";
/// For a GPIO line.
pub(super) const GPIO: &str = "compare with gpioinfo: another program may hold the line; add the gateway's user to the group gpio";
/// For a serial port.
pub(super) const SERIAL: &str = "plug the adapter in, compare with ls /dev/serial/by-id, stop other programs that use it, \
     and add the gateway's user to the group dialout";

/// Whether somebody was told. Clones are told by themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(bool);

impl Trouble {
    /// It does not open. Told at the first time, and again once it had opened in between.
    pub(super) fn handle_failed(
        &mut self,
        what: &dyn Display,
        error: &dyn Display,
        remedy: &'static str,
    ) {
        if self.0 {
            tracing::debug!(%what, %error, "does not open");
        } else {
            self.0 = true;
            tracing::warn!(%what, %error, remedy, "does not open; its readings fail until it does");
        }
    }

    /// It is open.
    pub(super) fn handle_opened(&mut self, what: &dyn Display) {
        if std::mem::take(&mut self.0) {
            tracing::info!(%what, "opened");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            log.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_person_is_told_once_and_again_after_it_had_opened() {
        let log = Log::default();
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .without_time()
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut trouble = Trouble::default();
            let failed = |trouble: &mut Trouble| {
                trouble.handle_failed(&"/dev/i2c-1", &"no such file", I2C);
            };
            failed(&mut trouble);
            failed(&mut trouble);
            trouble.handle_opened(&"/dev/i2c-1");
            trouble.handle_opened(&"/dev/i2c-1");
            failed(&mut trouble);
        });
        let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        for line in lines {
            for part in ["WARN", "/dev/i2c-1", "no such file", "raspi-config"] {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    }
}
