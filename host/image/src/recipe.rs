//! Recipes of guest images: what is in one besides PID 1 and modules.

use serde::Deserialize;

const SCENARIOS: &str = include_str!("../../../images/scenarios.toml");

/// A recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What PID 1 loads before the agent starts, by name.
    pub boot_modules: Vec<String>,
    /// What PID 1 loads after them, by name. That a kernel has none of these is no news.
    pub evidence_modules: Vec<String>,
    /// Empty directories.
    pub directories: Vec<Directory>,
    /// Character devices.
    pub char_devices: Vec<CharDevice>,
}

/// An empty directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
}

/// A character device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharDevice {
    /// Without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
    /// As in Documentation/admin-guide/devices.txt.
    pub major: u32,
    /// Likewise.
    pub minor: u32,
}

/// The recipe inside this vmlab cannot be read: it was built from a damaged tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recipe of the guest image cannot be read: {0}")]
pub struct BadRecipe(String);

impl Recipe {
    /// The image in which scenarios run: images/scenarios.toml.
    ///
    /// # Errors
    /// [`BadRecipe`]
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
    fn the_recipe_inside_is_good_and_a_mistyped_word_is_not() {
        let recipe = Recipe::scenarios().unwrap();
        assert_eq!(recipe.boot_modules, ["virtio_pci", "virtio_console"]);
        assert_eq!(recipe.evidence_modules, ["pvpanic", "pvpanic_mmio", "qemu_fw_cfg"]);
        assert!(Recipe::parse(&SCENARIOS.replace("boot_modules", "boot_module")).is_err());
    }
}
