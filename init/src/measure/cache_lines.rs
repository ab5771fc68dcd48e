//! What CPUs pay for the counters of a namespace that they use at the same time.

use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use vmlab_protocol::catalogue::Namespace;

use super::Measure;
use super::member::Member;
use super::meter::{Meter, Operation, in_child, time};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Trouble, note, pin_to};

const SANDBOX: Sandbox = Sandbox::none().with_namespaces(&[Namespace::Net]);

pub(super) const CACHE_LINES: Measure = Measure {
    id: "measure.cache-lines",
    title: "The cost of socket(2) while another CPU opens sockets in the same network namespace",
    steps: &[
        "A process on the second CPU opens and closes sockets all the time. On the first CPU, in the same network \
         namespace: the time of a loop of socket(2) and close(2).",
        "Baseline: the same while the other process is in a network namespace of its own.",
        "Both count the references to their namespace, so that the cache line with the counter moves between the CPUs.",
    ],
    source: "network_namespaces(7)",
    config: &["CONFIG_NET_NS", "CONFIG_INET"],
    since: (5, 3, 0),
    modules: &[],
    cpus: 2,
    probe: || SANDBOX.probe(),
    measure: cache_lines,
};

fn cache_lines(meter: &mut Meter) -> Result<(), Trouble> {
    let operation = "socket and close, beside another CPU in the same net namespace";
    let shared = meter.shared();
    let has_one = || in_child(&shared, || pin_to(1).map(|()| 0)).is_err();
    if meter.counts_instructions() || has_one() {
        let why = "cache lines move between CPUs, and this machine has one, or counts instructions and has no caches";
        meter.cannot_show(operation, why);
        return Ok(());
    }
    let beside = |flags, times| {
        in_child(&shared, || {
            pin_to(0)?;
            let _other = Member::busy(
                flags,
                || pin_to(1),
                || {
                    if let Err(trouble) = open_and_close() {
                        note(format_args!("on the other CPU: {trouble}"));
                    }
                },
            )?;
            open_and_close()?;
            time(|| (0..times).try_for_each(|_| open_and_close()))
        })
    };
    let mut same = |times| beside(CloneFlags::empty(), times);
    let mut apart = |times| beside(CloneFlags::CLONE_NEWNET, times);
    meter.compare(Operation::new(operation, &mut same), Operation::new("the same beside one in another", &mut apart))
}

fn open_and_close() -> Result<(), Trouble> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None).during("socket(AF_INET)").map(drop)
}
