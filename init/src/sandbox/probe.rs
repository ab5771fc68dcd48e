//! Whether a kernel has what a sandbox is made of. Only positive evidence counts as absence.

use nix::errno::Errno;
use nix::sched::unshare;
use vmlab_protocol::catalogue::Namespace;

use super::plan::clone_flag;
use super::{Sandbox, Trouble, cgroup};

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The feature is there.
    Available,
    /// Positively not there: the call and its errno, or the missing file, as `unshare(CLONE_NEWTIME): EINVAL`. EPERM is
    /// never that.
    Missing(String),
}

/// See [`Sandbox::probe`].
pub fn probe(sandbox: &Sandbox) -> Result<Probe, Trouble> {
    if let Some(missing @ Probe::Missing(_)) = sandbox.cgroup.map(cgroup::probe).transpose()? {
        return Ok(missing);
    }
    // A new user namespace comes last: it takes away the rights that the others need outside of one.
    let (user, others): (Vec<_>, Vec<_>) =
        sandbox.namespaces.iter().copied().partition(|namespace| *namespace == Namespace::User);
    for namespace in others.into_iter().chain(user) {
        let (flag, name) = clone_flag(namespace);
        if let missing @ Probe::Missing(_) = judge(name, unshare(flag))? {
            return Ok(missing);
        }
    }
    Ok(Probe::Available)
}

/// What unshare(2)'s answer says of a namespace: EINVAL and ENOSYS are those of a kernel that does not know the flag;
/// EPERM (rights) and ENOSPC (a limit was reached) come from one that does.
fn judge(name: &str, made: Result<(), Errno>) -> Result<Probe, Trouble> {
    match made {
        Ok(()) => Ok(Probe::Available),
        Err(errno @ (Errno::EINVAL | Errno::ENOSYS)) => Ok(Probe::Missing(format!("unshare({name}): {errno:?}"))),
        Err(errno) => Err(Trouble(format!("unshare({name}): {errno}, which does not say that the kernel lacks it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unknown_flag_or_call_is_absence() {
        assert_eq!(judge("CLONE_NEWTIME", Ok(())), Ok(Probe::Available));
        for (errno, evidence) in
            [(Errno::EINVAL, "unshare(CLONE_NEWTIME): EINVAL"), (Errno::ENOSYS, "unshare(CLONE_NEWTIME): ENOSYS")]
        {
            assert_eq!(judge("CLONE_NEWTIME", Err(errno)), Ok(Probe::Missing(evidence.to_owned())));
        }
        for errno in [Errno::EPERM, Errno::ENOSPC, Errno::EACCES, Errno::ENOMEM] {
            assert!(judge("CLONE_NEWTIME", Err(errno)).is_err(), "{errno}");
        }
    }
}
