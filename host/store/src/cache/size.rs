//! The cache's limit; parsing and printing of sizes.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

/// The variable that sets the limit.
pub const LIMIT_VARIABLE: &str = "VMLAB_CACHE_LIMIT";

/// The limit of the cache's disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// In bytes.
    Bytes(u64),
    /// No limit.
    None,
}

impl Default for Limit {
    /// 10 GiB, which is enough for a dozen kernels with modules and about fifty templates of small guests.
    fn default() -> Self {
        Self::Bytes(10 << 30)
    }
}

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a size: expected a whole number of bytes, or one with a unit (K, M, G, T: powers of 1024; KB, MB, GB, \
     TB: powers of 1000), as in 500M or 5G; or none"
)]
pub struct BadSize(String);

/// The variable's value is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{LIMIT_VARIABLE}: {0}")]
pub struct BadVariable(BadSize);

impl Limit {
    /// Reads [`LIMIT_VARIABLE`]; the default if it is unset or empty.
    ///
    /// # Errors
    /// [`BadVariable`]
    pub fn from_env() -> Result<Self, BadVariable> {
        Self::from_variable(env::var_os(LIMIT_VARIABLE).as_deref())
    }

    fn from_variable(value: Option<&OsStr>) -> Result<Self, BadVariable> {
        match value {
            Some(text) if !text.is_empty() => text.to_string_lossy().parse().map_err(BadVariable),
            _ => Ok(Self::default()),
        }
    }

    /// The limit in bytes, if there is one.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::None => None,
        }
    }
}

impl FromStr for Limit {
    type Err = BadSize;

    /// Parses `none`, or a number with a unit as in GNU dd(1), in upper or lower case.
    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::None);
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start_matches(' ').to_ascii_uppercase();
        let (base, power): (u64, u32) = match unit.as_str() {
            "" | "B" => (1, 0),
            "K" | "KIB" => (1024, 1),
            "M" | "MIB" => (1024, 2),
            "G" | "GIB" => (1024, 3),
            "T" | "TIB" => (1024, 4),
            "KB" => (1000, 1),
            "MB" => (1000, 2),
            "GB" => (1000, 3),
            "TB" => (1000, 4),
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(base.pow(power)).map(Self::Bytes).ok_or_else(bad)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&human(*bytes)),
            Self::None => f.write_str("none"),
        }
    }
}

/// A size in the largest suitable unit: `0 B`, `114.3 MiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(last) = bytes.checked_ilog2().map(|log| log as usize / 10).filter(|power| *power > 0) else {
        return format!("{bytes} B");
    };
    // Truncated, not rounded: 1023.99 MiB must not become 1024.0 MiB.
    let unit = 1_u64 << (10 * last);
    let (whole, rest) = (bytes / unit, bytes % unit);
    let tenth = u128::from(rest) * 10 / u128::from(unit);
    format!("{whole}.{tenth} {}", units[last - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("12b", 12),
            ("500M", 500 << 20),
            ("5g", 5 << 30),
            ("5 GiB", 5 << 30),
            ("1T", 1 << 40),
            ("3k", 3072),
            ("3kB", 3000),
            ("2GB", 2_000_000_000),
            ("16777215T", 16_777_215 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Limit::Bytes(bytes)), "{text}");
        }
        assert_eq!("None".parse(), Ok(Limit::None));
    }

    #[test]
    fn an_invalid_size_is_quoted_in_the_error() {
        for text in
            ["", "G", "-1", "+1", "1.5G", "1,5G", "0x10", "5Q", "5 G B", "٣G", "16777216T", "99999999999999999999"]
        {
            let error = text.parse::<Limit>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("500M"), "{error}");
        }
    }

    #[test]
    fn the_variable_sets_the_limit() {
        let of = |text: &str| Limit::from_variable(Some(OsStr::new(text)));
        assert_eq!(Limit::from_variable(None), Ok(Limit::Bytes(10 << 30)));
        assert_eq!(of(""), Ok(Limit::default()));
        assert_eq!(of("none"), Ok(Limit::None));
        assert_eq!(of("1M"), Ok(Limit::Bytes(1 << 20)));
        assert!(of("lots").unwrap_err().to_string().starts_with("VMLAB_CACHE_LIMIT: `lots` is not a size"));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (119_857_152, "114.3 MiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!((Limit::default().to_string(), Limit::None.to_string()), ("10.0 GiB".into(), "none".into()));
    }
}
