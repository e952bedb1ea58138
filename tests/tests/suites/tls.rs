//! The server with TLS of its own: AWS's clients and the command line within it, and certificates that are replaced while
//! it serves.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use stepwell_tests::{
    place::Place,
    python,
    server::{self, Server, Turn},
};

use super::{
    awscli::configure,
    tenants::{A, add_key, told},
    trial,
};

/// Two pairs of certificate and key, good for a hundred years, each its own authority.
const FIRST: &str = "tests/http/tls";
const SECOND: &str = "tests/tls";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("tls::clients", clients),
        trial("tls::certificates_are_replaced", certificates_are_replaced),
        trial(
            "tls::the_other_protocol_is_told",
            the_other_protocol_is_told,
        ),
    ]
}

/// The files that the server is told of.
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Files {
        Files {
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
        }
    }

    fn put(&self, pair: &str) -> Result<()> {
        self.put_each(pair, pair)
    }

    fn put_each(&self, chain: &str, key: &str) -> Result<()> {
        let root = server::root();
        std::fs::copy(root.join(chain).join("certificate.pem"), &self.chain)?;
        std::fs::copy(root.join(key).join("key.pem"), &self.key)?;
        Ok(())
    }

    fn serve(&self, folder: &Path, more: &[&str]) -> Result<Server> {
        let plugins = folder.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        let (chain, key) = (self.chain.to_string_lossy(), self.key.to_string_lossy());
        let flags = [&["--tls-cert", &chain, "--tls-key", &key], more].concat();
        Server::start_with(&folder.join("data"), &plugins, &flags)
    }
}

fn clients() -> Result<()> {
    let _turn = Turn::take()?;
    let (python, aws) = (python::interpreter()?, python::aws_cli()?);
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    told(&data, &["tenant", "add", A])?;
    let key = add_key(&data, A, "admin", "TLS")?;
    let files = Files::new(scratch.path());
    files.put(SECOND)?;
    let server = files.serve(scratch.path(), &["--auth"])?;
    let endpoint = server.client().endpoint().replace("http://", "https://");
    let with = |program: &Path, arguments: &[&str], authority: Option<&Path>| -> Result<Output> {
        let mut command = Command::new(program);
        command.args(arguments).env_remove("AWS_CA_BUNDLE");
        configure(&mut command, scratch.path(), &endpoint, &key)?;
        if let Some(authority) = authority {
            command.env("AWS_CA_BUNDLE", authority);
        }
        Ok(command.output()?)
    };
    let script = server::root().join("tests/clients/boto3/tls.py");
    let script = script.to_string_lossy();
    let program = server::program()?;
    // What each has to print.
    let asked: [(&Path, &[&str], &str); 3] = [
        (&python, &[&script, "--endpoint", &endpoint], "ok"),
        (
            &aws,
            &["stepfunctions", "list-state-machines", "--output", "json"],
            ":stateMachine:tls\"",
        ),
        (
            &program,
            &["machine", "list", "--json", "--endpoint", &endpoint],
            ":stateMachine:tls\"",
        ),
    ];
    for (program, arguments, has) in asked {
        let output = with(program, arguments, Some(&files.chain))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success() && text.contains(has),
            "{arguments:?} ended with {}: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        // Nobody talks to a server whose certificate no authority of theirs has signed.
        let output = with(program, arguments, None)?;
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        ensure!(
            !output.status.success() && said.contains("certificate"),
            "{arguments:?} without the authority: {said}"
        );
    }
    server.stop()
}

