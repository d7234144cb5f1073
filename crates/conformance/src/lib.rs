//! One suite per port, to be run over every implementation of it.
