//! The guest's PID 1, which is embedded in the `vmlab` binary, and the list of its scenarios.

use std::sync::OnceLock;

use vmlab_protocol::catalogue::ScenarioSpec;

static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vmlab-init"));
static CATALOGUE_JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/catalogue.json"));
static MEASURES_JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/measures.json"));
static FAULTS_JSON: &str = include_str!(concat!(env!("OUT_DIR"), "/faults.json"));

/// The embedded catalogue of scenarios is malformed: this `vmlab` was built from a damaged tree.
#[derive(Debug, thiserror::Error)]
#[error("the catalogue of scenarios in this vmlab binary is malformed: rebuild vmlab")]
pub struct CatalogueError(#[source] serde_json::Error);

/// The guest's PID 1: a static ELF executable for x86-64.
#[must_use]
pub fn init_binary() -> &'static [u8] {
    INIT
}

/// The scenarios of [`init_binary`], as listed by the binary at build time.
///
/// # Errors
/// [`CatalogueError`] if the embedded list is malformed.
pub fn catalogue() -> Result<&'static [ScenarioSpec], CatalogueError> {
    static PARSED: OnceLock<Vec<ScenarioSpec>> = OnceLock::new();
    once(&PARSED, CATALOGUE_JSON)
}

/// The measuring scenarios of [`init_binary`].
///
/// # Errors
/// [`CatalogueError`] if the embedded list is malformed.
pub fn measures() -> Result<&'static [ScenarioSpec], CatalogueError> {
    static PARSED: OnceLock<Vec<ScenarioSpec>> = OnceLock::new();
    once(&PARSED, MEASURES_JSON)
}

/// The faults of [`init_binary`] for the fault suite, in the form of scenarios.
///
/// # Errors
/// [`CatalogueError`] if the embedded list is malformed.
pub fn faults() -> Result<&'static [ScenarioSpec], CatalogueError> {
    static PARSED: OnceLock<Vec<ScenarioSpec>> = OnceLock::new();
    once(&PARSED, FAULTS_JSON)
}

fn once(place: &'static OnceLock<Vec<ScenarioSpec>>, json: &str) -> Result<&'static [ScenarioSpec], CatalogueError> {
    if let Some(specs) = place.get() {
        return Ok(specs);
    }
    let specs = parse(json)?;
    Ok(place.get_or_init(|| specs))
}

fn parse(json: &str) -> Result<Vec<ScenarioSpec>, CatalogueError> {
    serde_json::from_str(json).map_err(CatalogueError)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PT_INTERP: u32 = 3;

    fn u16_at(bytes: &[u8], at: usize) -> usize {
        usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
    }

    #[test]
    fn the_init_binary_is_static_and_small() {
        let elf = init_binary();
        assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
        assert_eq!(u16_at(elf, 18), 62, "e_machine is EM_X86_64");
        let table = usize::try_from(u64::from_le_bytes(elf[32..40].try_into().unwrap())).unwrap();
        let (size, count) = (u16_at(elf, 54), u16_at(elf, 56));
        assert!(count > 0, "it has program headers");
        for header in 0..count {
            let at = table + header * size;
            let kind = u32::from_le_bytes(elf[at..at + 4].try_into().unwrap());
            assert_ne!(kind, PT_INTERP, "a static executable has no dynamic linker");
        }
        assert!(elf.len() <= 2_500_000, "{} bytes; the limit is 2.5 MB", elf.len());
    }

    #[test]
    fn the_catalogue_is_sorted_and_names_each_scenario_once() {
        let specs = catalogue().unwrap();
        assert!(specs.is_sorted_by(|a, b| a.id < b.id));
        assert!(std::ptr::eq(specs, catalogue().unwrap()), "the catalogue is parsed once");
    }

    #[test]
    fn a_damaged_catalogue_is_an_error() {
        for damaged in ["", "{}", "[{\"id\": \"uts\"}]"] {
            assert!(parse(damaged).is_err(), "{damaged}");
        }
    }
}
