//! A line on each area of the scenarios: data/areas.toml.

use serde::Deserialize;

use super::BadData;

const TEXT: &str = include_str!("data/areas.toml");

/// An area of the scenarios.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// The part of the scenarios' names before the dot.
    pub name: String,
    /// What the area is about, on one line.
    pub about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    area: Vec<Area>,
}

/// All areas, sorted by name.
///
/// # Errors
/// [`BadData`] if the list is malformed.
pub fn embedded() -> Result<Vec<Area>, BadData> {
    let raw: Raw = toml::from_str(TEXT).map_err(|error| BadData::new("list of areas", &error))?;
    Ok(raw.area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_sorted_and_have_one_short_line() {
        let areas = embedded().unwrap();
        assert!(areas.is_sorted_by(|a, b| a.name < b.name), "{areas:?}");
        for Area { name, about } in areas {
            assert!(!about.is_empty() && about.chars().count() <= 70 && !about.contains('\n'), "{name}: {about}");
        }
    }
}
