//! Tests of the producer as a whole; those of single parts stand beside them.

mod cluster;
mod lifecycle;
mod model;
mod outcomes;
