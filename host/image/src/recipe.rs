//! Recipes of guest images: the contents besides PID 1 and scenario modules.

use serde::Deserialize;

const SCENARIOS: &str = include_str!("../../../images/scenarios.toml");
const HOST_FILES: &str = include_str!("../../../images/host-files.toml");

/// A recipe of a guest image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The names of the modules that PID 1 loads before the agent starts.
    pub boot_modules: Vec<String>,
    /// The names of optional modules that PID 1 loads after the boot modules. A kernel may lack them.
    pub optional_modules: Vec<String>,
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

    /// The recipe of the image for guests that see the host's files: images/scenarios.toml and images/host-files.toml.
    ///
    /// # Errors
    /// [`BadRecipe`] if an embedded recipe is malformed.
    pub fn with_host_files() -> Result<Self, BadRecipe> {
        let (mut whole, more) = (Self::scenarios()?, Self::parse(HOST_FILES)?);
        whole.boot_modules.extend(more.boot_modules);
        whole.optional_modules.extend(more.optional_modules);
        whole.directories.extend(more.directories);
        whole.char_devices.extend(more.char_devices);
        Ok(whole)
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
        assert_eq!(recipe.optional_modules, ["pvpanic", "pvpanic_mmio", "qemu_fw_cfg"]);
        let with_host_files = Recipe::with_host_files().unwrap();
        assert!(with_host_files.optional_modules.starts_with(&recipe.optional_modules));
        assert!(with_host_files.optional_modules.ends_with(&["fuse".to_owned(), "overlay".to_owned()]));
        assert!(Recipe::parse(&SCENARIOS.replace("boot_modules", "boot_module")).is_err());
    }
}
