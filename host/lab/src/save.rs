//! Making a template of a guest: booted up to its hello, saved, and kept once its QEMU has ended.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::executor::{Drive, GuestRun, describe};
use super::inputs::{Input, Inputs};
use super::lab::{Lab, Prepared};
use super::launch::Guest;
use crate::verdict::evidence::GuestLoss;
use vmlab_events::error::chain;
use vmlab_events::verdict::Verdict;
use vmlab_qemu::qmp::{QmpError, QmpEvent};
use vmlab_qemu::template::key::Key;
use vmlab_qemu::template::{Draft, Template};

/// Saving takes some 15 ms.
const LIMIT: Duration = Duration::from_secs(30);

/// Why there is no template.
#[derive(Debug)]
pub(super) enum NotSaved {
    /// The guest never said hello.
    NeverReady(Verdict),
    /// It did, and could not be saved or kept.
    Failed(String),
    /// It did, and QEMU would not save it.
    Refused(String),
}

/// Runs a guest up to its hello and makes it the template of the key. QEMU has ended when this returns. The error is what
/// a guest that never said hello came to, or why one that did is no template.
pub(super) async fn save_guest(
    lab: &Lab,
    prepared: &Prepared,
    guest: Guest,
    draft: Draft,
    key: &Key,
) -> Result<Template, NotSaved> {
    let (mut drive, mut inputs) = Drive::new(lab, prepared, guest, Vec::new());
    let loss = drive.serve(&mut inputs).await;
    let (Some(hello), None) = (drive.hello.clone(), &loss) else {
        let interrupted = loss == Some(GuestLoss::Interrupted);
        let (run, recorder) = drive.end(inputs, loss).await;
        recorder.finish(lab);
        return Err(match run {
            GuestRun::NeverReady(verdict, _) if !interrupted => NotSaved::NeverReady(verdict),
            GuestRun::ForkFailed(dead, _) => NotSaved::Failed(dead.why),
            _ => NotSaved::Failed("the run was stopped".to_owned()),
        });
    };
    let saved = match tokio::time::timeout(LIMIT, save(&mut inputs, &mut drive, &draft)).await {
        Ok(saved) => saved,
        Err(_) => Err(NotSaved::Failed(format!("it was not saved within {} s", LIMIT.as_secs()))),
    };
    drive.recorder.end_of("save");
    // It is paused, so that this is all that it said. What a fork would not show of a broken kernel, nobody would see.
    drive.note_late(&inputs.console_now());
    let saved = saved.and_then(|()| match drive.ledger.console.reader.crash() {
        Some(crash) => Err(NotSaved::Failed(format!("its kernel broke after its hello: {}", crash.title))),
        None => Ok(()),
    });
    let boot_notes = std::mem::take(&mut drive.boot_notes);
    let (_, mut recorder) = drive.end(inputs, None).await;
    let published = saved.and_then(|()| {
        let published = draft.publish(&lab.cache, key, *hello, boot_notes);
        recorder.end_of("keep");
        published.map_err(|error| NotSaved::Failed(error.to_string()))
    });
    recorder.finish(lab);
    published
}

async fn save(inputs: &mut Inputs, drive: &mut Drive<'_>, draft: &Draft) -> Result<(), NotSaved> {
    let failed = NotSaved::Failed;
    let state = draft.create_state().map_err(|error| failed(error.to_string()))?;
    let qmp = inputs.monitor().await.map_err(|error| failed(chain(&error)))?;
    qmp.save(&state).await.map_err(|error| match error {
        QmpError::Refused { .. } => NotSaved::Refused(chain(&error)),
        _ => failed(chain(&error)),
    })?;
    // Its own limit is the caller's.
    let far = Instant::now() + LIMIT * 2;
    loop {
        let event = match inputs.next(far, &CancellationToken::new()).await {
            Ok(Input::Qmp(told)) => told.event,
            Ok(Input::Console(bytes)) => {
                drive.ledger.console.push(&bytes);
                continue;
            }
            Ok(Input::Exited(status)) => return Err(failed(format!("QEMU {}", describe(status)))),
            Ok(_) => continue,
            Err(error) => return Err(failed(format!("the host cannot read from QEMU: {error}"))),
        };
        match event {
            QmpEvent::Migration { status } if status == "completed" => return Ok(()),
            QmpEvent::Migration { status } if status == "failed" => {
                // It may be the disk that is full.
                return Err(failed("QEMU says that the migration failed".to_owned()));
            }
            QmpEvent::GuestPanicked | QmpEvent::Shutdown(_) | QmpEvent::Reset(_) => {
                return Err(failed("the guest came to its end while it was saved".to_owned()));
            }
            QmpEvent::Reply { command, error: Some(error) } => {
                return Err(NotSaved::Refused(format!("QEMU refused {command}: {error}")));
            }
            _ => {}
        }
    }
}
