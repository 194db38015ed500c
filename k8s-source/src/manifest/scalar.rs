//! Plain YAML scalars as go-yaml v2, and so `kubectl`, resolves them.

use super::value::Kind;

/// What a scalar is, before it becomes a value or a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

/// Resolves a plain scalar. Never fails: what is nothing else is text.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => number(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Scalar> {
    match text.as_bytes().first()? {
        b'.' if separated(text) => float(&text.replace('_', "")),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            integer(&plain).map(Scalar::Int).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// After a leading dot, Go's own rule for `_` holds: only between digits.
fn separated(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    bytes.iter().enumerate().all(|(i, b)| *b != b'_' || digit(i.checked_sub(1)) && digit(i.checked_add(1)))
}

/// `strconv.ParseInt(text, 0, 64)`, then `ParseUint`, then go-yaml's own reading of `0b`.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some(two) if two.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `0b-101` is -5: go-yaml hands what follows `0b` to a parser that takes a sign.
    let (sign, digits) = match digits.as_bytes().first()? {
        b'-' if text.starts_with("0b") => (-1, digits.get(1..)?),
        b'+' if text.starts_with("0b") => (1, digits.get(1..)?),
        _ => (sign, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?.checked_mul(sign)?;
    let top = if text.starts_with(['+', '-']) { i128::from(i64::MAX) } else { i128::from(u64::MAX) };
    (i128::from(i64::MIN)..=top).contains(&value).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, and finite.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(i) => (unsigned.get(..i)?, Some(unsigned.get(i.checked_add(1)?..)?)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !(digits(whole) && digits(fraction) && has_digits && exponent_ok) {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Scalar::Float)
}

impl Scalar {
    /// The JSON value; `None` for infinities and NaN, which JSON does not have.
    pub(super) fn into_kind(self) -> Option<Kind> {
        Some(match self {
            Self::Null => Kind::Null,
            Self::Bool(value) => Kind::Bool(value),
            Self::Int(value) => Kind::Number(value.to_string()),
            Self::Float(value) => Kind::Number(json_number(value)?),
            Self::Text(text) => Kind::Text(text),
        })
    }

    /// The mapping key, as sigs.k8s.io/yaml turns it into text; `None` where it refuses.
    pub(super) fn into_key(self) -> Option<String> {
        Some(match self {
            Self::Text(text) => text,
            Self::Bool(value) => value.to_string(),
            // An unsigned 64-bit number is refused as a key.
            Self::Int(value) => i64::try_from(value).ok()?.to_string(),
            Self::Float(value) => key_number(value),
            Self::Null => return None,
        })
    }
}

/// A float as Go's `encoding/json` writes it.
fn json_number(value: f64) -> Option<String> {
    let size = value.abs();
    if !value.is_finite() {
        None
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        Some(if size >= 1.0 { text.replace('e', "e+") } else { text })
    } else {
        Some(value.to_string())
    }
}

/// A float as Go's `FormatFloat(value, 'g', -1, 32)` writes it, in YAML's spelling of the infinities.
fn key_number(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation)] // 32 bits are what sigs.k8s.io/yaml keeps of a key
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}
