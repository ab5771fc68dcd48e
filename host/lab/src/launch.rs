//! Starting a guest: QEMU's arguments, its console's file, the events that tell of it.

use std::path::PathBuf;
use std::time::Instant;

use vmlab_protocol::message::Hello;

use super::console_log::ConsoleLog;
use super::inputs::{Inputs, Rest};
use super::lab::{Lab, Prepared};
use super::phases::{Kind, Moment, Recorder};
use vmlab_events::error::chain;
use vmlab_events::event::{GuestOutcome, LabEvent, NotNeeded};
use vmlab_events::verdict::{LaunchFailure, StartFailure};
use vmlab_qemu::argv::{self, Boot, Start};
use vmlab_qemu::process::QemuProcess;
use vmlab_qemu::template::Template;

/// How a guest is to come to be.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    Boot,
    /// By booting with its memory in this file.
    ToBeSaved(PathBuf),
    Fork(&'a Template),
}

/// A QEMU that was started, and has not been listened to yet.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) number: u32,
    pub(super) recorder: Recorder,
    pub(super) inputs: Inputs,
    pub(super) console: ConsoleLog,
    /// What its template said, where it is a fork.
    pub(super) hello: Option<Hello>,
}

impl Guest {
    /// Ends a guest that nothing was asked of, and tells of its end.
    pub(super) async fn dismiss(self, lab: &Lab, reason: NotNeeded) {
        let Self { number, mut recorder, inputs, mut console, .. } = self;
        // Up to here it waited for work.
        recorder.moment(Moment::Ordered);
        let Rest { console: bytes, told, .. } = inputs.end().await;
        recorder.end_of("end");
        told.iter().for_each(|told| recorder.told(told));
        console.push(&bytes);
        let (how, console_bytes) = (GuestOutcome::NotNeeded { reason }, console.bytes());
        lab.emitter.emit(LabEvent::GuestEnded { guest: number, how, console_bytes });
        recorder.finish(lab);
    }
}

/// The words of the guest's boot.
pub(super) fn boot_of<'a>(lab: &'a Lab, prepared: &'a Prepared) -> Boot<'a> {
    Boot {
        kernel: &prepared.boot_file.path,
        initrd: &prepared.image.path,
        port_timeout_ms: super::milliseconds(prepared.limits.port()),
        append: lab.options.append.as_deref(),
    }
}

/// Starts a guest. The error says why there is none.
pub(super) fn launch(lab: &Lab, prepared: &Prepared, origin: &Origin<'_>) -> Result<Guest, LaunchFailure> {
    let number = lab.next_guest();
    let boot = boot_of(lab, prepared);
    let fork_ram;
    let (kind, start) = match origin {
        Origin::Boot => (Kind::Boot, Start::Boot(boot)),
        Origin::ToBeSaved(ram) => (Kind::Template, Start::Template(boot, ram)),
        Origin::Fork(template) => {
            fork_ram = template.ram();
            (Kind::Fork, Start::Fork(&fork_ram))
        }
    };
    let arguments = argv::arguments(&prepared.machine, start, argv::DESCRIPTORS);
    let console_name = vmlab_store::record::console_name(number);
    let words = std::iter::once(lab.qemu.path.as_os_str()).chain(arguments.iter().map(AsRef::as_ref));
    lab.emitter.emit(LabEvent::GuestStarting {
        guest: number,
        target: prepared.target.clone(),
        start: kind.name().to_owned(),
        accelerator: prepared.machine.accelerator.name().to_owned(),
        argv: words.map(|word| word.to_string_lossy().into_owned()).collect(),
        console: console_name.clone(),
    });
    let console = ConsoleLog::create(lab.record_dir.as_deref().map(|dir| dir.join(console_name)).as_deref());
    let not_started = |error| (StartFailure::Process, chain(&error));
    let mut recorder = Recorder::new(number, prepared.target.clone(), kind, Instant::now());
    let started = match origin {
        Origin::Fork(template) => template
            .open_state()
            .map_err(|error| (StartFailure::TemplateState, error.to_string()))
            .and_then(|state| QemuProcess::start(&lab.qemu.path, &arguments, Some(state)).map_err(not_started)),
        Origin::Boot | Origin::ToBeSaved(_) => {
            QemuProcess::start(&lab.qemu.path, &arguments, None).map_err(not_started)
        }
    };
    match started {
        Ok(qemu) => {
            recorder.moment(Moment::Spawned);
            let hello = if let Origin::Fork(template) = origin { Some(template.hello.clone()) } else { None };
            Ok(Guest { number, recorder, inputs: Inputs::new(qemu), console, hello })
        }
        Err((step, error)) => {
            let reason = LaunchFailure::NotStarted { step, error };
            let how = GuestOutcome::NotStarted { reason: reason.clone() };
            lab.emitter.emit(LabEvent::GuestEnded { guest: number, how, console_bytes: 0 });
            Err(reason)
        }
    }
}
