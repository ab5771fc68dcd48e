//! The directories of the cache and of run records, by the XDG Base Directory Specification.

use std::env;
use std::path::PathBuf;

/// vmlab's directories. None of them need exist yet.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// `$XDG_CACHE_HOME/vmlab`: kernels, images, templates, facts. The user may delete it at any time.
    pub cache: PathBuf,
    /// `$XDG_STATE_HOME/vmlab`: run records.
    pub state: PathBuf,
}

/// Neither the XDG variables nor `HOME` name a directory.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no directory for vmlab's files: neither {0} nor HOME is set to an absolute path; set one of them")]
pub struct NoHome(&'static str);

impl Dirs {
    /// Reads the environment, as the XDG Base Directory Specification (0.8) says: a relative path counts as unset.
    ///
    /// # Errors
    /// [`NoHome`] if no variable names a directory.
    pub fn from_env() -> Result<Self, NoHome> {
        let dir = |variable: &'static str, below_home: &str| {
            let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            absolute(variable)
                .or_else(|| absolute("HOME").map(|home| home.join(below_home)))
                .map(|dir| dir.join("vmlab"))
                .ok_or(NoHome(variable))
        };
        Ok(Self { cache: dir("XDG_CACHE_HOME", ".cache")?, state: dir("XDG_STATE_HOME", ".local/state")? })
    }
}
