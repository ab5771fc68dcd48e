//! Two guests whose network cards are linked to each other, and to nothing else.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use vmlab_events::event::JobReport;
use vmlab_protocol::message::Side;

use crate::attempts::AttemptEnd;

/// A guest's end of a link.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    pub(super) side: Side,
    /// A connected stream socket, for QEMU.
    pub(super) socket: OwnedFd,
    pub(super) reports: Rc<PairReports>,
}

/// The reports of two linked guests, which become one report on the job.
#[derive(Debug, Default)]
pub(crate) struct PairReports(RefCell<Vec<(Side, JobReport, AttemptEnd)>>);

impl PairReports {
    pub(super) fn add(&self, side: Side, report: JobReport, end: AttemptEnd) {
        self.0.borrow_mut().push((side, report, end));
    }

    /// Takes the report of this side.
    pub(crate) fn take(&self, side: Side) -> Option<(JobReport, AttemptEnd)> {
        let mut reports = self.0.borrow_mut();
        let at = reports.iter().position(|(of, ..)| *of == side)?;
        let (_, report, end) = reports.swap_remove(at);
        Some((report, end))
    }
}

/// The two ends of a new link, and what collects the reports of both.
///
/// # Errors
/// As socketpair(2): `EMFILE`, `ENFILE`.
pub(crate) fn new() -> io::Result<(LinkEnd, LinkEnd, Rc<PairReports>)> {
    let (first, second) = UnixStream::pair()?;
    let reports = Rc::new(PairReports::default());
    let end = |side, socket: UnixStream| LinkEnd { side, socket: socket.into(), reports: Rc::clone(&reports) };
    Ok((end(Side::First, first), end(Side::Second, second), reports))
}

/// A socket for the card of a guest that is to be saved, and its other end, which must stay open as long as QEMU runs: a guest whose
/// link ends sees a card without a carrier.
///
/// # Errors
/// As socketpair(2).
pub(super) fn to_nowhere() -> io::Result<(OwnedFd, OwnedFd)> {
    let (card, other) = UnixStream::pair()?;
    Ok((card.into(), other.into()))
}
