//! The rules: pure decisions. Whatever depends on time or chance takes it as an argument.

pub mod traffic;
