//! Unpacking archives: those that are fine, those that are not, and any bytes at all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use std::{
    fs,
    io::{Cursor, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};
use xebec_core::workload::ArchiveFormat;
use xebec_driver_process::archive::{UnpackError, UnpackLimits, unpack};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

enum Entry {
    File(&'static str, &'static str),
    Link(&'static str, &'static str),
    Hard(&'static str, &'static str),
    Directory(&'static str),
    Special(&'static str),
}

/// An archive with names as they are given: `tar` itself would refuse or change some.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let (name, kind, target, contents) = match *entry {
            Entry::File(name, contents) => (name, EntryType::Regular, "", contents),
            Entry::Link(name, target) => (name, EntryType::Symlink, target, ""),
            Entry::Hard(name, target) => (name, EntryType::Link, target, ""),
            Entry::Directory(name) => (name, EntryType::Directory, "", ""),
            Entry::Special(name) => (name, EntryType::Fifo, "", ""),
        };
        let mut header = Header::new_gnu();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(contents.len() as u64);
        header.set_mode(if name.ends_with(".sh") { 0o4777 } else { 0o600 });
        header.set_cksum();
        builder.append(&header, contents.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A zip with names as they are given. Modes lie in the upper half of an entry's attributes, and only here can be
/// anything.
fn zip(entries: &[Entry]) -> Vec<u8> {
    let mut modes = Vec::new();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let (name, mode, contents) = match *entry {
            Entry::File(name, contents) => (name, 0o100_600, contents),
            Entry::Link(name, target) => (name, 0o120_777, target),
            Entry::Directory(name) => (name, 0o040_700, ""),
            Entry::Special(name) | Entry::Hard(name, _) => (name, 0o010_600, ""),
        };
        modes.push(if name.ends_with(".sh") { 0o104_777_u32 } else { mode });
        let method = if contents.len() > 6 { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        // Names that were there already are refused; they are kept once.
        match writer.start_file(name, SimpleFileOptions::default().compression_method(method)) {
            Ok(()) => writer.write_all(contents.as_bytes()).unwrap(),
            Err(_) => drop(modes.pop()),
        }
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    let mut modes = modes.into_iter();
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(b"PK\x01\x02") {
            bytes[at + 5] = 3; // made on Unix
            let attributes = modes.next().unwrap() << 16;
            bytes[at + 38..at + 42].copy_from_slice(&attributes.to_le_bytes());
        }
    }
    assert_eq!(modes.next(), None);
    bytes
}

/// Unpacks into a directory within another, which must stay as it was.
fn unpacked(archive: &[u8], format: ArchiveFormat) -> (Result<(), UnpackError>, tempfile::TempDir, PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    let into = outside.path().join("into");
    fs::create_dir(&into).unwrap();
    fs::write(outside.path().join("secret"), "untouched").unwrap();
    let limits = UnpackLimits { bytes: 1 << 20, entries: 100 };
    let result = unpack(archive, format, &into, limits);
    let around: Vec<_> =
        fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(around.len(), 2, "{around:?}");
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "untouched");
    check_links(&into, &into);
    (result, outside, into)
}

/// No link that was made leads outside.
fn check_links(root: &Path, directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            check_links(root, &entry.path());
        } else if kind.is_symlink()
            && let Ok(real) = entry.path().canonicalize()
        {
            assert!(
                real.starts_with(root.canonicalize().unwrap()),
                "{} leads to {}",
                entry.path().display(),
                real.display()
            );
        }
    }
}

