//! Where a kernel's guests come from: forks of its template, which is made where there is none, or cold boots.

use super::lab::{Lab, Prepared};
use super::launch::{self, Origin, launch};
use super::save::{NotSaved, save_guest};
use crate::guest::inventory;
use vmlab_events::verdict::Verdict;
use vmlab_qemu::template::key::{Ingredients, Key};
use vmlab_qemu::template::{self, Draft, Found, Template, refusal};
use vmlab_store::cache::Room;
use vmlab_store::lock::Lock;
use vmlab_store::{CacheError, cache};

/// Where a kernel's guests come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Forks(Box<Template>),
    /// Forks cannot be had; the reason was told.
    ColdBoots,
}

/// A fork that did not come to life.
#[derive(Debug)]
pub(super) struct DeadFork {
    /// How it ended.
    pub(super) why: String,
    /// It was QEMU that would not have it.
    pub(super) refused: bool,
    /// Somebody else ended or stopped QEMU, which says nothing of the template.
    pub(super) by_others: bool,
}

/// Finds the kernel's template or makes it. The error is what came of a guest that never said hello.
pub(super) async fn source(lab: &Lab, prepared: &Prepared) -> Result<Source, Verdict> {
    if let Some(why) = refusal::recall(&lab.cache, &key(lab, prepared), &lab.qemu) {
        let why = format!("this QEMU has refused it before, which is {REMEMBERED}: {why}");
        return Ok(cold(lab, prepared, &why));
    }
    match find_or_make(lab, prepared).await {
        Ok(template) => {
            if !template.new {
                template.boot_notes.iter().for_each(|text| lab.emitter.notice(format!("{}: {text}", prepared.target)));
            }
            Ok(Source::Forks(template))
        }
        Err(NotSaved::NeverReady(verdict)) => Err(verdict),
        Err(NotSaved::Failed(why)) => Ok(cold(lab, prepared, &why)),
        Err(NotSaved::Refused(why)) => {
            let remembered = remember(lab, prepared, &why);
            Ok(cold(lab, prepared, &(why + &remembered)))
        }
    }
}

/// No forks from now on, as one of the template did not come to life.
pub(super) fn without_forks(lab: &Lab, prepared: &Prepared, template: &Template, dead: &DeadFork) -> Source {
    let DeadFork { why, refused, .. } = dead;
    let why = format!("a fork did not come to life: {why}");
    let remembered = if *refused && template.new { remember(lab, prepared, &why) } else { String::new() };
    cold(lab, prepared, &(why + &remembered))
}

/// How long a refusal of QEMU's is remembered, and what ends that.
const REMEMBERED: &str =
    "remembered until this machine is booted again or QEMU changes (`vmlab cache clear memos` forgets it)";

/// Remembers that this QEMU makes no forks of this guest, for the next run. Gives what is to be said of that.
fn remember(lab: &Lab, prepared: &Prepared, why: &str) -> String {
    match refusal::remember(&lab.cache, &key(lab, prepared), &lab.qemu, why) {
        Ok(true) => format!("; {REMEMBERED}"),
        Ok(false) => String::new(),
        Err(error) => format!("; not remembered: {error}"),
    }
}

/// No forks from now on. Says why, in one line.
fn cold(lab: &Lab, prepared: &Prepared, why: &str) -> Source {
    if lab.stopped().is_none() {
        let label = &prepared.target;
        lab.emitter.notice(format!("{label}: each guest is booted, none is forked: {why}"));
    }
    Source::ColdBoots
}

/// Takes a template away whose fork did not come to life; the next run makes a new one. Where another vmlab uses it, or
/// has made a new one meanwhile, it stays. Removing files can take a while, in which other guests are to be heard.
pub(super) async fn take_away(lab: &Lab, prepared: &Prepared) {
    let (cache, key) = (lab.cache.clone(), key(lab, prepared));
    match tokio::task::spawn_blocking(move || template::take_away(&cache, &key)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => lab.emitter.notice(error.to_string()),
        Err(error) => lab.emitter.notice(format!("a fault in vmlab itself: {error}")),
    }
}

fn key(lab: &Lab, prepared: &Prepared) -> Key {
    Key::of(&Ingredients {
        kernel_sha256: &prepared.boot_file.sha256,
        image_sha256: &prepared.image.sha256,
        machine: &prepared.machine,
        port_timeout_ms: launch::boot_of(lab, prepared).port_timeout_ms,
        append: lab.options.append.as_deref(),
        qemu: &lab.qemu,
    })
}

/// As [`template::find`]. The hello, which forks do not say again, is held against what was asked for as that of a guest
/// that boots is.
fn find(lab: &Lab, prepared: &Prepared, key: &Key) -> Result<Found, CacheError> {
    Ok(match template::find(&lab.cache, key)? {
        Found::Whole(template) => match inventory::check(&template.hello, &prepared.kernel, &prepared.machine) {
            Ok(()) => Found::Whole(template),
            Err(why) => Found::Damaged(format!("by what it says of itself {why}")),
        },
        other => other,
    })
}

async fn find_or_make(lab: &Lab, prepared: &Prepared) -> Result<Box<Template>, NotSaved> {
    let failed = |error: CacheError| NotSaved::Failed(error.to_string());
    let key = key(lab, prepared);
    let label = &prepared.target;
    if let Found::Whole(template) = find(lab, prepared, &key).map_err(failed)? {
        return Ok(template);
    }
    let lock_file = template::inventory::lock_path(&lab.cache, key.name());
    let lock = Lock::take(&lock_file, || {
        lab.emitter.notice(format!("{label}: waiting for another vmlab that makes the same template"));
    });
    let lock = tokio::select! {
        lock = lock => lock.map_err(failed)?,
        () = lab.cancel.cancelled() => return Err(NotSaved::Failed("the run was stopped".to_owned())),
    };
    // Whoever held the lock has made it, or what is there is damaged.
    match find(lab, prepared, &key).map_err(failed)? {
        Found::Whole(template) => return Ok(template),
        Found::Damaged(why) => lab.emitter.notice(format!("{label}: the template is made anew: {why}")),
        Found::Nothing => {}
    }
    let memory_bytes = u64::from(prepared.machine.memory_mib) << 20;
    let draft = Draft::new(&lab.cache, &key, memory_bytes).map_err(failed)?;
    let guest =
        launch(lab, prepared, &Origin::ToBeSaved(draft.ram())).map_err(|why| NotSaved::Failed(why.to_string()))?;
    let saved = save_guest(lab, prepared, guest, draft, &key).await;
    drop(lock);
    if saved.is_ok() {
        make_room(lab).await;
    }
    saved.map(Box::new)
}

/// Keeps the cache within its limit. All that this run uses is held, and stays. Removing files can take a while, in which
/// other guests are to be heard.
async fn make_room(lab: &Lab) {
    let (dir, limit) = (lab.cache.clone(), lab.options.cache_limit);
    match tokio::task::spawn_blocking(move || cache::keep_within(&dir, crate::cache::KINDS, limit)).await {
        Ok(Room { notices, over }) => {
            let over = over.filter(|_| lab.tells_of_limit());
            notices.into_iter().chain(over).for_each(|text| lab.emitter.notice(text));
        }
        Err(error) => lab.emitter.notice(format!("a fault in vmlab itself: {error}")),
    }
}
