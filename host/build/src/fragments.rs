//! Reads the fragments of an order.

use vmlab_store::regular;

use crate::error::BuildError;
use crate::fragment::{Fragment, Request};
use crate::library;
use crate::order::{BadOrder, FragmentName};

/// A whole `.config` of a distribution has 300 KB.
const LIMIT_BYTES: u64 = 4 << 20;

/// The symbols of other architectures (arch/*/Kconfig), which a config for one of them sets.
const ARCHITECTURES: [&str; 21] = [
    "CONFIG_ALPHA",
    "CONFIG_ARC",
    "CONFIG_ARM",
    "CONFIG_ARM64",
    "CONFIG_CSKY",
    "CONFIG_HEXAGON",
    "CONFIG_LOONGARCH",
    "CONFIG_M68K",
    "CONFIG_MICROBLAZE",
    "CONFIG_MIPS",
    "CONFIG_NIOS2",
    "CONFIG_OPENRISC",
    "CONFIG_PARISC",
    "CONFIG_PPC",
    "CONFIG_RISCV",
    "CONFIG_S390",
    "CONFIG_SUPERH",
    "CONFIG_SPARC",
    "CONFIG_UML",
    "CONFIG_X86_32",
    "CONFIG_XTENSA",
];

/// The fragments of an order, `base` first.
///
/// # Errors
/// A file cannot be read, or is no fragment for x86-64.
pub fn fragments(names: &[FragmentName]) -> Result<Vec<Fragment>, BuildError> {
    let base = FragmentName::Known(library::BASE.to_owned());
    let others = names.iter().filter(|name| **name != base);
    [&base].into_iter().chain(others).map(read).collect()
}

fn read(name: &FragmentName) -> Result<Fragment, BuildError> {
    let fragment = match name {
        FragmentName::Known(name) => library::find(name)
            .ok_or_else(|| BadOrder::Unknown { name: name.clone(), nearest: library::nearest(name) })??,
        FragmentName::Symbol { symbol, value } => {
            Fragment { name: format!("+{name}"), requests: vec![Request::always(symbol, value, true)] }
        }
        FragmentName::File(path) => {
            let text =
                regular::read(path, LIMIT_BYTES).map_err(|cause| BuildError::Fragment { path: path.clone(), cause })?;
            Fragment::parse(&path.display().to_string(), &String::from_utf8_lossy(&text))?
        }
    };
    let is_foreign = |request: &&Request| match request.value.as_str() {
        "y" => ARCHITECTURES.contains(&request.symbol.as_str()),
        "n" => request.symbol == "CONFIG_64BIT",
        _ => false,
    };
    match fragment.requests.iter().find(is_foreign) {
        Some(request) => Err(BuildError::Architecture { name: fragment.name, architecture: request.to_string() }),
        None => Ok(fragment),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::merge::Merged;

    fn file(text: &str) -> std::io::Result<(tempfile::TempDir, FragmentName)> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("my.config");
        fs::write(&path, text)?;
        Ok((dir, FragmentName::File(path)))
    }

    #[test]
    fn base_comes_first_and_once() -> Result<(), Box<dyn std::error::Error>> {
        let (_dir, mine) = file("CONFIG_A=y\n")?;
        let symbol = FragmentName::Symbol { symbol: "CONFIG_B".to_owned(), value: "n".to_owned() };
        let all = fragments(&[symbol, FragmentName::Known("base".to_owned()), mine.clone()])?;
        let names: Vec<_> = all.iter().map(|fragment| fragment.name.as_str()).collect();
        assert_eq!(names, ["base.config", "+CONFIG_B=n", &mine.to_string()]);
        assert!(all[1].requests[0].overrides);
        Ok(())
    }

    #[test]
    fn each_fragment_can_be_merged_in_each_version() -> Result<(), Box<dyn std::error::Error>> {
        let common = ["namespaces", "net", "cgroups", "checkpoint", "fs", "host-files", "security"];
        for version in ["5.10", "6.1", "6.12", "7.2"] {
            for (name, _) in library::list() {
                let names = common.into_iter().chain([name]).map(|name| FragmentName::Known(name.to_owned()));
                let merged = Merged::of(&fragments(&names.collect::<Vec<_>>())?, version.parse()?);
                merged.map_err(|error| format!("{name} on {version}: {error}"))?;
            }
        }
        Ok(())
    }

    #[test]
    fn files_that_are_no_fragments_are_named() -> Result<(), Box<dyn std::error::Error>> {
        for (text, part) in [
            ("CONFIG_ARM64=y\n", "is a config for CONFIG_ARM64=y"),
            ("CONFIG_64BIT=n\n", "is a config for CONFIG_64BIT=n"),
            ("CONFIG_X86_32=y\n", "is a config for CONFIG_X86_32=y"),
            ("#!/bin/sh\necho\n", "my.config:2: `echo` is no request"),
        ] {
            let (_dir, mine) = file(text)?;
            let error = fragments(&[mine]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(part), "{error}");
        }
        for path in ["/dev/zero", "/tmp"] {
            let error = fragments(&[FragmentName::File(path.into())]).err().map(|error| error.to_string());
            assert!(
                error.is_some_and(|error| error.starts_with(&format!("cannot read the fragment {path}: "))),
                "{path}"
            );
        }
        let unknown = fragments(&[FragmentName::Known("namespace".to_owned())]).err().map(|error| error.to_string());
        assert!(unknown.is_some_and(|error| error.contains("`namespaces` is the most similar")));
        let error = fragments(&[FragmentName::File("./none.config".into())]).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("./none.config") && error.contains("No such file")));
        Ok(())
    }
}
