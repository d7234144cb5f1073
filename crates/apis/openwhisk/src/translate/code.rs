//! Code as it is sent, and as it is kept.

use crate::wire::exec::is_base64;
use base64::{Engine as _, engine::general_purpose};
use bytes::Bytes;
use xebec_core::workload::ArchiveFormat;

/// What zip files begin with.
const ZIP: &[u8] = b"PK\x03\x04";
/// What zip files without any file begin with.
const EMPTY_ZIP: &[u8] = b"PK\x05\x06";
/// What WebAssembly begins with.
const WASM: &[u8] = b"\0asm";

/// Code as it is kept: what was sent as Base64 is kept as what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) bytes: Bytes,
    pub(crate) format: ArchiveFormat,
    /// It was sent as Base64.
    pub(crate) binary: bool,
}

/// What is kept of code as it was sent.
pub(crate) fn pack(code: &str) -> Packed {
    let decoded = is_base64(code).then(|| lenient().decode(code.trim()).ok()).flatten();
    match decoded {
        Some(bytes) => Packed { format: format(&bytes), bytes: bytes.into(), binary: true },
        None => Packed {
            bytes: Bytes::copy_from_slice(code.as_bytes()),
            format: ArchiveFormat::Single,
            binary: false,
        },
    }
}

/// Code as it was sent, from what is kept of it.
pub(crate) fn unpack(bytes: &[u8], binary: bool) -> String {
    match binary {
        true => general_purpose::STANDARD.encode(bytes),
        false => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn format(bytes: &[u8]) -> ArchiveFormat {
    if bytes.starts_with(ZIP) || bytes.starts_with(EMPTY_ZIP) {
        ArchiveFormat::Zip
    } else if bytes.starts_with(WASM) {
        ArchiveFormat::Wasm
    } else {
        ArchiveFormat::Single
    }
}

/// Base64 by its grammar alone: what the last letter says beyond the last byte is not looked at.
fn lenient() -> general_purpose::GeneralPurpose {
    let config = general_purpose::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    general_purpose::GeneralPurpose::new(&base64::alphabet::STANDARD, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_code_is() {
        let zip = general_purpose::STANDARD.encode(b"PK\x03\x04rest");
        assert_eq!(pack(&zip).format, ArchiveFormat::Zip);
        assert_eq!(pack(&general_purpose::STANDARD.encode(b"\x7fELF.")).format, ArchiveFormat::Single);
        assert_eq!(pack(&general_purpose::STANDARD.encode(b"\0asm\x0d\0\x01\0")).format, ArchiveFormat::Wasm);
        let text = pack("function main() {}");
        assert_eq!((text.format, text.binary), (ArchiveFormat::Single, false));
        assert!(!pack("").binary);
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was_sent(code in any::<String>()) {
            let packed = pack(&code);
            if !packed.binary {
                prop_assert_eq!(unpack(&packed.bytes, false), code);
            }
        }

        #[test]
        fn bytes_come_back_as_they_were_sent(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let code = general_purpose::STANDARD.encode(&bytes);
            let packed = pack(&code);
            prop_assert!(packed.binary);
            prop_assert_eq!(&packed.bytes[..], &bytes[..]);
            prop_assert_eq!(unpack(&packed.bytes, true), code);
        }
    }
}
