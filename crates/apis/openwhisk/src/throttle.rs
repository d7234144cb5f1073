//! How often namespaces may call.
