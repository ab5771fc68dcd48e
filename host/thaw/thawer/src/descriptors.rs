//! Makes the descriptors of the frozen process.
#![expect(unsafe_code, reason = "`safe_call`")]

use vmlab_thaw_image::descriptor::{Descriptor, Kind};
use vmlab_thaw_image::image::Image;
use vmlab_thaw_image::{DESCRIPTORS_LIMIT, IMAGE_FD, NODES_LIMIT, RAM_FD};

use crate::failure::Failure;
use crate::kernel::{close_range, descriptor as number_of, safe_call};

/// The flags that eventfd2(2) and signalfd4(2) take, and those that fcntl(2) can set later.
const CREATION: i32 = libc::O_NONBLOCK | libc::O_CLOEXEC;

/// Gives each descriptor its number. The image and the guest's memory are closed, except for descriptors of the process.
pub(crate) fn restore(image: &Image<'static>) -> Result<(), Failure> {
    let least = IMAGE_FD + 1 + NODES_LIMIT.cast_signed();
    let above = image.descriptors().flatten().map(|descriptor| descriptor.number.cast_signed() + 1);
    let above = above.fold(least, i32::max);
    // First out of the way of all numbers that are needed.
    let mut moved = [-1; DESCRIPTORS_LIMIT];
    for (descriptor, moved) in image.descriptors().zip(&mut moved) {
        let inherited = match descriptor?.kind {
            Kind::Inherited { number } => number.cast_signed(),
            Kind::Ram { node } => RAM_FD + node.cast_signed(),
            Kind::EventFd { .. } | Kind::SignalFd { .. } | Kind::Duplicate { .. } => continue,
        };
        let duplicate = safe_call!("a descriptor is missing", SYS_fcntl, inherited, libc::F_DUPFD_CLOEXEC, above)?;
        *moved = number_of(duplicate);
    }
    close_range(3, above.cast_unsigned() - 1)?;
    for (descriptor, moved) in image.descriptors().zip(moved) {
        make(&descriptor?, moved)?;
    }
    close_range(above, u32::MAX)
}

fn make(descriptor: &Descriptor, moved: i32) -> Result<(), Failure> {
    let Descriptor { number, flags, kind } = *descriptor;
    let (number, flags) = (number.cast_signed(), flags.cast_signed());
    let made = match kind {
        Kind::EventFd { count, semaphore } => {
            // The counter has 64 bits, and eventfd2(2) sets 32 of them.
            let initial = u32::try_from(count).map_err(|_| Failure::new("an eventfd has counted too far", 0))?;
            let semaphore = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
            number_of(safe_call!("cannot make an eventfd", SYS_eventfd2, initial, flags & CREATION | semaphore)?)
        }
        Kind::SignalFd { mask } => {
            let mask: *const u64 = &raw const mask;
            number_of(safe_call!("cannot make a signalfd", SYS_signalfd4, -1_i32, mask, 8, flags & CREATION)?)
        }
        Kind::Inherited { .. } | Kind::Ram { .. } => moved,
        Kind::Duplicate { of } => of.cast_signed(),
    };
    if made != number {
        safe_call!("cannot number a descriptor", SYS_dup3, made, number, flags & libc::O_CLOEXEC)?;
        if matches!(kind, Kind::EventFd { .. } | Kind::SignalFd { .. }) {
            safe_call!("cannot close a descriptor", SYS_close, made)?;
        }
    }
    if matches!(kind, Kind::Inherited { .. }) {
        safe_call!("cannot set a descriptor's flags", SYS_fcntl, number, libc::F_SETFL, flags)?;
    }
    Ok(())
}
