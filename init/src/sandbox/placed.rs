//! Where the processes of a sandbox really were: the namespaces that the keeper found to be new. The verdict on a leg must
//! not rest on the sandbox's description alone.

use std::cell::RefCell;
use std::fs;

use vmlab_protocol::catalogue::Namespace;

use super::plan::file_name;
use super::{During, Trouble};

thread_local! {
    /// For each watched sandbox that this process has entered, the new namespaces among the watched ones.
    static ENTERED: RefCell<Vec<Vec<Namespace>>> = const { RefCell::new(Vec::new()) };
}

/// Where a process is: the identity of its children's namespaces (namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement(Vec<(Namespace, String)>);

impl Placement {
    /// The calling process's placement among these namespaces.
    pub(crate) fn of_children(namespaces: &[Namespace]) -> Result<Self, Trouble> {
        let identity = |&namespace: &Namespace| {
            let file = format!("/proc/self/ns/{}", file_for_children(namespace));
            // A kernel without the namespace has no such file, and a PID namespace without an init none for children.
            let target = fs::read_link(&file).map(|target| target.to_string_lossy().into_owned());
            Ok((namespace, target.during(format_args!("readlink({file})"))?))
        };
        namespaces.iter().map(identity).collect::<Result<_, Trouble>>().map(Self)
    }

    /// The namespaces that differ from those of `before`.
    pub(crate) fn new_since(&self, before: &Self) -> Vec<Namespace> {
        let is_new = |entry: &&(Namespace, String)| !before.0.contains(entry);
        self.0.iter().filter(is_new).map(|(namespace, _)| *namespace).collect()
    }
}

/// Where a process is itself in another namespace than its children, the children's file has another name.
fn file_for_children(namespace: Namespace) -> String {
    let suffix = if matches!(namespace, Namespace::Time | Namespace::Pid) { "_for_children" } else { "" };
    format!("{}{suffix}", file_name(namespace))
}

/// Records that a process has entered a watched sandbox.
pub(crate) fn record(new: Vec<Namespace>) {
    ENTERED.with_borrow_mut(|entered| entered.push(new));
}

/// Whether each process that entered the watched sandbox was in all of these new namespaces, and there was one. Forgets the
/// records.
pub(crate) fn all_in(namespaces: &[Namespace]) -> bool {
    let entered = ENTERED.take();
    !entered.is_empty() && entered.iter().all(|new| namespaces.iter().all(|namespace| new.contains(namespace)))
}
