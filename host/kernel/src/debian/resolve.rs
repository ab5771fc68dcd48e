//! Determines the packages of a kernel by following the dependencies of a flavour's metapackage. Pure: the caller
//! passes in the output of `apt-cache show` for the packages that are asked for.

use super::stanza::{self, Stanza};
use crate::fetched::Package;

/// The maximum number of packages of a kernel. Debian used one package, and uses four from Linux 7.0 on.
const PACKAGES_LIMIT: usize = 16;

/// Why the kernel's packages cannot be determined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The metapackage depends on no image package.
    #[error(
        "the package {0} depends on no exact version of a linux-image-* package, so vmlab cannot determine its kernel; \
         try another flavour or suite"
    )]
    NoImage(String),
    /// The lists do not describe a dependency.
    #[error(
        "the archive's lists do not describe {0} {1}, which the kernel's packages depend on; the mirror may just be \
         updating: try again in a while"
    )]
    Undescribed(String, String),
    /// The kernel depends on too many packages.
    #[error("the kernel {0} consists of more than {PACKAGES_LIMIT} packages, which is vmlab's limit")]
    TooMany(String),
}

/// A traversal of a kernel's dependencies.
#[derive(Debug)]
pub struct Walk {
    taken: Vec<Package>,
    wanted: Vec<Package>,
    skipped: Vec<Package>,
}

impl Walk {
    /// Begins at a metapackage with the description `text`.
    ///
    /// # Errors
    /// [`ResolveError::NoImage`] if the metapackage depends on no image package.
    pub fn from_metapackage(name: &str, text: &str) -> Result<Self, ResolveError> {
        let stanzas = stanza::parse(text);
        let described = stanzas.iter().find(|stanza| stanza.get("Package") == Some(name));
        let images = described.map(exact_dependencies).unwrap_or_default();
        let wanted: Vec<Package> = images.into_iter().filter(|image| image.name.starts_with("linux-image-")).collect();
        if wanted.is_empty() {
            return Err(ResolveError::NoImage(name.to_owned()));
        }
        Ok(Self { taken: Vec::new(), wanted, skipped: Vec::new() })
    }

    /// The packages whose descriptions are needed next; empty at the end.
    #[must_use]
    pub fn wanted(&self) -> &[Package] {
        &self.wanted
    }

    /// Processes the descriptions of all wanted packages. Packages built from the kernel's source belong to the kernel,
    /// and their exact-version dependencies are wanted next; others, such as kmod, do not belong to it.
    ///
    /// # Errors
    /// [`ResolveError::Undescribed`] if a description is missing, [`ResolveError::TooMany`] beyond the limit.
    pub fn take_in(&mut self, text: &str) -> Result<(), ResolveError> {
        let stanzas = stanza::parse(text);
        for package in std::mem::take(&mut self.wanted) {
            let Some(described) = stanzas.iter().find(|stanza| is_of(stanza, &package)) else {
                return Err(ResolveError::Undescribed(package.name, package.version));
            };
            if !is_from_kernel_source(described) {
                self.skipped.push(package);
                continue;
            }
            self.taken.push(package);
            if self.taken.len() > PACKAGES_LIMIT {
                return Err(ResolveError::TooMany(self.taken.swap_remove(0).name));
            }
            for next in exact_dependencies(described) {
                if ![&self.taken, &self.wanted, &self.skipped].iter().any(|seen| seen.contains(&next)) {
                    self.wanted.push(next);
                }
            }
        }
        // A package that was wanted twice in a round has already been taken.
        self.wanted.retain(|next| !self.taken.contains(next));
        Ok(())
    }

    /// The kernel's packages; the image package is first.
    #[must_use]
    pub fn into_packages(self) -> Vec<Package> {
        self.taken
    }
}

