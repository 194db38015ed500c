//! The n-th of something, or the last.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A place counted from 1 to `MAX`, or the last; in documents a number or `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<const MAX: u8> {
    /// From 1.
    Nth(u8),
    /// Wherever that is.
    Last,
}

struct PlaceVisitor<const MAX: u8>;

impl<const MAX: u8> Visitor<'_> for PlaceVisitor<MAX> {
    type Value = Place<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from 1 to {MAX}, or last")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Place<MAX>, E> {
        let place = u8::try_from(number).ok().filter(|place| (1..=MAX).contains(place));
        place.map(Place::Nth).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Place<MAX>, E> {
        match word {
            "last" => Ok(Place::Last),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }
}

impl<'de, const MAX: u8> Deserialize<'de> for Place<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Place<MAX>, D::Error> {
        deserializer.deserialize_any(PlaceVisitor)
    }
}

impl<const MAX: u8> Serialize for Place<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Place::Nth(number) => serializer.serialize_u8(*number),
            Place::Last => serializer.serialize_str("last"),
        }
    }
}
