//! Tests whether a kernel has the features of a sandbox. Only positive evidence counts as absence.

use std::path::Path;

use nix::errno::Errno;
use nix::sched::unshare;
use vmlab_protocol::catalogue::Namespace;

use super::plan::{clone_flag, file_name};
use super::{Sandbox, Trouble, cgroup};

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    Available,
    /// The evidence of absence: the call and its errno, or the missing file, for example `unshare(CLONE_NEWTIME):
    /// EINVAL`. EPERM is no evidence of absence.
    Missing(String),
}

impl Probe {
    /// The evidence of absence, or else what the next probe finds.
    ///
    /// # Errors
    /// As the next probe.
    pub(crate) fn and(self, next: impl FnOnce() -> Result<Self, Trouble>) -> Result<Self, Trouble> {
        match self {
            Self::Available => next(),
            missing @ Self::Missing(_) => Ok(missing),
        }
    }
}

/// See [`Sandbox::probe`].
pub(crate) fn probe(sandbox: &Sandbox) -> Result<Probe, Trouble> {
    if let Some(missing @ Probe::Missing(_)) = sandbox.cgroup.map(cgroup::probe).transpose()? {
        return Ok(missing);
    }
    // The user namespace comes last: it takes away the capabilities that the other namespaces need.
    let (user, others): (Vec<_>, Vec<_>) =
        sandbox.namespaces.iter().copied().partition(|namespace| *namespace == Namespace::User);
    for namespace in others.into_iter().chain(user) {
        let (flag, name) = clone_flag(namespace);
        let file = Path::new("/proc/self/ns").join(file_name(namespace));
        if let missing @ Probe::Missing(_) = judge(name, unshare(flag), &file, file.exists())? {
            return Ok(missing);
        }
    }
    Ok(Probe::Available)
}

/// Judges the answer of unshare(2). EINVAL and ENOSYS mean that the kernel does not know the flag; EPERM (no
/// capability) and ENOSPC (limit reached) come from kernels that know it.
///
/// A kernel without `CONFIG_CGROUPS` ignores `CLONE_NEWCGROUP` (include/linux/cgroup_namespace.h, `copy_cgroup_ns`), and has
/// no such file of namespaces(7) in /proc.
fn judge(name: &str, made: Result<(), Errno>, file: &Path, has_file: bool) -> Result<Probe, Trouble> {
    match made {
        Ok(()) if !has_file => {
            Ok(Probe::Missing(format!("unshare({name}) succeeds, and there is no {}", file.display())))
        }
        Ok(()) => Ok(Probe::Available),
        Err(errno @ (Errno::EINVAL | Errno::ENOSYS)) => Ok(Probe::Missing(format!("unshare({name}): {errno:?}"))),
        Err(errno) => Err(Trouble::new(format_args!(
            "unshare({name}): {errno}, which does not mean that the kernel lacks the namespace"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unknown_flag_or_call_means_absence() {
        let file = Path::new("/proc/self/ns/time");
        assert_eq!(judge("CLONE_NEWTIME", Ok(()), file, true), Ok(Probe::Available));
        let ignored = "unshare(CLONE_NEWTIME) succeeds, and there is no /proc/self/ns/time".to_owned();
        assert_eq!(judge("CLONE_NEWTIME", Ok(()), file, false), Ok(Probe::Missing(ignored)));
        for (errno, evidence) in
            [(Errno::EINVAL, "unshare(CLONE_NEWTIME): EINVAL"), (Errno::ENOSYS, "unshare(CLONE_NEWTIME): ENOSYS")]
        {
            assert_eq!(judge("CLONE_NEWTIME", Err(errno), file, false), Ok(Probe::Missing(evidence.to_owned())));
        }
        for errno in [Errno::EPERM, Errno::ENOSPC, Errno::EACCES, Errno::ENOMEM] {
            assert!(judge("CLONE_NEWTIME", Err(errno), file, true).is_err(), "{errno}");
        }
    }
}
