//! Tests of the producer as a whole; those of single parts stand beside them.

mod cluster;
mod gathering;
mod lifecycle;
mod model;
mod outcomes;
