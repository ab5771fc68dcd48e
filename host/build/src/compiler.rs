//! The tools of a build: which compiler the kernel's build is given, and what identifies it.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tools without which no kernel can be built, and Debian's packages that contain them.
pub const TOOLS: [(&str, &str); 6] =
    [("make", "make"), ("flex", "flex"), ("bison", "bison"), ("bc", "bc"), ("perl", "perl"), ("ld", "binutils")];

/// The packages of headers that programs of the kernel's build need.
pub const LIBRARIES: [(&str, &str); 2] = [("gelf.h", "libelf-dev"), ("openssl/", "libssl-dev")];

/// The compiler of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The variables that make gets, for example `CC=ccache gcc`.
    pub variables: Vec<OsString>,
    /// What identifies compiler and linker: the first line of what each says of its version, and the flags of the environment.
    pub identity: String,
}

/// Tools are missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a kernel cannot be built here, because {} {} missing: {}",
    .tools.join(", "),
    if .tools.len() == 1 { "is" } else { "are" },
    remedies(.packages, .chosen_by)
)]
pub struct Missing {
    /// The names of the programs.
    pub tools: Vec<String>,
    /// The packages that have those of them that the user has not chosen, each once.
    packages: Vec<String>,
    /// The variable of the environment that asks for the others.
    chosen_by: Option<&'static str>,
}

fn remedies(packages: &[String], chosen_by: &Option<&'static str>) -> String {
    let doctor = Some(packages).filter(|packages| !packages.is_empty());
    let doctor = doctor.map(|packages| format!("`vmlab doctor --fix --build` installs {}", packages.join(", ")));
    let chosen = chosen_by.map(|variable| format!("install what {variable} asks for, or unset {variable}"));
    doctor.into_iter().chain(chosen).collect::<Vec<_>>().join("; ")
}

/// The settings of the environment that the kernel's build knows (Documentation/kbuild/llvm.rst, kbuild.rst).
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `LLVM`: `1`, a suffix as `-15`, or a folder that ends with a slash.
    pub llvm: Option<String>,
    /// `CC`: the compiler.
    pub cc: Option<String>,
    /// The folders of programs: `PATH`.
    pub path: OsString,
    /// The flags that change every object file, as `KCFLAGS=-Og`.
    pub flags: Vec<String>,
}

/// Flags that the kernel's build adds to its own (Documentation/kbuild/kbuild.rst).
const FLAGS: [&str; 5] = ["KCPPFLAGS", "KAFLAGS", "KCFLAGS", "KRUSTFLAGS", "HOSTCFLAGS"];

impl Settings {
    /// The settings of this process.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        Self {
            llvm: set("LLVM").filter(|llvm| llvm != "0"),
            cc: set("CC"),
            path: env::var_os("PATH").unwrap_or_default(),
            flags: FLAGS.iter().filter_map(|name| Some(format!("{name}={}", set(name)?))).collect(),
        }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        let is_program =
            |path: &Path| path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        if program.contains('/') {
            return Some(PathBuf::from(program)).filter(|path| is_program(path));
        }
        env::split_paths(&self.path).map(|dir| dir.join(program)).find(|path| is_program(path))
    }

    /// The names of compiler and linker.
    fn names(&self) -> (String, String) {
        let of_llvm = |tool: &str| match self.llvm.as_deref() {
            Some(suffix) if suffix.starts_with('-') => format!("{tool}{suffix}"),
            Some(folder) if folder.ends_with('/') => format!("{folder}{tool}"),
            _ => tool.to_owned(),
        };
        let (compiler, linker) = match self.llvm {
            Some(_) => (of_llvm("clang"), of_llvm("ld.lld")),
            None => ("gcc".to_owned(), "ld".to_owned()),
        };
        (self.cc.clone().unwrap_or(compiler), linker)
    }

    /// The variable that chooses a program; None for vmlab's own choice.
    fn chooses(&self, program: &str, linker: &str) -> Option<&'static str> {
        let in_cc = self.cc.as_ref().is_some_and(|cc| cc.split_whitespace().any(|word| word == program));
        let in_llvm = self.llvm.is_some() && (self.cc.is_none() || program == linker);
        if in_cc { Some("CC") } else { in_llvm.then_some("LLVM") }
    }
}

