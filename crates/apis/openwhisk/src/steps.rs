//! What sequences and conductors are made of.
