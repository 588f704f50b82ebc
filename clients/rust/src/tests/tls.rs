use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::*;
use crate::{Code, Tls};

/// A folder that is removed at the end, with a certificate of 127.0.0.1 and its key.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("featsvc-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes cert.pem and key.pem.
    fn certify(&self) {
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=featsvc \
                     -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
                     -keyout key.pem -out cert.pem";
        let done = Command::new("openssl").args(words.split_whitespace()).current_dir(&self.0).output();
        let done = done.expect("this test makes a certificate with the openssl command");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_reached_with_one_only() {
    let folder = Folder::new("tls");
    folder.certify();
    let (cert, key) = (folder.file("cert.pem"), folder.file("key.pem"));
    let config = ServerTlsConfig::new()
        .identity(Identity::from_pem(read(&cert), read(&key)))
        .client_ca_root(Certificate::from_pem(read(&cert)));
    let extract: Script<_, _> = Box::new(|_| Ok(reply([7])));
    let service = Scripted { extract: Some(extract), ..Scripted::default() };
    let address = serving(service, Server::builder().tls_config(config).unwrap()).await;
    let identity = Some((cert.clone(), key));
    for (tls, expected) in [
        (Some(Tls { ca: Some(cert.clone()), identity: identity.clone() }), None),
        (Some(Tls { ca: Some(cert), identity: None }), Some(Code::Unavailable)),
        (Some(Tls { ca: None, identity }), Some(Code::Unavailable)),
        (None, Some(Code::Unavailable)),
    ] {
        let retry = RetryPolicy { attempts: 1, ..quick() };
        let options = Options { tls: tls.clone(), retry, ..Options::default() };
        let client = Client::connect(&address, options).await.unwrap();
        let outcome = client.dino.extract_features(Question::default()).await;
        assert_eq!(outcome.err().map(|error| error.code), expected, "{tls:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_an_error_at_once() {
    let folder = Folder::new("no-tls");
    let empty = folder.file("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let missing = folder.file("missing.pem");
    for tls in [
        Tls { ca: Some(empty.clone()), identity: None },
        Tls { ca: Some(missing.clone()), identity: None },
        Tls { ca: None, identity: Some((missing, empty)) },
    ] {
        let options = Options { tls: Some(tls.clone()), ..Options::default() };
        let error = Client::connect("127.0.0.1:1", options).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{tls:?}");
    }
}
