//! QEMU: finding it, starting it.
