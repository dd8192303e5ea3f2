//! Passwords and tokens: in plain or as the SHA-256, not both.

use super::check::{Checker, join};
use super::raw::{Leaf, RawToken};
use crate::broker::PasswordHash;

/// An API token: whose, and its hash.
pub(super) fn check_token(c: &mut Checker, key: &str, raw: RawToken) -> Option<(String, [u8; 32])> {
    c.unknown(key, &raw.unknown, "name, token, token_sha256");
    let name = c.required_text(&join(key, "name"), raw.name, "\"kỹ thuật\"");
    let hash = check_secret(c, key, "token", raw.token, raw.token_sha256);
    Some((name?, hash?.bytes()))
}

/// One secret, given either way.
pub(super) fn check_secret(
    c: &mut Checker,
    path: &str,
    name: &str,
    plain: Leaf,
    hashed: Leaf,
) -> Option<PasswordHash> {
    let (key, hash_key) = (join(path, name), join(path, &format!("{name}_sha256")));
    match (plain, hashed) {
        (Some(_), Some(_)) => {
            c.mistake(&key, format!("stands beside {name}_sha256; remove one"));
            None
        }
        (None, hashed @ Some(_)) => c.parsed(&hash_key, hashed),
        (plain, None) => {
            let example = format!("{name}_sha256 = \"…\" (printf %s SECRET | sha256sum)");
            let plain = c.required_text(&key, plain, &example)?;
            Some(PasswordHash::of(plain.as_bytes()))
        }
    }
}
