//! Ports for servers that are told where to listen.

use std::{collections::BTreeSet, net::TcpListener, sync::Mutex};

/// A port that is free and stays so: it is none of those that the kernel gives to whoever asks for
/// any, and is given to nobody else here, so a server finds it again after a while of not running.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
