//! Starts a guest: QEMU's arguments, the console's file, the event.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use tracing::info_span;
use vmlab_events::error::chain;
use vmlab_events::event::{GuestOutcome, LabEvent};
use vmlab_events::verdict::{LaunchFailure, StartFailure};
use vmlab_qemu::argv::{self, Boot};
use vmlab_qemu::frozen::Frozen;
use vmlab_qemu::process::{Inherited, QemuProcess};
use vmlab_qemu::quirks;
use vmlab_qemu::template::Template;
use vmlab_store::record::console_name;

use super::channels::Channels;
use super::console_file::ConsoleFile;
use super::debugger::DebuggerSocket;
use super::driver::Guest;
use super::files;
use super::link::{self, LinkEnd};
use super::machine::GuestMachine;
use super::secrets::Secrets;
use super::timings::Start;
use crate::context::RunContext;
use crate::target::BootableTarget;

/// The way in which a guest starts.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    Boot,
    /// A boot that will be saved, with its memory in these files. With an image, its QEMU will be frozen.
    ToBeSaved(Vec<PathBuf>, Option<File>),
    /// A fork. It thaws if the template has a frozen QEMU.
    Fork(&'a Template),
}

impl Origin<'_> {
    const fn start(&self) -> Start {
        match self {
            Self::Boot => Start::Boot,
            Self::ToBeSaved(..) => Start::Template,
            Self::Fork(template) if template.frozen.is_some() => Start::Thaw,
            Self::Fork(_) => Start::Fork,
        }
    }
}

/// A guest whose QEMU was started.
struct Started {
    qemu: QemuProcess,
    secrets: Secrets,
    debugger: Option<DebuggerSocket>,
    /// The other end of a link to nowhere.
    link_held: Option<OwnedFd>,
}

/// The boot parameters of the target's guests.
pub(crate) fn boot_of(bootable: &BootableTarget) -> Boot<'_> {
    Boot {
        kernel: &bootable.boot_file.path,
        initrd: &bootable.image.path,
        port_timeout_ms: crate::milliseconds(bootable.target.limits.port()),
        append: bootable.target.append.as_deref(),
    }
}

/// Starts a guest.
///
/// # Errors
/// QEMU or one of its channels could not be started.
pub(crate) fn launch(run: &RunContext, bootable: &BootableTarget, origin: &Origin<'_>) -> Result<Guest, LaunchFailure> {
    launch_linked(run, bootable, origin, None)
}

/// What the freezer or the thawer of a guest needs.
fn frozen(origin: &Origin<'_>, guest: u32) -> std::io::Result<Option<Frozen>> {
    Ok(match origin {
        Origin::ToBeSaved(ram, Some(image)) => Some(Frozen::Written { image: image.try_clone()?, ram: ram.clone() }),
        Origin::Fork(template) => match &template.frozen {
            Some(frozen) => {
                let (image, ram) = template.open_frozen()?;
                let title = format!("vmlab-guest-{guest}");
                Some(Frozen::Thawed { image, ram, title, greeting: frozen.greeting.clone() })
            }
            None => None,
        },
        Origin::Boot | Origin::ToBeSaved(_, None) => None,
    })
}

