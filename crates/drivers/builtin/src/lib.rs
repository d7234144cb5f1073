//! The `builtin` driver: functions that are part of the server ([`xebec_core::ports::builtin`]).
