//! The books: what gateways journalled against what ingest stored.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::api::Api;
use crate::process::pause;
use crate::site::Site;

/// Readings, of any quality, over all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    /// Ever journalled on the gateways.
    pub journalled: i64,
    /// Given up on the gateways, each with a loss record.
    pub lost: i64,
    /// In the archive.
    pub stored: i64,
    /// Waiting on the gateways for acknowledgement.
    pub waiting: i64,
    /// Times that a series has more than once in the archive.
    pub twice: i64,
}

impl Books {
    /// Readings that are neither stored, nor waiting, nor accounted as lost. Above 0 while a batch
    /// is on its way from ingest's log to the archive, below 0 while an acknowledgement is on its
    /// way back; 0 when everything is at rest.
    #[must_use]
    pub fn missing(&self) -> i64 {
        self.journalled - self.lost - self.waiting - self.stored
    }

    /// Whether every reading is accounted for, once.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.missing() == 0 && self.twice == 0
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Books {
            journalled,
            stored,
            waiting,
            twice,
            lost,
        } = self;
        let missing = self.missing();
        write!(
            f,
            "journalled {journalled}, stored {stored}, waiting {waiting}, missing {missing}, \
             twice {twice}"
        )?;
        if *lost > 0 {
            write!(f, ", given up {lost}")?;
        }
        Ok(())
    }
}

/// Reads both sides once.
///
/// # Errors
/// When a side does not answer.
pub fn read_books(sites: &[Site], cooperatives: &[(String, Api)]) -> anyhow::Result<Books> {
    let mut books = Books::default();
    for (cooperative, api) in cooperatives {
        let path = format!("/api/v1/cooperatives/{cooperative}/delivery");
        let delivery = api.get(&path)?;
        let gateways = delivery.as_array().context("delivery is not a list")?;
        for gateway in gateways {
            books.stored += number(gateway, "stored_readings")?;
            books.twice += number(gateway, "twice")?;
        }
    }
    for site in sites {
        let answer = site.ask_gateway(&["journal", "--json"])?;
        let journal: Value = serde_json::from_str(&answer).context("read the journal's summary")?;
        books.journalled += number(&journal, "journalled_readings")?;
        books.waiting += number(&journal, "waiting_readings")?;
        books.lost += number(&journal, "lost_readings")?;
    }
    Ok(books)
}

/// Reads both sides until nothing waits and they balance; gives the last look when the time is up.
/// With an intact link that takes a send interval or two.
///
/// # Errors
/// When a side does not answer.
pub fn drained_books(
    sites: &[Site],
    cooperatives: &[(String, Api)],
    patience: Duration,
) -> anyhow::Result<Books> {
    books_when(sites, cooperatives, patience, |books| {
        books.balance() && books.waiting == 0
    })
}

/// Reads both sides until they balance, since they can't be read at one instant; gives the last
/// look when the time is up.
///
/// # Errors
/// When a side does not answer.
pub fn settled_books(
    sites: &[Site],
    cooperatives: &[(String, Api)],
    patience: Duration,
) -> anyhow::Result<Books> {
    books_when(sites, cooperatives, patience, Books::balance)
}

fn books_when(
    sites: &[Site],
    cooperatives: &[(String, Api)],
    patience: Duration,
    enough: impl Fn(&Books) -> bool,
) -> anyhow::Result<Books> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(150);
    let end = Instant::now() + patience;
    loop {
        let books = read_books(sites, cooperatives)?;
        if enough(&books) || Instant::now() >= end {
            return Ok(books);
        }
        pause(BETWEEN_LOOKS);
    }
}

fn number(value: &Value, key: &str) -> anyhow::Result<i64> {
    let field = value.get(key).and_then(Value::as_i64);
    field.with_context(|| format!("no number {key} in {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stored_waiting_or_given_up_is_missing() {
        let books = Books {
            journalled: 100,
            lost: 5,
            stored: 80,
            waiting: 10,
            twice: 0,
        };
        assert_eq!(books.missing(), 5);
        assert!(!books.balance());
        assert_eq!(
            books.to_string(),
            "journalled 100, stored 80, waiting 10, missing 5, twice 0, given up 5"
        );
        assert!(
            Books {
                stored: 85,
                ..books
            }
            .balance()
        );
        assert!(
            !Books {
                stored: 85,
                twice: 1,
                ..books
            }
            .balance()
        );
    }
}
