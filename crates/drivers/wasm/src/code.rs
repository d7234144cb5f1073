//! From what was deployed to the bytes of a component.

use bytes::Bytes;
use std::{borrow::Cow, io::Read};
use xebec_core::{Error, workload::ArchiveFormat};

/// The largest component, and the most that is unpacked to find it.
const MAX_COMPONENT_BYTES: u64 = 128 << 20;
const MAX_ARCHIVE_BYTES: u64 = 512 << 20;

/// How binaries start: `\0asm`, then version and layer.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// The component in `code`: the blob itself, or the one `.wasm` (or `.wat`) file in the archive's root. Of
/// several, `wanted` names the one. Text is converted.
///
/// # Errors
/// `XB3002`, with what to do.
pub(crate) fn component(code: &Bytes, format: ArchiveFormat, wanted: Option<&str>) -> Result<Bytes, Error> {
    let file = match format {
        ArchiveFormat::Wasm | ArchiveFormat::Single => code.clone(),
        ArchiveFormat::Zip => {
            return Err(bad("the code is a zip archive".to_owned()).with_hint("deploy the .wasm file itself"));
        }
        ArchiveFormat::Tar => from_archive(code.as_ref(), wanted)?,
        ArchiveFormat::TarGzip => from_archive(flate2::read::GzDecoder::new(code.as_ref()), wanted)?,
        ArchiveFormat::TarZstd => {
            from_archive(zstd::Decoder::new(code.as_ref()).map_err(|error| unreadable(&error))?, wanted)?
        }
    };
    let binary = match wat::parse_bytes(&file) {
        Ok(Cow::Borrowed(_)) => file,
        Ok(Cow::Owned(binary)) => binary.into(),
        Err(error) => {
            return Err(bad(format!("the code is neither a WebAssembly component nor its text: {error}"))
                .with_hint("deploy the .wasm file that your compiler wrote"));
        }
    };
    match binary.get(4..8) {
        Some(CORE_MODULE) if binary.starts_with(MAGIC) => {
            Err(bad("the code is a core WebAssembly module, and only components can be run")
                .with_hint("build for the target wasm32-wasip2, or wrap it: `wasm-tools component new`"))
        }
        _ => Ok(binary),
    }
}

fn from_archive(packed: impl Read, wanted: Option<&str>) -> Result<Bytes, Error> {
    let mut archive = tar::Archive::new(packed.take(MAX_ARCHIVE_BYTES));
    let mut found: Option<(String, Bytes)> = None;
    for entry in archive.entries().map_err(|error| unreadable(&error))? {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        let path = entry.path().map_err(|error| unreadable(&error))?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        let name = path.to_string_lossy().into_owned();
        let in_root = path.components().count() == 1 && (name.ends_with(".wasm") || name.ends_with(".wat"));
        let is_it = match wanted {
            Some(wanted) => name == wanted.trim_start_matches("./"),
            None => in_root,
        };
        if !is_it || !entry.header().entry_type().is_file() {
            continue;
        }
        if let Some((first, _)) = &found {
            return Err(bad(format!("the code holds both {first} and {name}"))
                .with_hint("leave one of them away, or name the one to run as the function's handler"));
        }
        if entry.size() > MAX_COMPONENT_BYTES {
            return Err(bad(format!("{name} is larger than {MAX_COMPONENT_BYTES} bytes")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        found = Some((name, bytes.into()));
    }
    match (found, wanted) {
        (Some((_, bytes)), _) => Ok(bytes),
        (None, Some(wanted)) => Err(bad(format!("the code holds no file {wanted}"))),
        (None, None) => Err(bad("the code holds no .wasm file in its root")
            .with_hint("build the component first, and put it beside function.toml")),
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::invalid("XB3002", message)
}

fn unreadable(error: &std::io::Error) -> Error {
    bad(format!("the code cannot be unpacked: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "(component)";

    fn archive(files: &[(&str, &[u8])]) -> Bytes {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *contents).unwrap();
        }
        archive.into_inner().unwrap().into()
    }

    fn zstd(bytes: &Bytes) -> Bytes {
        zstd::encode_all(bytes.as_ref(), 1).unwrap().into()
    }

    #[test]
    fn binaries_and_text_are_taken() {
        let binary = component(&EMPTY.into(), ArchiveFormat::Wasm, None).unwrap();
        assert!(binary.starts_with(MAGIC));
        assert_eq!(component(&binary, ArchiveFormat::Wasm, None).unwrap(), binary);
    }

    #[test]
    fn the_one_file_in_an_archive_is_found_however_it_is_packed() {
        let tar = archive(&[
            ("function.toml", b"x"),
            ("src/other.wat", b"nonsense"),
            ("./hello.wat", EMPTY.as_bytes()),
        ]);
        let plain = component(&tar, ArchiveFormat::Tar, None).unwrap();
        assert!(plain.starts_with(MAGIC));
        assert_eq!(component(&zstd(&tar), ArchiveFormat::TarZstd, None).unwrap(), plain);
        let mut gzip = flate2::read::GzEncoder::new(tar.as_ref(), flate2::Compression::fast());
        let mut packed = Vec::new();
        gzip.read_to_end(&mut packed).unwrap();
        assert_eq!(component(&packed.into(), ArchiveFormat::TarGzip, None).unwrap(), plain);
    }

    #[test]
    fn of_several_files_one_must_be_named() {
        let tar = archive(&[("a.wat", EMPTY.as_bytes()), ("b.wat", EMPTY.as_bytes())]);
        let error = component(&tar, ArchiveFormat::Tar, None).unwrap_err();
        assert_eq!(error.code, "XB3002");
        assert!(error.message.contains("a.wat") && error.message.contains("b.wat"), "{error}");
        assert!(component(&tar, ArchiveFormat::Tar, Some("b.wat")).is_ok());
        assert!(component(&tar, ArchiveFormat::Tar, Some("c.wat")).is_err());
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_a_way_out() {
        let module = wat::parse_str("(module)").unwrap().into();
        let error = component(&module, ArchiveFormat::Wasm, None).unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.contains("wasm32-wasip2")));
        for (format, code) in [
            (ArchiveFormat::Wasm, Bytes::from_static(b"\x7fELF")),
            (ArchiveFormat::Tar, archive(&[("main.py", b"x")])),
            (ArchiveFormat::TarZstd, Bytes::from_static(b"not zstd")),
            (ArchiveFormat::TarGzip, Bytes::from_static(b"not gzip")),
        ] {
            assert_eq!(component(&code, format, None).unwrap_err().code, "XB3002", "{format:?}");
        }
    }
}
