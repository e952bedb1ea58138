//! What commands show on a terminal while something takes long: bytes that go up, and plugins that are compiled. Hides a way to a server
//! that lets some bytes pass, and the others when it is told.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use stepwell_tests::{
    place::Place,
    terminal::{REDRAWN, Terminal},
};

use super::code;

/// A way to a server: of what goes up on a connection so many bytes pass, and the others once it is opened.
struct Way {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            let waited = self.opened.wait(is_open);
            is_open = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.gate.open();
    }
}

impl Way {
    fn to(server: SocketAddr, bytes: usize) -> Result<Way> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let gate = Arc::<Gate>::default();
        let of_all = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let gate = of_all.clone();
                std::thread::spawn(move || carry(client, server, bytes, &gate));
            }
        });
        Ok(Way { address, gate })
    }
}

/// Carries bytes both ways until both sides have said all; what breaks off on one side does on the other.
fn carry(mut client: TcpStream, server: SocketAddr, bytes: usize, gate: &Gate) {
    let Ok(mut server) = TcpStream::connect(server) else {
        return;
    };
    let (Ok(mut replies), Ok(mut to_client)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let down = std::thread::spawn(move || {
        let _ = std::io::copy(&mut replies, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut chunk, mut passed) = ([0; 16 << 10], 0);
    while let Ok(read) = client.read(&mut chunk)
        && read > 0
    {
        if passed > bytes {
            gate.pass();
        }
        passed += read;
        if server.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
    let _ = down.join();
}

/// While bytes go up, a terminal shows how many have gone.
pub(super) fn bytes_that_go_up() -> Result<()> {
    /// Much more than the system holds of what is sent and not taken yet.
    const FILE_BYTES: usize = 24 << 20;
    /// As much as all other requests have.
    const PASS_BYTES: usize = 64 << 10;
    let place = Place::new()?;
    let folder = place.folder();
    let mut file = b"\0asm\x01\0\0\0".to_vec();
    file.resize(FILE_BYTES, 0);
    std::fs::write(folder.join("large.wasm"), file)?;
    let server = place.serve(&[])?;
    let way = Way::to(server.client().address, PASS_BYTES)?;
    let endpoint = format!("http://{}", way.address);
    let push = ["plugin", "push", "large.wasm", "--endpoint", &endpoint];
    let terminal = Terminal::start(folder, &push)?;
    // Some part of it, and so many of all kilobytes.
    terminal.shows("how far it is", |shown| {
        let line = shown.rsplit(REDRAWN).next().unwrap_or_default();
        line.contains(" % ") && line.contains(" of ") && line.contains(" kB")
    })?;
    way.gate.open();
    let (code, shown) = terminal.ended()?;
    ensure!(
        code == Some(2) && shown.contains("not valid WebAssembly"),
        "{code:?}: {shown}"
    );
    server.stop()
}

/// Each command that compiles a plugin shows it meanwhile, and takes the line away.
pub(super) fn plugins_that_are_compiled() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let plugins = folder.join("plugins");
    std::fs::create_dir(&plugins)?;
    std::fs::write(plugins.join("slow.wasm"), code::slow())?;
    let bound = ["--compile-cpu", "3s"];
    let file = "plugins/slow.wasm";
    let commands: [(&[&str], &str, i32); 5] = [
        (
            &["check", file],
            "compiling plugins/slow.wasm to check it",
            2,
        ),
        (
            &["inspect", file],
            "compiling plugins/slow.wasm to check it",
            2,
        ),
        (
            &["compile", file],
            "compiling plugins/slow.wasm to check it",
            2,
        ),
        (
            &["list", "--plugins", "plugins"],
            "compiling what is not compiled of plugins",
            0,
        ),
        (
            &["invoke", "slow", "1", "--plugins", "plugins"],
            "compiling plugin slow (first use)",
            2,
        ),
    ];
    for (command, told, wanted) in commands {
        let arguments = [&["plugin"][..], command, &bound].concat();
        let (code, shown) = Terminal::start(folder, &arguments)?.ended()?;
        let drawn = shown.matches(REDRAWN).count();
        ensure!(
            code == Some(wanted) && shown.contains(told) && drawn > 0,
            "{command:?}: {code:?}, drawn {drawn} times: {shown}"
        );
        let after = shown.rsplit(REDRAWN).next().unwrap_or_default();
        ensure!(!after.contains(told), "{command:?}: it stays: {shown}");
    }
    Ok(())
}
