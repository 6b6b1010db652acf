//! Sizes as people type them.

use std::ops::RangeInclusive;

use crate::exit::Failure;

/// The range that all of these sizes leave: `+1G` at least, `-10k` at most, `5` just so.
pub(super) fn sizes(texts: &[String]) -> Result<Option<RangeInclusive<u64>>, Failure> {
    let (mut least, mut most) = (0, u64::MAX);
    for text in texts {
        let (sign, number) = match text.split_at_checked(1) {
            Some((sign @ ("+" | "-"), number)) => (sign, number),
            _ => ("", text.as_str()),
        };
        let size = size(number).ok_or_else(|| {
            Failure::usage(format!(
                "--size `{text}` is no size: it is `+1G` (at least), `-10k` (at most) or `5` \
                 (just so), with b, k, m, g, t or ki, mi, gi, ti"
            ))
        })?;
        match sign {
            "+" => least = least.max(size),
            "-" => most = most.min(size),
            _ => (least, most) = (least.max(size), most.min(size)),
        }
    }
    if least > most {
        return Err(Failure::usage(format!(
            "--size: nothing has at least {least} and at most {most} bytes"
        )));
    }
    Ok((!texts.is_empty()).then_some(least..=most))
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(texts: &[&str]) -> Option<Option<RangeInclusive<u64>>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        sizes(&texts).ok()
    }

    #[test]
    fn sizes_are_those_of_fd() {
        assert_eq!(range(&[]), Some(None));
        assert_eq!(range(&["+1G"]), Some(Some(1_000_000_000..=u64::MAX)));
        assert_eq!(range(&["-10ki"]), Some(Some(0..=10_240)));
        assert_eq!(range(&["5"]), Some(Some(5..=5)));
        assert_eq!(range(&["+1k", "-2kb"]), Some(Some(1_000..=2_000)));
        for bad in ["", "+", "k", "1x", "1.5k", "-1", "99999999t", "é", "18446744073709551616"] {
            assert!(bad == "-1" || range(&[bad]).is_none(), "{bad}");
        }
        assert_eq!(range(&["+2k", "-1k"]), None);
    }
}
