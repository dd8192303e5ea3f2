//! Taking secrets out: by the names of keys, and by their values wherever those stand.

use crate::config::{ENVIRONMENT_PREFIX, Settings};

/// What stands in place of a secret.
const REMOVED: &str = "(removed)";
/// Keys whose values are secrets, by a part of their name. `password_file` names a place, no secret.
const SECRET_KEYS: [&str; 6] = [
    "password",
    "secret",
    "token",
    "passphrase",
    "credential",
    "private",
];
/// Shorter values are words of their own, such as `on`: to take them out everywhere would tear texts.
const VALUE_MIN: usize = 4;

/// Knows every secret of this gateway.
#[derive(Debug)]
pub(super) struct Redactor(Vec<String>);

impl Redactor {
    /// From the configuration as it holds and as it is written, and from the environment.
    pub(super) fn new(settings: &Settings, config: &str) -> Self {
        let mut secrets = vec![settings.mqtt().password.reveal().to_owned()];
        if let Ok(value) = toml::from_str::<toml::Value>(config) {
            collect("", &value, &mut secrets);
        }
        let variables = std::env::vars()
            .filter(|(key, _)| key.starts_with(ENVIRONMENT_PREFIX) && is_secret(key));
        secrets.extend(variables.map(|(_, value)| value));
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        Self::of(&secrets)
    }

    pub(super) fn of(secrets: &[&str]) -> Self {
        let mut all = Vec::new();
        for secret in secrets.iter().filter(|secret| secret.len() >= VALUE_MIN) {
            all.push((*secret).to_owned());
            // As it looks inside JSON or a log line.
            let escaped = format!("{secret:?}");
            all.push(escaped.trim_matches('"').to_owned());
        }
        // A secret that is part of another goes after it.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        Redactor(all)
    }

    /// The text without secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            clean = clean.replace(secret.as_str(), REMOVED);
        }
        clean
    }
}

/// The configuration without comments, which may hold anything, and without secrets.
pub(super) fn config(text: &str) -> Result<String, String> {
    let mut value: toml::Value = toml::from_str(text).map_err(|error| error.to_string())?;
    remove("", &mut value);
    toml::to_string_pretty(&value).map_err(|error| error.to_string())
}

fn remove(key: &str, value: &mut toml::Value) {
    if let Some(table) = value.as_table_mut() {
        for (key, value) in table.iter_mut() {
            remove(key, value);
        }
    } else if let Some(all) = value.as_array_mut() {
        all.iter_mut().for_each(|value| remove(key, value));
    } else if is_secret(key) {
        *value = toml::Value::String(REMOVED.to_owned());
    }
}

fn collect(key: &str, value: &toml::Value, secrets: &mut Vec<String>) {
    if let Some(table) = value.as_table() {
        for (key, value) in table {
            collect(key, value, secrets);
        }
    } else if let Some(all) = value.as_array() {
        all.iter().for_each(|value| collect(key, value, secrets));
    } else if is_secret(key) {
        let text = value.as_str().map(str::to_owned);
        secrets.push(text.unwrap_or_else(|| value.to_string()));
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !key.ends_with("_file") && SECRET_KEYS.iter().any(|secret| key.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# the old password was hunter2-old
[mqtt]
host = \"ingest.example\"
password = \"s3cr\\\"t\"   # comment
password_file = \"/etc/furrow/mqtt-password\"
[[webhook]]
api_token = 12345678
tokens = [\"first-token\", \"second-token\"]
";

    #[test]
    fn no_secret_is_left_in_the_configuration() {
        let clean = config(CONFIG).unwrap();
        for secret in [
            "hunter2",
            "s3cr",
            "12345678",
            "first-token",
            "second-token",
            "comment",
        ] {
            assert!(!clean.contains(secret), "{secret} in {clean}");
        }
        assert!(
            clean.contains("password_file = \"/etc/furrow/mqtt-password\""),
            "{clean}"
        );
        assert!(clean.contains("host = \"ingest.example\""), "{clean}");
    }

    #[test]
    fn no_secret_is_left_anywhere_else() {
        let mut secrets = Vec::new();
        collect("", &toml::from_str(CONFIG).unwrap(), &mut secrets);
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let redactor = Redactor::of(&secrets);
        let log =
            "login with s3cr\"t failed; {\"password\":\"s3cr\\\"t\"}; token 12345678 first-token";
        assert_eq!(
            redactor.clean(log),
            "login with (removed) failed; {\"password\":\"(removed)\"}; token (removed) (removed)"
        );
        assert_eq!(Redactor::of(&["on"]).clean("online"), "online");
    }
}
