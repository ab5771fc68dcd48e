//! set-up