/// Whoever speaks TLS to a port without it, or the other way round, is told the right address first.
fn the_other_protocol_is_told() -> Result<()> {
    let place = Place::new()?;
    let files = Files::new(place.folder());
    files.put(SECOND)?;
    let within = place.folder().join("tls");
    std::fs::create_dir_all(&within)?;
    let (secure, plain) = (files.serve(&within, &[])?, place.serve(&[])?);
    let address = |server: &Server| server.client().address;
    for (address, wrong, right, does) in [
        (address(&secure), "http", "https", "speaks TLS"),
        (address(&plain), "https", "http", "does not speak TLS"),
    ] {
        let endpoint = format!("{wrong}://{address}");
        let told = format!("error: {endpoint} {does}\nhint: its address is {right}://{address}\n");
        for asked in [
            &["machine", "list"][..],
            &["plugin", "versions"],
            &["tenant", "list"],
            &[
                "execution",
                "watch",
                "arn:aws:states:us-east-1:000000000000:execution:m:e",
            ],
        ] {
            let mut command = Command::new(server::program()?);
            command.args(asked).args(["--endpoint", &endpoint]);
            let output = command.env_remove("AWS_ACCESS_KEY_ID").output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.code() == Some(2) && said == told,
                "{asked:?} ended with {}: {said}",
                output.status
            );
        }
    }
    secure.stop()?;
    plain.stop()
}

fn certificates_are_replaced() -> Result<()> {
    let _turn = Turn::take()?;
    let scratch = tempfile::tempdir()?;
    let files = Files::new(scratch.path());
    files.put(FIRST)?;
    let server = files.serve(scratch.path(), &[])?;
    let address = server.client().address;
    let serves = |pair: &str, warning: Option<&str>| -> Result<()> {
        let root = CertificateDer::from_pem_file(server::root().join(pair).join("certificate.pem"))
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let health: Value = serde_json::from_str(&get(address, &root, "/health")?)?;
        let found = health["warning"].as_str();
        ensure!(
            health["status"] == "ok"
                && found.is_some() == warning.is_some()
                && found
                    .unwrap_or_default()
                    .contains(warning.unwrap_or_default()),
            "{health}"
        );
        let metrics = get(address, &root, "/metrics")?;
        let stale = format!(
            "stepwell_tls_certificate_stale {}\n",
            u8::from(warning.is_some())
        );
        ensure!(metrics.contains(&stale), "no `{stale}` in {metrics}");
        Ok(())
    };
    serves(FIRST, None)?;
    // Of the one the chain, of the other the key: the first goes on being served, told by the signal and found by itself.
    files.put_each(SECOND, FIRST)?;
    server.signal("HUP")?;
    server.says("the TLS certificate was not replaced", 1)?;
    serves(FIRST, Some("the private key is not the certificate's"))?;
    std::fs::remove_file(&files.chain)?;
    server.says("No such file", 1)?;
    serves(FIRST, Some("chain.pem"))?;
    files.put(SECOND)?;
    server.says("the TLS certificate was replaced", 1)?;
    serves(SECOND, None)?;
    // The signal takes them again also when they are as before.
    server.signal("HUP")?;
    server.says("the TLS certificate was replaced", 2)?;
    serves(SECOND, None)?;
    server.stop()
}

/// The body of a path, asked within TLS of a server of that certificate. Both protocols are offered to who asks for them.
fn get(address: SocketAddr, certificate: &CertificateDer<'_>, path: &str) -> Result<String> {
    for protocol in ["h2", "http/1.1"] {
        let mut stream = connect(address, certificate, protocol)?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        if protocol == "http/1.1" {
            stream.write_all(head.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            let (head, body) = text.split_once("\r\n\r\n").context("cut off")?;
            ensure!(head.starts_with("HTTP/1.1 200"), "{text}");
            return Ok(body.to_owned());
        }
        // The client's preface is read before anything is written: that the handshake ended is enough.
        stream.flush()?;
        let chosen = stream.conn.alpn_protocol();
        ensure!(chosen == Some(b"h2"), "{chosen:?}");
    }
    anyhow::bail!("no protocol")
}

fn connect(
    address: SocketAddr,
    certificate: &CertificateDer<'_>,
    protocol: &str,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::from(address.ip());
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}