/// Whether a package is built from the kernel's source or its signed copy: `linux`, `linux-6.12`, `linux-signed-amd64`,
/// `linux-signed-6.12-amd64`, but not `linux-base`.
fn is_from_kernel_source(stanza: &Stanza) -> bool {
    let source = stanza.get("Source").or_else(|| stanza.get("Package")).unwrap_or_default();
    let source = source.split_whitespace().next().unwrap_or_default();
    source == "linux"
        || source
            .strip_prefix("linux-")
            .is_some_and(|rest| rest.starts_with("signed-") || rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The dependencies of the form `NAME (= VERSION)`, without alternatives.
fn exact_dependencies(stanza: &Stanza) -> Vec<Package> {
    let fields = ["Pre-Depends", "Depends"].into_iter().filter_map(|field| stanza.get(field));
    fields.flat_map(|field| field.split(',')).filter_map(exact_dependency).collect()
}

fn exact_dependency(text: &str) -> Option<Package> {
    let (name, rest) = text.split_once('(')?;
    let version = rest.trim().strip_prefix('=')?.trim().strip_suffix(')')?.trim();
    let name = name.trim();
    let name = name.split_once(':').map_or(name, |(name, _architecture)| name);
    Some(Package { name: name.to_owned(), version: version.to_owned() }).filter(is_plain)
}

/// Whether name and version have valid characters. Both become part of an argument of apt, so others are rejected.
pub fn is_plain(package: &Package) -> bool {
    let plain = |text: &str, also: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    plain(&package.name, "+-.") && plain(&package.version, "+-.~:")
}

/// Whether the output of `apt-cache show` describes all these packages.
pub(crate) fn describes_all(text: &str, packages: &[Package]) -> bool {
    let stanzas = stanza::parse(text);
    packages.iter().all(|package| stanzas.iter().any(|stanza| is_of(stanza, package)))
}

fn is_of(stanza: &Stanza, package: &Package) -> bool {
    stanza.get("Package") == Some(&package.name) && stanza.get("Version") == Some(&package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of `apt-cache show`, without the fields that vmlab does not read.
    const META_6_1: &str = "Package: linux-image-cloud-amd64\nSource: linux-signed-amd64 (6.1.192+2)\n\
        Version: 6.1.192-2\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\nDescription: Linux\n for clouds\n";
    const IMAGE_6_1: &str = "Package: linux-image-6.1.0-56-cloud-amd64\nSource: linux-signed-amd64 (6.1.192+2)\n\
        Version: 6.1.192-2\nDepends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | \
        linux-initramfs-tool\n";
    const META_7_3: &str = "Package: linux-image-cloud-amd64\nSource: linux-signed-amd64 (7.3.4+1~bpo13+1)\n\
        Version: 7.3.4-1~bpo13+1\nDepends: linux-base-cloud-amd64 (= 7.3.4-1~bpo13+1), \
        linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-cloud-amd64 (= 7.3.4-1~bpo13+1)\n";
    const IMAGE_7_3: &str = "Package: linux-image-7.3.4+deb13-cloud-amd64\nSource: linux-signed-amd64 \
        (7.3.4+1~bpo13+1)\nVersion: 7.3.4-1~bpo13+1\nDepends: dracut | initramfs-tools (>= 0.120+deb8u2) | \
        linux-initramfs-tool, linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), \
        linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-cloud-amd64 (= \
        7.3.4-1~bpo13+1)\n";
    const PARTS_7_3: &str = "Package: linux-base-7.3.4+deb13-cloud-amd64\nSource: linux\nVersion: 7.3.4-1~bpo13+1\n\n\
        Package: linux-binary-7.3.4+deb13-cloud-amd64\nSource: linux-signed-amd64 (7.3.4+1~bpo13+1)\n\
        Version: 7.3.4-1~bpo13+1\nDepends: linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n\n\
        Package: linux-modules-7.3.4+deb13-cloud-amd64\nSource: linux\nVersion: 7.3.4-1~bpo13+1\nDepends: kmod, \
        linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n";

    fn names(packages: &[Package]) -> Vec<&str> {
        packages.iter().map(|package| package.name.as_str()).collect()
    }

    #[test]
    fn one_package_until_6_x() {
        let mut walk = Walk::from_metapackage("linux-image-cloud-amd64", META_6_1).unwrap();
        walk.take_in(IMAGE_6_1).unwrap();
        assert_eq!(walk.wanted(), []);
        assert_eq!(names(&walk.into_packages()), ["linux-image-6.1.0-56-cloud-amd64"]);
    }

    #[test]
    fn several_packages_from_7_x_on() {
        let mut walk = Walk::from_metapackage("linux-image-cloud-amd64", META_7_3).unwrap();
        assert_eq!(names(walk.wanted()), ["linux-image-7.3.4+deb13-cloud-amd64"]);
        walk.take_in(IMAGE_7_3).unwrap();
        assert_eq!(walk.wanted().len(), 3);
        walk.take_in(PARTS_7_3).unwrap();
        assert_eq!(walk.wanted(), []);
        let packages = walk.into_packages();
        assert_eq!(
            names(&packages),
            ["image", "base", "binary", "modules"].map(|part| format!("linux-{part}-7.3.4+deb13-cloud-amd64"))
        );
        assert!(packages.iter().all(|package| package.version == "7.3.4-1~bpo13+1"));
    }

    #[test]
    fn only_packages_of_the_kernels_source_are_followed() {
        let foreign = IMAGE_6_1.replace("kmod,", "other (= 1),");
        let mut walk = Walk::from_metapackage("linux-image-cloud-amd64", META_6_1).unwrap();
        walk.take_in(&foreign).unwrap();
        walk.take_in("Package: other\nVersion: 1\nDepends: more (= 2)\n").unwrap();
        assert_eq!(walk.wanted(), []);
        assert_eq!(names(&walk.into_packages()), ["linux-image-6.1.0-56-cloud-amd64"]);
        for (source, kernel) in
            [("linux", true), ("linux-6.12 (6.12.1-1)", true), ("linux-signed-6.12-amd64", true), ("linux-base", false)]
        {
            let stanza = &stanza::parse(&format!("Package: x\nSource: {source}\n"))[0];
            assert_eq!(is_from_kernel_source(stanza), kernel, "{source}");
        }
    }

    #[test]
    fn unresolvable_dependencies_are_named() {
        let error = Walk::from_metapackage("linux-image-amd64", META_6_1).unwrap_err();
        assert_eq!(error, ResolveError::NoImage("linux-image-amd64".into()));
        let mut walk = Walk::from_metapackage("linux-image-cloud-amd64", META_6_1).unwrap();
        let error = walk.take_in(&IMAGE_6_1.replace("6.1.192-2", "6.1.192-1")).unwrap_err();
        assert!(matches!(error, ResolveError::Undescribed(..)));
        let mut walk = Walk::from_metapackage("linux-image-cloud-amd64", META_6_1).unwrap();
        let many: Vec<String> = (0..20).map(|n| format!("linux-p{n} (= 1)")).collect();
        walk.take_in(&IMAGE_6_1.replace("kmod", &many.join(", "))).unwrap();
        let parts: Vec<String> =
            (0..20).map(|n| format!("Package: linux-p{n}\nSource: linux\nVersion: 1\n\n")).collect();
        assert!(matches!(walk.take_in(&parts.concat()), Err(ResolveError::TooMany(_))));
    }

    #[test]
    fn names_that_could_be_options_are_rejected() {
        for text in ["-o (= 1)", "a (= -1)", "a (= 1 2)", "a/b (= 1)", "a (>= 1)", "a", "a (= 1) | b (= 1)"] {
            assert_eq!(exact_dependency(text), None, "{text}");
        }
        assert_eq!(exact_dependency(" a:any (= 1:2~x) ").unwrap().version, "1:2~x");
    }
}
