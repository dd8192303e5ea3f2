//! Names of the files in a journal's directory.

/// A file that is being made into a segment.
pub(crate) const SPARE: &str = "next.tmp";
/// Held by the writer.
pub(crate) const LOCK: &str = "lock";
const LIVE: &str = ".seg";
const SET_ASIDE: &str = ".damaged";

/// `0000000000000005-00.seg`
pub(crate) fn live(number: u64, part: u8) -> String {
    format!("{number:016x}-{part:02x}{LIVE}")
}

/// `0000000000000005-00.damaged`
pub(crate) fn set_aside(number: u64, part: u8) -> String {
    format!("{number:016x}-{part:02x}{SET_ASIDE}")
}

/// Number and part of a live segment file.
pub(crate) fn parse_live(name: &str) -> Option<(u64, u8)> {
    parse(name.strip_suffix(LIVE)?)
}

/// Number and part of a file that was set aside.
pub(crate) fn parse_set_aside(name: &str) -> Option<(u64, u8)> {
    parse(name.strip_suffix(SET_ASIDE)?)
}

fn parse(stem: &str) -> Option<(u64, u8)> {
    let (number, part) = stem.split_once('-')?;
    if number.len() != 16 || part.len() != 2 {
        return None;
    }
    let number = u64::from_str_radix(number, 16).ok()?;
    Some((number, u8::from_str_radix(part, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_back_and_sort_by_number() {
        for (number, part) in [(1, 0), (0xabc, 3), (u64::MAX, 255)] {
            assert_eq!(parse_live(&live(number, part)), Some((number, part)));
            assert_eq!(
                parse_set_aside(&set_aside(number, part)),
                Some((number, part))
            );
            assert_eq!(parse_live(&set_aside(number, part)), None);
        }
        assert!(live(9, 0) < live(10, 0) && live(10, 0) < live(10, 1));
        for bad in [
            "lock",
            "next.tmp",
            "5-0.seg",
            "000000000000000g-00.seg",
            ".seg",
        ] {
            assert_eq!(parse_live(bad), None, "{bad}");
        }
    }
}
