//! The end of the program if there is no process.
#![expect(unsafe_code, reason = "`safe_call`, and a call that does not return")]

use vmlab_thaw_image::NOT_THAWED;

use crate::failure::{Failure, LINE_LIMIT};
use crate::kernel::{call, safe_call, six};

/// Prints why there is no process, and exits.
pub fn fail(failure: &Failure) -> ! {
    let mut line = [0; LINE_LIMIT];
    let length = failure.line(&mut line);
    // If standard error is closed, the exit status says it alone.
    let _ = safe_call!("", SYS_write, 2, line.as_ptr(), length);
    loop {
        // SAFETY: the process ends.
        unsafe { call(libc::SYS_exit_group, six([NOT_THAWED.unsigned_abs() as usize])) };
    }
}
