//! The OpenWhisk front door: what `wsk`, `wskdeploy`, the SDKs and plugins of OpenWhisk speak.
