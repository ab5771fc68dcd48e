//! The programs and files that vmlab needs, and the packages that contain them.

use super::manager::Manager;
use vmlab_qemu::qemu;

/// Whose needs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The needs of `vmlab`.
    Run,
    /// The needs of `vmlab`, also for building kernels.
    Build,
    /// All of that, and the needs of the tests of vmlab's source.
    Tests,
}

/// How the presence of a need is detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// All of these programs are in `PATH`.
    Programs(&'static [&'static str]),
    /// One of these files exists.
    AnyFile(&'static [&'static str]),
}

/// Something that vmlab needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The name in messages.
    pub(crate) name: &'static str,
    /// The purpose, as part of a sentence: `to run guests`.
    pub(crate) purpose: &'static str,
    pub(crate) scope: Scope,
    pub(crate) sign: Sign,
    /// Package names in the order of [`Manager::ALL`]; None if vmlab knows no package.
    packages: [Option<&'static str>; 5],
}

pub(crate) const QEMU: Need = Need {
    name: "qemu",
    purpose: "to run guests",
    scope: Scope::Run,
    sign: Sign::Programs(&[qemu::PROGRAM]),
    packages: [
        Some("qemu-system-x86"),
        Some("qemu-system-x86-core"),
        Some("qemu-system-x86"),
        Some("qemu-x86"),
        Some("qemu-system-x86_64"),
    ],
};

pub(crate) const ALL: &[Need] = &[
    QEMU,
    Need {
        name: "apt",
        purpose: "to fetch debian: kernels",
        scope: Scope::Run,
        sign: Sign::Programs(&["apt-get", "apt-cache", "apt-config"]),
        packages: [Some("apt"), Some("apt"), Some("apt"), None, None],
    },
    Need {
        name: "dpkg-deb",
        purpose: "to unpack debian: kernels",
        scope: Scope::Run,
        sign: Sign::Programs(&["dpkg-deb"]),
        packages: [Some("dpkg"), Some("dpkg"), Some("dpkg"), Some("dpkg"), Some("dpkg")],
    },
    Need {
        name: "debian-archive-keyring",
        purpose: "to check the signatures of debian: kernels",
        scope: Scope::Run,
        sign: Sign::AnyFile(&[
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ]),
        packages: [
            Some("debian-archive-keyring"),
            Some("debian-keyring"),
            Some("debian-archive-keyring"),
            None,
            Some("debian-archive-keyring"),
        ],
    },
    build("make", "to build kernels", &["make"], [Some("make"); 5]),
    build("gcc", "to build kernels", &["gcc", "ld"], [Some("gcc"); 5]),
    build("flex", "to build kernels", &["flex"], [Some("flex"); 5]),
    build("bison", "to build kernels", &["bison"], [Some("bison"); 5]),
    build("bc", "to build kernels", &["bc"], [Some("bc"); 5]),
    build("perl", "to build kernels", &["perl"], [Some("perl"); 5]),
    build(
        "xz",
        "to unpack the source of kernels",
        &["xz", "tar"],
        [Some("xz-utils"), Some("xz"), Some("xz"), Some("xz"), Some("xz")],
    ),
    Need {
        name: "libc headers",
        purpose: "to build the programs of a kernel's build",
        scope: Scope::Build,
        sign: Sign::AnyFile(&["/usr/include/stdio.h"]),
        packages: [Some("libc6-dev"), Some("glibc-devel"), Some("glibc"), Some("glibc-devel"), Some("musl-dev")],
    },
    Need {
        name: "libelf",
        purpose: "to build kernels with objtool",
        scope: Scope::Build,
        sign: Sign::AnyFile(&["/usr/include/gelf.h"]),
        packages: [
            Some("libelf-dev"),
            Some("elfutils-libelf-devel"),
            Some("libelf"),
            Some("libelf-devel"),
            Some("elfutils-dev"),
        ],
    },
    Need {
        name: "git",
        purpose: "for the tests of vmlab's source",
        scope: Scope::Tests,
        sign: Sign::Programs(&["git"]),
        packages: [Some("git"); 5],
    },
    Need {
        name: "cpio",
        purpose: "for the tests of vmlab's source",
        scope: Scope::Tests,
        sign: Sign::Programs(&["cpio"]),
        packages: [Some("cpio"); 5],
    },
    Need {
        name: "kmod",
        purpose: "for the tests of vmlab's source",
        scope: Scope::Tests,
        // Debian has it in a directory that is not in the PATH of users.
        sign: Sign::AnyFile(&["/sbin/modprobe", "/usr/sbin/modprobe", "/usr/bin/modprobe"]),
        packages: [Some("kmod"); 5],
    },
];

/// A program that builds need.
const fn build(
    name: &'static str,
    purpose: &'static str,
    programs: &'static [&'static str],
    packages: [Option<&'static str>; 5],
) -> Need {
    Need { name, purpose, scope: Scope::Build, sign: Sign::Programs(programs), packages }
}

impl Need {
    /// The package that contains it, if known.
    #[must_use]
    pub(crate) fn package(&self, manager: Manager) -> Option<&'static str> {
        Manager::ALL.iter().zip(self.packages).find(|(known, _)| **known == manager).and_then(|(_, package)| package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_has_a_package_for_every_need() {
        let packages: Vec<_> = ALL.iter().map(|need| need.package(Manager::Apt)).collect();
        let expected = [
            "qemu-system-x86",
            "apt",
            "dpkg",
            "debian-archive-keyring",
            "make",
            "gcc",
            "flex",
            "bison",
            "bc",
            "perl",
            "xz-utils",
            "libc6-dev",
            "libelf-dev",
            "git",
            "cpio",
            "kmod",
        ];
        assert_eq!(packages, expected.map(Some));
        assert_eq!(ALL[1].package(Manager::Zypper), None);
        assert_eq!(ALL[3].package(Manager::Dnf), Some("debian-keyring"));
    }
}
