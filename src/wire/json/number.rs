//! Numbers of fields that the schema does not name: a double where it loses nothing.

use crate::model::Value;

/// A number, if a double holds exactly what the digits say and everybody's double does (whole
/// numbers up to ±2^53, RFC 7493 §2.2); else the digits.
pub(super) fn number(digits: &str) -> Value {
    const WHOLE_LIMIT: f64 = 9_007_199_254_740_992.0;
    match digits.parse::<f64>() {
        Ok(number)
            if number.is_finite()
                && !(number.fract() == 0.0 && number.abs() > WHOLE_LIMIT)
                && decimal(digits).is_some_and(|exact| {
                    decimal(&format!("{number:e}")).is_some_and(|kept| exact == kept)
                }) =>
        {
            Value::Number(number)
        }
        _ => Value::Text(digits.to_owned()),
    }
}

/// Sign, significant digits and power of ten of a decimal: equal for equal values.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let exponent = i64::from(exponent) - i64::try_from(fraction.len()).ok()? + zeros;
    let exponent = if significant.is_empty() { 0 } else { exponent };
    Some((is_negative, significant.to_owned(), exponent))
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
        for digits in [
            "9007199254740993",
            "9007199254740994",
            "1842200297248054807",
            "9999982253621659654",
            "-1842200297248054807",
            "1e300",
            "1e999",
            "1e-999",
            "1e99999999999999999999",
            "0.1000000000000000055511151231257827",
            "3.14159265358979323846",
        ] {
            assert_eq!(number(digits), Value::Text(digits.to_owned()), "{digits}");
        }
    }
}