impl Compiler {
    /// Finds the compiler, and makes sure that the other tools are there.
    ///
    /// # Errors
    /// [`Missing`]
    pub fn find(settings: &Settings) -> Result<Self, Missing> {
        let (compiler, linker) = settings.names();
        // CC may have arguments, as `ccache gcc` has.
        let words: Vec<&str> = compiler.split_whitespace().collect();
        let of_compiler = words.iter().copied().filter(|word| !word.starts_with('-')).chain([linker.as_str()]);
        let chosen = of_compiler.map(|tool| (tool, "gcc", settings.chooses(tool, &linker)));
        let others = TOOLS.into_iter().filter(|(tool, _)| *tool != "ld").map(|(tool, package)| (tool, package, None));
        let missing: Vec<_> = others.chain(chosen).filter(|(tool, ..)| settings.find(tool).is_none()).collect();
        if !missing.is_empty() {
            let mut packages: Vec<_> = missing.iter().filter(|(.., by)| by.is_none()).map(|(_, of, _)| *of).collect();
            packages.dedup();
            return Err(Missing {
                tools: missing.iter().map(|(tool, ..)| (*tool).to_owned()).collect(),
                packages: packages.into_iter().map(str::to_owned).collect(),
                chosen_by: missing.iter().find_map(|(.., by)| *by),
            });
        }
        let version = |words: &[&str]| first_line(words).unwrap_or_else(|error| format!("unknown ({error})"));
        let mut identity = vec![version(&words), version(&[&linker])];
        identity.extend(settings.flags.iter().cloned());
        let cached = settings.find("ccache").is_some() && !words.contains(&"ccache");
        let cc = if cached { format!("ccache {compiler}") } else { compiler };
        let variables = [Some(format!("CC={cc}")), settings.llvm.as_ref().map(|llvm| format!("LLVM={llvm}"))];
        Ok(Self {
            variables: variables.into_iter().flatten().map(OsString::from).collect(),
            identity: identity.join("\n"),
        })
    }
}

/// The first line that a program prints about its version.
fn first_line(words: &[&str]) -> io::Result<String> {
    let (program, args) = words.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
    let output = Command::new(program).args(args).arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with programs that print their name.
    fn programs(names: &[&str]) -> io::Result<(tempfile::TempDir, Settings)> {
        let dir = tempfile::tempdir()?;
        for name in names {
            let path = dir.path().join(name);
            fs::write(&path, "#!/bin/sh\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        let settings = Settings { path: dir.path().into(), ..Settings::default() };
        Ok((dir, settings))
    }

    const ALL: [&str; 7] = ["make", "flex", "bison", "bc", "perl", "ld", "gcc"];

    #[test]
    fn missing_tools_are_named_with_their_packages() -> io::Result<()> {
        let (_dir, settings) = programs(&["make", "bc", "perl", "gcc"])?;
        let error = Compiler::find(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("flex, bison, ld are missing"), "{error}");
        assert!(error.ends_with("installs flex, bison, gcc"), "{error}");
        Ok(())
    }

    #[test]
    fn the_environment_chooses_the_compiler() -> io::Result<()> {
        let (_dir, settings) = programs(&ALL)?;
        let variables = |settings: &Settings| Compiler::find(settings).map(|compiler| compiler.variables);
        assert_eq!(variables(&settings), Ok(vec!["CC=gcc".into()]));
        let (_dir, settings) = programs(&[&ALL[..], &["ccache", "clang-15", "ld.lld-15", "gcc-9"]].concat())?;
        assert_eq!(variables(&settings), Ok(vec!["CC=ccache gcc".into()]));
        let llvm = Settings { llvm: Some("-15".to_owned()), ..settings.clone() };
        assert_eq!(variables(&llvm), Ok(vec!["CC=ccache clang-15".into(), "LLVM=-15".into()]));
        let own = Settings { cc: Some("ccache gcc-9 -m64".to_owned()), ..settings.clone() };
        assert_eq!(variables(&own), Ok(vec!["CC=ccache gcc-9 -m64".into()]));
        let identity = |settings: &Settings| Compiler::find(settings).map(|compiler| compiler.identity);
        let flags = Settings { flags: vec!["KCFLAGS=-Og".to_owned()], ..settings.clone() };
        assert_ne!(identity(&flags), identity(&settings));
        let error = |settings: Settings| variables(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        let llvm = error(Settings { llvm: Some("1".to_owned()), ..settings.clone() });
        assert!(llvm.ends_with("clang, ld.lld are missing: install what LLVM asks for, or unset LLVM"), "{llvm}");
        let cc = error(Settings { cc: Some("ccache nosuchcc".to_owned()), ..settings });
        assert!(cc.ends_with("nosuchcc is missing: install what CC asks for, or unset CC"), "{cc}");
        Ok(())
    }
}
