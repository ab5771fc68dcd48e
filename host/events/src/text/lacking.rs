//! Drivers that a kernel lacks.

use std::fmt;

use crate::verdict::LackingDrivers;

impl fmt::Display for LackingDrivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modules { names } => {
                let names = names.join(" and ");
                write!(f, "the kernel has {names} neither built in nor among its modules, so vmlab cannot talk to it")
            }
            Self::Directory { looked_in } => write!(
                f,
                "the kernel's modules were not found: there is neither modules.dep nor any module in {looked_in}; if its \
                 drivers for virtio are modules, install them there"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacking_drivers_are_told_with_the_consequence_or_the_remedy() {
        let modules = LackingDrivers::Modules { names: vec!["virtio_pci".to_owned(), "virtio_console".to_owned()] };
        assert_eq!(
            modules.to_string(),
            "the kernel has virtio_pci and virtio_console neither built in nor among its modules, so vmlab cannot talk to it"
        );
        let directory = LackingDrivers::Directory { looked_in: "/lib/modules/6.1.0".to_owned() };
        assert_eq!(
            directory.to_string(),
            "the kernel's modules were not found: there is neither modules.dep nor any module in /lib/modules/6.1.0; if its \
             drivers for virtio are modules, install them there"
        );
    }
}