#[test]
fn what_is_packed_comes_out() {
    let archive = tar(&[
        Entry::Directory("./"),
        Entry::File("./handler.py", "first"),
        Entry::File("handler.py", "second"),
        Entry::File("a/b/run.sh", "#!/bin/sh"),
        Entry::Link("a/link", "../handler.py"),
        Entry::Link("a/dangling", "b/nothing"),
        Entry::Hard("copy.py", "handler.py"),
        Entry::Directory("empty/"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    for (packed, format) in [
        (archive.clone(), ArchiveFormat::Tar),
        (gzip.finish().unwrap(), ArchiveFormat::TarGzip),
        (zstd::encode_all(&archive[..], 1).unwrap(), ArchiveFormat::TarZstd),
    ] {
        let (result, _outside, into) = unpacked(&packed, format);
        result.unwrap();
        assert_eq!(fs::read_to_string(into.join("handler.py")).unwrap(), "second");
        assert_eq!(fs::read_to_string(into.join("a/link")).unwrap(), "second");
        assert_eq!(fs::read_to_string(into.join("copy.py")).unwrap(), "second");
        assert!(into.join("empty").is_dir());
        let mode = |name| fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a/b/run.sh"), mode("handler.py"), mode("a")), (0o755, 0o644, 0o755));
    }
}

#[test]
fn what_leads_outside_is_refused() {
    for (entries, why) in [
        (vec![Entry::File("../x", "")], "upwards"),
        (vec![Entry::File("a/../../x", "")], "upwards"),
        (vec![Entry::File("/tmp/x", "")], "absolute"),
        (vec![Entry::Link("x", "/etc/passwd")], "absolute path"),
        (vec![Entry::Link("x", "..")], "outside"),
        (vec![Entry::Link("a/x", "../../secret")], "outside"),
        (vec![Entry::Link("a", "."), Entry::Link("b", "a/..")], "up after a name"),
        (vec![Entry::Link("a", "b"), Entry::File("a/x", "")], "no directory"),
        (vec![Entry::File("a", ""), Entry::File("a/x", "")], "no directory"),
        (vec![Entry::File("a/x", ""), Entry::File("a", "")], "a directory and a file"),
        (vec![Entry::Link("a", "b"), Entry::Hard("c", "a")], "no earlier file"),
        (vec![Entry::Hard("c", "../secret")], "upwards"),
        (vec![Entry::File("a", ""), Entry::Hard("a", "a")], "no earlier file"),
        (vec![Entry::Special("pipe")], "neither a file"),
        (vec![Entry::File(".", "")], "no name"),
    ] {
        let (result, _outside, _) = unpacked(&tar(&entries), ArchiveFormat::Tar);
        let message = result.unwrap_err().to_string();
        assert!(message.contains(why), "{message:?} does not say {why:?}");
    }
}

#[test]
fn what_is_zipped_comes_out() {
    let entries = [
        Entry::Directory("a/"),
        Entry::File("./handler.py", "a text that is deflated"),
        Entry::File("a/b/run.sh", "#!/bin/sh"),
        Entry::File("bin/exec", "#!/bin/sh"),
        Entry::Link("a/link", "../handler.py"),
        Entry::Directory("empty/"),
    ];
    // Programs that unpack themselves have something before the archive.
    for packed in [zip(&entries), [b"#!/bin/sh\n".to_vec(), zip(&entries)].concat()] {
        let (result, _outside, into) = unpacked(&packed, ArchiveFormat::Zip);
        result.unwrap();
        assert_eq!(fs::read_to_string(into.join("handler.py")).unwrap(), "a text that is deflated");
        assert_eq!(fs::read_to_string(into.join("a/link")).unwrap(), "a text that is deflated");
        assert!(into.join("empty").is_dir());
        let mode = |name| fs::metadata(into.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a/b/run.sh"), mode("handler.py"), mode("a")), (0o755, 0o644, 0o755));
        // Whatever its mode was.
        assert_eq!(mode("bin/exec"), 0o755);
    }
}

#[test]
fn what_would_lead_out_of_a_zip_is_refused() {
    for (entries, why) in [
        (vec![Entry::File("../secret", "stolen")], "leads upwards"),
        (vec![Entry::File("/secret", "stolen")], "is absolute"),
        (vec![Entry::Link("a", "../secret")], "leads outside"),
        (vec![Entry::Link("a", "/etc/passwd")], "absolute path"),
        (vec![Entry::Link("a", "")], "link to nothing"),
        (vec![Entry::Link("a", "."), Entry::File("a/b", "x")], "no directory"),
        (vec![Entry::File("a", "x"), Entry::File("a/b", "x")], "no directory"),
        (vec![Entry::File("a/b", "x"), Entry::File("a", "x")], "a directory and a file"),
        (vec![Entry::Special("pipe")], "neither a file"),
    ] {
        let (result, _outside, _) = unpacked(&zip(&entries), ArchiveFormat::Zip);
        let message = result.unwrap_err().to_string();
        assert!(message.contains(why), "{message:?} does not say {why:?}");
    }
}

#[test]
fn too_large_zips_are_refused() {
    let large = "0".repeat(2 << 20).leak();
    let (result, ..) = unpacked(&zip(&[Entry::File("large", large)]), ArchiveFormat::Zip);
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
    let many: Vec<_> = (0..200).map(|number| Entry::File(format!("file-{number}").leak(), "")).collect();
    let (result, ..) = unpacked(&zip(&many), ArchiveFormat::Zip);
    assert!(matches!(result, Err(UnpackError::TooMany(_))), "{result:?}");
    let whole = zip(&[Entry::File("a", "some contents")]);
    for part in [&whole[..whole.len() - 10], &whole[10..], &[]] {
        let (result, ..) = unpacked(part, ArchiveFormat::Zip);
        assert!(matches!(result, Err(UnpackError::Unreadable(_))), "{result:?}");
    }
}

#[test]
fn a_single_file_can_be_executed() {
    let (result, _outside, into) = unpacked(b"#!/bin/sh\n", ArchiveFormat::Single);
    result.unwrap();
    assert_eq!(fs::read(into.join("exec")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(fs::metadata(into.join("exec")).unwrap().permissions().mode() & 0o7777, 0o755);
    let (result, ..) = unpacked(&vec![0; 2 << 20], ArchiveFormat::Single);
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
}

#[test]
fn what_is_too_much_is_refused() {
    let bomb = zstd::encode_all(&vec![0; 64 << 20][..], 1).unwrap();
    let (result, ..) = unpacked(&bomb, ArchiveFormat::TarZstd);
    // Zeros are an empty archive; what matters is that they are not read for ever.
    result.unwrap();
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(2 << 20);
    header.set_mode(0o644);
    builder.append_data(&mut header, "large", &vec![1; 2 << 20][..]).unwrap();
    let (result, ..) = unpacked(&builder.into_inner().unwrap(), ArchiveFormat::Tar);
    assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{result:?}");
    let mut builder = Builder::new(Vec::new());
    for number in 0..200 {
        let mut header = Header::new_gnu();
        header.set_size(0);
        builder.append_data(&mut header, format!("file-{number}"), &[][..]).unwrap();
    }
    let (result, ..) = unpacked(&builder.into_inner().unwrap(), ArchiveFormat::Tar);
    assert!(matches!(result, Err(UnpackError::TooMany(_))), "{result:?}");
}

#[test]
fn what_is_no_archive_is_refused() {
    for format in [ArchiveFormat::Tar, ArchiveFormat::TarGzip, ArchiveFormat::TarZstd, ArchiveFormat::Wasm] {
        let (result, ..) = unpacked(&[b'x'; 2000], format);
        assert!(matches!(result, Err(UnpackError::Unreadable(_))), "{result:?}");
    }
    let whole = tar(&[Entry::File("a", "some contents")]);
    let (result, ..) = unpacked(&whole[..515], ArchiveFormat::Tar);
    assert!(matches!(result, Err(UnpackError::Unreadable(_))), "{result:?}");
}

fn names() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["..", ".", "a", "b", "c", "", "/", "into", "secret"]);
    prop::collection::vec(part, 0..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_archive_writes_outside(entries in prop::collection::vec((names(), names(), 0..5_u8), 0..12)) {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(name, target, kind)| {
                // Leaked, so that the entries can be written as literals above; some kilobytes in all.
                let (name, target): (&'static str, &'static str) = (name.leak(), target.leak());
                match kind {
                    0 => Entry::File(name, "contents"),
                    1 => Entry::Link(name, target),
                    2 => Entry::Hard(name, target),
                    3 => Entry::Directory(name),
                    _ => Entry::File(name, ""),
                }
            })
            .collect();
        unpacked(&tar(&entries), ArchiveFormat::Tar).0.ok();
        unpacked(&zip(&entries), ArchiveFormat::Zip).0.ok();
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096), format in 0..4_usize) {
        let formats =
            [ArchiveFormat::Tar, ArchiveFormat::TarGzip, ArchiveFormat::TarZstd, ArchiveFormat::Zip];
        unpacked(&bytes, formats[format]).0.ok();
    }

    #[test]
    fn no_broken_zip_panics(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in 0..400_usize) {
        let mut bytes = zip(&[Entry::File("a/b", "a text that is deflated"), Entry::Link("c", "a/b"), Entry::Directory("d/")]);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().max(cut) - cut.min(bytes.len() / 2));
        unpacked(&bytes, ArchiveFormat::Zip).0.ok();
    }
}
