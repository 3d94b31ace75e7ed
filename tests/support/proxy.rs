//! Reverse proxies as the papers have them, with ports of their own.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use crate::port::free_port;

/// A proxy that runs; it ends with the test.
pub(crate) struct Proxy {
    child: Child,
    /// Where it listens, as a URL.
    pub(crate) base: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is such a program on this machine.
pub(crate) fn is_installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    found.unwrap().status.success()
}

/// The one fenced block of this kind in a paper.
pub(crate) fn block<'a>(paper: &'a str, kind: &str) -> &'a str {
    // Fences open and close in turn.
    let mut blocks = paper.split("\n```").skip(1).step_by(2).filter_map(|b| b.split_once('\n'));
    blocks.find(|(found, _)| *found == kind).unwrap_or_else(|| panic!("no block {kind}")).1
}

impl Proxy {
    /// An nginx of this snippet, which listens at port 443 of `host`; with a certificate and its
    /// key.
    pub(crate) fn nginx(snippet: &str, host: &str, (certificate, key): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, path) = (free_port(), folder.path().display().to_string());
        let snippet = snippet
            .replace("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl"))
            .replace("/etc/ssl", &path);
        fs::write(folder.path().join(format!("{host}.pem")), certificate).unwrap();
        fs::write(folder.path().join(format!("{host}.key")), key).unwrap();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log stderr;\n\
             events {{}}\nhttp {{ access_log off; client_body_temp_path {path}/body;\n\
             proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u;\n\
             scgi_temp_path {path}/s;\n{snippet}}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx").args(["-p", &path, "-c", "nginx.conf"]).spawn().unwrap();
        Self { child, base: format!("https://127.0.0.1:{port}"), folder }
    }

    /// A Caddy of this snippet, without the certificate that it would get for `host`.
    pub(crate) fn caddy(snippet: &str, host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        // Only the address of the site stands before a brace.
        let snippet = snippet.replace(&format!("{host} {{"), &format!("http://:{port} {{"));
        let file = folder.path().join("Caddyfile");
        fs::write(&file, format!("{{\nadmin off\n}}\n{snippet}")).unwrap();
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(variable, folder.path());
        }
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        Self { child, base: format!("http://127.0.0.1:{port}"), folder }
    }
}

/// A certificate for `name` that nobody has to trust, and its key.
pub(crate) fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
