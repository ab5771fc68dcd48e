<<<<<<< HEAD
//! QEMU: its command line, its process, its monitor.

pub mod accel;
pub mod argv;
pub mod process;
pub mod qmp;
=======
//! QEMU: finding it, starting it.
>>>>>>> image