/// Starts a guest with this end of a link to another.
///
/// # Errors
/// As [`launch`].
pub(crate) fn launch_linked(
    run: &RunContext,
    bootable: &BootableTarget,
    origin: &Origin<'_>,
    end: Option<LinkEnd>,
) -> Result<Guest, LaunchFailure> {
    let (number, target, start) = (run.next_guest(), &bootable.target, origin.start());
    let accelerator = target.machine.accelerator;
    let boot = boot_of(bootable);
    let fork_ram;
    let arguments = match origin {
        Origin::Boot => argv::Start::Boot(boot),
        Origin::ToBeSaved(ram, _) => argv::Start::Template(boot, ram),
        Origin::Fork(template) => {
            fork_ram = template.ram();
            argv::Start::Fork(&fork_ram)
        }
    };
    let debugged = target.debugger && !matches!(origin, Origin::ToBeSaved(..));
    let for_debugger = debugged.then(|| argv::debugger(arguments, argv::DESCRIPTORS)).into_iter().flatten();
    let mut arguments = argv::arguments(&target.machine, run.qemu.version, arguments, argv::DESCRIPTORS);
    arguments.extend(for_debugger);
    let console_name = console_name(number);
    let words = std::iter::once(run.qemu.path.as_os_str()).chain(arguments.iter().map(AsRef::as_ref));
    let span = info_span!("guest", guest = number, target = target.id.as_str(), start = start.name());
    run.emitter.emit(LabEvent::GuestStarting {
        guest: number,
        target: target.id.clone(),
        start: start.name().to_owned(),
        accelerator: accelerator.name().to_owned(),
        argv: words.map(|word| word.to_string_lossy().into_owned()).collect(),
        quirks: quirks::in_force(accelerator, run.qemu.version, target.machine.cpus)
            .map(|quirk| quirk.name.to_owned())
            .collect(),
        console: console_name.clone(),
    });
    let console = ConsoleFile::create(run.record_dir.as_deref().map(|dir| dir.join(console_name)).as_deref());
    let began = Instant::now();
    let (side, reports) = end.as_ref().map(|end| (end.side, Rc::clone(&end.reports))).unzip();
    let started = || -> Result<Started, (StartFailure, String)> {
        let secrets = Secrets::draw().map_err(|error| (StartFailure::Entropy, error.to_string()))?;
        let state = match origin {
            Origin::Fork(template) if template.frozen.is_none() => {
                Some(template.open_state().map_err(|error| (StartFailure::TemplateState, error.to_string()))?)
            }
            Origin::Boot | Origin::ToBeSaved(..) | Origin::Fork(_) => None,
        };
        let frozen = frozen(origin, number).map_err(|error| (StartFailure::TemplateState, error.to_string()))?;
        let files = target.files.as_ref().map(files::serve).transpose();
        let files = files.map_err(|error| (StartFailure::Files, error.to_string()))?;
        let socket = debugged.then(DebuggerSocket::listen).transpose();
        let (socket, debugger) = socket.map_err(|error| (StartFailure::Debugger, error.to_string()))?.unzip();
        // A guest that is saved is linked to nothing yet.
        let (link, link_held) = match end {
            Some(end) => (Some(end.socket), None),
            None => target
                .machine
                .link
                .then(link::to_nowhere)
                .transpose()
                .map_err(|error| (StartFailure::Link, error.to_string()))?
                .unzip(),
        };
        let qemu = QemuProcess::start(&run.qemu.path, &arguments, Inherited { state, files, debugger, link, frozen })
            .map_err(|error| (StartFailure::Process, chain(&error)))?;
        Ok(Started { qemu, secrets, debugger: socket, link_held })
    };
    match span.in_scope(started) {
        Ok(Started { qemu, secrets, debugger, link_held }) => {
            let boot = if let Origin::Fork(template) = origin { Some(template.boot.clone()) } else { None };
            let mut machine = Box::new(GuestMachine::new(number, Rc::clone(target), start, secrets, boot, began));
            machine.spawned(Instant::now());
            if let Some(side) = side {
                machine.be_one_of_two(side);
            }
            let reports = side.zip(reports);
            let memory_mib = target.machine.memory_mib;
            let channels = Box::new(Channels::new(qemu));
            Ok(Guest { machine, channels, console, debugger, memory_mib, span, reports, _link_held: link_held })
        }
        Err((step, error)) => {
            let reason = LaunchFailure::NotStarted { step, error };
            let how = GuestOutcome::NotStarted { reason: reason.clone() };
            run.emitter.emit(LabEvent::GuestEnded { guest: number, how, console_bytes: 0 });
            Err(reason)
        }
    }
}
