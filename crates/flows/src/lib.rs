//! Flows: calls that are made of calls, journalled.
