//! The page on the gateway.

use std::net::SocketAddr;
use std::path::Path;

use super::ReadText;
use super::section::Section;
use crate::config::mistakes::Mistakes;
use crate::config::raw::RawPage;
use crate::config::settings::{PageSettings, Secret};

/// Digits of a PIN.
const PIN_DIGITS: std::ops::RangeInclusive<usize> = 4..=12;

/// The outer `None` is a mistake, the inner one no page.
pub(super) fn page(
    raw: Option<&RawPage>,
    read: ReadText<'_>,
    found: &mut Mistakes,
) -> Option<Option<PageSettings>> {
    let Some(raw) = raw else { return Some(None) };
    let mut section = Section::new("page", found);
    section.refuse_unknown(&raw.unknown, "listen, pin, pin_file");
    let listen = section.text_or("listen", raw.listen.as_ref(), "0.0.0.0:8080");
    let listen = listen.and_then(|text| match text.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => {
            let problem = format!("{text:?} is no address to listen at");
            section.mistake(
                "listen",
                problem,
                "write an address and a port, for example \"0.0.0.0:8080\"",
            )
        }
    });
    let pin = match (raw.pin.as_ref(), raw.pin_file.as_ref()) {
        (Some(_), Some(_)) => {
            section.mistake("pin", "stands beside pin_file", "keep only one of them")
        }
        (pin, None) => section.text("pin", pin, "482913"),
        (None, file) => {
            let path = section.text("pin_file", file, "/etc/furrow/page-pin");
            path.and_then(|path| match read(Path::new(&path)) {
                Ok(text) => Some(text.trim().to_owned()),
                Err(error) => {
                    let problem = format!("{path:?} can't be read: {error}");
                    section.mistake("pin_file", problem, "create it with 4 to 12 digits")
                }
            })
        }
    };
    let pin = pin.and_then(|pin| {
        let is_right = PIN_DIGITS.contains(&pin.len()) && pin.bytes().all(|b| b.is_ascii_digit());
        if is_right {
            return Some(Secret::new(pin));
        }
        section.mistake(
            "pin",
            "is not 4 to 12 digits",
            "write it as a text of digits, better 6",
        )
    });
    Some(Some(PageSettings {
        listen: listen?,
        pin: pin?,
    }))
}
