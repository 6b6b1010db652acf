//! Sizes as people write them: a whole number and a unit, such as `8GiB`.

/// Each a thousand and twenty-four of the one before it.
const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// A size in bytes, if that is one that can be counted.
pub(super) fn read(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let place = UNITS.iter().position(|known| *known == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(1 << (10 * place))
}

/// The same, in the largest unit that it is whole in.
pub(super) fn written(bytes: u64) -> String {
    let is_whole = |place: &usize| bytes.trailing_zeros() as usize >= 10 * place;
    let place = (0..UNITS.len()).rev().find(is_whole).filter(|_| bytes > 0).unwrap_or_default();
    format!("{}{}", bytes >> (10 * place), UNITS[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        for (text, bytes) in [("8GiB", 8 << 30), ("1 KiB", 1_024), ("7B", 7), ("0B", 0)] {
            assert_eq!(read(text), Some(bytes), "{text}");
            assert_eq!(read(&written(bytes)), Some(bytes), "{text}");
        }
        assert_eq!((written(8 << 30), written(1_025)), ("8GiB".to_owned(), "1025B".to_owned()));
        for bad in ["", "8", "GiB", "8GB", "-1B", "1.5GiB", "99999999PiB"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
