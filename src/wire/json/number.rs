//! Numbers of unknown fields. A number is kept as a double if that is exact, and otherwise as a
//! text.

use crate::model::Value;

/// The largest whole number that is kept as a number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Returns a number if a double holds the value of the digits exactly. A whole number must also be
/// within ±2^53, because programs disagree about larger ones (RFC 7493 §2.2). Otherwise returns the
/// digits.
pub(super) fn number(digits: &str) -> Value {
    let is_exact = |number: &f64| {
        number.is_finite()
            && (is_short_whole(digits)
                || (number.fract() != 0.0 || number.abs() <= MAX_WHOLE)
                    && decimal(digits)
                        .is_some_and(|exact| Some(exact) == decimal(&format!("{number:e}"))))
    };
    digits
        .parse()
        .ok()
        .filter(is_exact)
        .map_or_else(|| Value::Text(digits.to_owned()), Value::Number)
}

/// Whether a double holds the number for sure. Most numbers are short ids, and comparing decimals
/// takes long.
fn is_short_whole(digits: &str) -> bool {
    digits.len() <= 15 && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// The sign, the significant digits and the power of ten of a decimal. Equal values have equal
/// results.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let unsigned = text.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let exponent: i64 = exponent.parse::<i32>().ok()?.into();
    let exponent = exponent - i64::try_from(fraction.len()).ok()? + zeros;
    let exponent = if significant.is_empty() { 0 } else { exponent };
    Some((text.starts_with('-'), significant.to_owned(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_kept_as_such_only_if_no_digit_is_lost() {
        for (digits, expected) in [
            ("0", 0.0),
            ("17", 17.0),
            ("-3", -3.0),
            ("0.1", 0.1),
            ("2.50", 2.5),
            ("1e3", 1000.0),
            ("1E-2", 0.01),
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("-9007199254740992", -9_007_199_254_740_992.0),
            ("0e999999999", 0.0),
        ] {
            assert_eq!(number(digits), Value::Number(expected), "{digits}");
        }
        let inexact = "9007199254740993 9007199254740994 1842200297248054807 9999982253621659654 \
            -1842200297248054807 1e300 1e999 1e-999 1e99999999999999999999 \
            0.1000000000000000055511151231257827 3.14159265358979323846";
        for digits in inexact.split_whitespace() {
            assert_eq!(number(digits), Value::Text(digits.to_owned()), "{digits}");
        }
    }
}
