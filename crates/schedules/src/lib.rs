//! Schedules: functions that are called by themselves.
