//! Renderings of the events of a run.
