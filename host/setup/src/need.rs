//! What vmlab uses of a machine's programs and files, and the packages they come in.

use super::manager::Manager;
use vmlab_qemu::qemu;

/// How much is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What `vmlab` uses.
    Run,
    /// What the tests of vmlab's own source use as well.
    Tests,
}

/// How it shows that something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// All of these programs are in `PATH`.
    Programs(&'static [&'static str]),
    /// One of these files is there.
    AnyFile(&'static [&'static str]),
}

/// Something that is needed.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    /// As shown.
    pub name: &'static str,
    /// What it is for, as part of a sentence: `to run guests`.
    pub purpose: &'static str,
    /// Who needs it.
    pub scope: Scope,
    /// How it shows that it is there.
    pub sign: Sign,
    /// Package names in the order of [`Manager::ALL`]; none where no package is known.
    packages: [Option<&'static str>; 5],
}

/// QEMU.
pub const QEMU: Need = Need {
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

/// All of them.
pub const ALL: &[Need] = &[
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
    Need {
        name: "cpio",
        purpose: "for the tests of vmlab's own source",
        scope: Scope::Tests,
        sign: Sign::Programs(&["cpio"]),
        packages: [Some("cpio"); 5],
    },
];

impl Need {
    /// The package that it comes in, where one is known.
    #[must_use]
    pub fn package(&self, manager: Manager) -> Option<&'static str> {
        Manager::ALL.iter().zip(self.packages).find(|(known, _)| **known == manager).and_then(|(_, package)| package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_has_it_all() {
        let packages: Vec<_> = ALL.iter().map(|need| need.package(Manager::Apt)).collect();
        let expected = ["qemu-system-x86", "apt", "dpkg", "debian-archive-keyring", "cpio"];
        assert_eq!(packages, expected.map(Some));
        assert_eq!(ALL[1].package(Manager::Zypper), None);
        assert_eq!(ALL[3].package(Manager::Dnf), Some("debian-keyring"));
    }
}
