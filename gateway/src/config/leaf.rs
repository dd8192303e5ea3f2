//! A value as it was written, before anything is expected of it.
//!
//! Expecting a type while deserialising would stop at the first mistake; this way all of them can be
//! told together.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Leaf {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List,
    Table,
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Text(text) => write!(f, "{text:?}"),
            Leaf::Integer(number) => write!(f, "{number}"),
            Leaf::Float(number) => write!(f, "{number}"),
            Leaf::Bool(truth) => write!(f, "{truth}"),
            Leaf::List => f.write_str("a list"),
            Leaf::Table => f.write_str("a table"),
        }
    }
}

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LeafVisitor)
    }
}

struct LeafVisitor;

impl<'de> Visitor<'de> for LeafVisitor {
    type Value = Leaf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Leaf, E> {
        Ok(Leaf::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Leaf, E> {
        Ok(Leaf::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Leaf, E> {
        // Beyond any number that a key takes, so that the range check of that key refuses it.
        Ok(Leaf::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Leaf, E> {
        Ok(Leaf::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Leaf, E> {
        Ok(Leaf::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Leaf, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Leaf::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Leaf, A::Error> {
        while table.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Leaf::Table)
    }
}
