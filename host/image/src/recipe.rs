//! Recipes of guest images: the contents besides PID 1 and scenario modules.

use serde::Deserialize;

const SCENARIOS: &str = include_str!("../../../images/scenarios.toml");

/// A recipe of a guest image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The names of the modules that PID 1 loads before the agent starts.
    pub boot_modules: Vec<String>,
    /// The names of optional modules that PID 1 loads after the boot modules. A kernel may lack them.
    pub evidence_modules: Vec<String>,
    /// The empty directories.
    pub directories: Vec<Directory>,
    /// The character devices.
    pub char_devices: Vec<CharDevice>,
}

/// An empty directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The path without a leading slash.
    pub path: String,
    /// The permission bits.
    pub mode: u16,
}

/// A character device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharDevice {
    /// The path without a leading slash.
    pub path: String,
    /// The permission bits.
    pub mode: u16,
    /// The major number (Documentation/admin-guide/devices.txt).
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// The embedded recipe is malformed: this vmlab was built from a damaged tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recipe of the guest image in this vmlab binary is malformed: {0}; rebuild vmlab")]
pub struct BadRecipe(String);

impl Recipe {
    /// The recipe of the image for scenarios: images/scenarios.toml.
    ///
    /// # Errors
    /// [`BadRecipe`] if the embedded recipe is malformed.
    pub fn scenarios() -> Result<Self, BadRecipe> {
        Self::parse(SCENARIOS)
    }

    fn parse(text: &str) -> Result<Self, BadRecipe> {
        toml::from_str(text).map_err(|error| BadRecipe(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_recipe_is_valid_and_a_misspelled_key_is_an_error() {
        let recipe = Recipe::scenarios().unwrap();
        assert_eq!(recipe.boot_modules, ["virtio_pci", "virtio_console"]);
        assert_eq!(recipe.evidence_modules, ["pvpanic", "pvpanic_mmio", "qemu_fw_cfg"]);
        assert!(Recipe::parse(&SCENARIOS.replace("boot_modules", "boot_module")).is_err());
    }
}
