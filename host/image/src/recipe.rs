//! Recipes of guest images: the contents besides PID 1 and scenario modules.

use serde::Deserialize;

const SCENARIOS: &str = include_str!("../../../images/scenarios.toml");

/// What a guest image can have beside what scenarios need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The host's files.
    HostFiles,
    /// A network card.
    Network,
    /// Disks.
    Disks,
    /// Guests of its own, on a processor of AMD.
    NestedAmd,
    /// Guests of its own, on a processor of Intel.
    NestedIntel,
}

impl Part {
    const fn text(self) -> &'static str {
        match self {
            Self::HostFiles => include_str!("../../../images/host-files.toml"),
            Self::Network => include_str!("../../../images/network.toml"),
            Self::Disks => include_str!("../../../images/disks.toml"),
            Self::NestedAmd => include_str!("../../../images/nested-amd.toml"),
            Self::NestedIntel => include_str!("../../../images/nested-intel.toml"),
        }
    }
}

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

    /// The recipe of the image for scenarios with further parts.
    ///
    /// # Errors
    /// [`BadRecipe`] if an embedded recipe is malformed.
    pub fn with(parts: &[Part]) -> Result<Self, BadRecipe> {
        let mut whole = Self::scenarios()?;
        for part in parts {
            let more = Self::parse(part.text())?;
            whole.boot_modules.extend(more.boot_modules);
            whole.optional_modules.extend(more.optional_modules);
            whole.directories.extend(more.directories);
            whole.char_devices.extend(more.char_devices);
        }
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
        let parts = [Part::Network, Part::Disks, Part::NestedAmd, Part::NestedIntel, Part::HostFiles];
        let with_parts = Recipe::with(&parts).unwrap();
        let added: Vec<_> = with_parts.optional_modules.iter().skip(recipe.optional_modules.len()).collect();
        assert_eq!(added, ["virtio_net", "virtio_blk", "kvm_amd", "kvm_intel", "fuse", "overlay"]);
        assert!(Recipe::parse(&SCENARIOS.replace("boot_modules", "boot_module")).is_err());
    }
}
