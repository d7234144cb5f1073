//! TLS: certificates from files, or one of our own that stays.

use crate::{options::Tls, token::private_file};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{io::Write as _, path::Path, sync::Arc};
use tokio_rustls::TlsAcceptor;
use xebec_core::Error;

const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// What every self-signed certificate is for.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Reads, or makes, the certificate.
///
/// # Errors
/// `XB6014`, naming the file at fault.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let (certificate, key) = match tls {
        Tls::Files { certificate, key } => (certificate.clone(), key.clone()),
        Tls::SelfSigned { directory, names } => {
            let files = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
            if !files.0.exists() || !files.1.exists() {
                self_sign(directory, names)?;
            }
            files
        }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect)
        .map_err(|e| fault(&certificate, "the certificate cannot be read", &e))?;
    if chain.is_empty() {
        return Err(fault(&certificate, "the certificate cannot be read", &"there is none in the file"));
    }
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|e| fault(&key, "the key cannot be read", &e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|e| fault(&certificate, "certificate and key cannot be used", &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Makes a certificate and keeps it. The key goes first: a certificate that is there has its key.
fn self_sign(directory: &Path, names: &[String]) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| fault(directory, "no certificate can be made", e);
    let mut all: Vec<String> = OWN_NAMES.iter().map(ToString::to_string).collect();
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let mut params = CertificateParams::new(all).map_err(|e| failed(&e))?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "xebec");
    params.distinguished_name = subject;
    let key = KeyPair::generate().map_err(|e| failed(&e))?;
    let certificate = params.self_signed(&key).map_err(|e| failed(&e))?;
    std::fs::create_dir_all(directory).map_err(|e| failed(&e))?;
    private_file(&directory.join(KEY_FILE))
        .and_then(|mut file| file.write_all(key.serialize_pem().as_bytes()))
        .and_then(|()| std::fs::write(directory.join(CERTIFICATE_FILE), certificate.pem()))
        .map_err(|e| failed(&e))
}

fn fault(path: &Path, what: &str, why: &dyn std::fmt::Display) -> Error {
    Error::invalid("XB6014", format!("{what}: {}: {why}", path.display()))
        .with_hint("give a PEM certificate chain and its unencrypted PEM key, or use a self-signed one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_stays() {
        let directory = tempfile::tempdir().unwrap();
        let tls = Tls::SelfSigned {
            directory: directory.path().join("tls"),
            names: vec!["xebec.example".into(), "10.0.0.1".into(), "localhost".into()],
        };
        acceptor(&tls).unwrap();
        let file = directory.path().join("tls").join(CERTIFICATE_FILE);
        let first = std::fs::read(&file).unwrap();
        acceptor(&tls).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let key = std::fs::metadata(directory.path().join("tls").join(KEY_FILE)).unwrap();
            assert_eq!(key.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn files_at_fault_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let own = Tls::SelfSigned { directory: directory.path().to_owned(), names: vec![] };
        acceptor(&own).unwrap();
        let (good, key) = (directory.path().join(CERTIFICATE_FILE), directory.path().join(KEY_FILE));
        let broken = directory.path().join("broken.pem");
        std::fs::write(&broken, "no PEM at all").unwrap();
        for (certificate, key, named) in [
            (directory.path().join("missing.pem"), key.clone(), "missing.pem"),
            (broken.clone(), key.clone(), "broken.pem"),
            (good.clone(), broken.clone(), "broken.pem"),
        ] {
            let error = acceptor(&Tls::Files { certificate, key }).err().unwrap();
            assert_eq!(error.code, "XB6014");
            assert!(error.message.contains(named), "{error}");
        }
        let other = tempfile::tempdir().unwrap();
        acceptor(&Tls::SelfSigned { directory: other.path().to_owned(), names: vec![] }).unwrap();
        let mixed = Tls::Files { certificate: good, key: other.path().join(KEY_FILE) };
        assert!(acceptor(&mixed).is_err(), "a key of another certificate");
    }
}
