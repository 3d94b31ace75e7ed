//! A real LDAP server (`slapd` of `OpenLDAP`) in a folder of its own, with people in it.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    authority::Ca,
    process::{Process, eventually, free_port},
};

/// Below which entry all is.
pub(crate) const SUFFIX: &str = "dc=example,dc=org";

/// Who may see and change everything.
pub(crate) const ADMIN: &str = "cn=admin,dc=example,dc=org";

/// As whom Bindery logs in.
pub(crate) const SERVICE: &str = "cn=bindery,dc=example,dc=org";

/// The password of both.
pub(crate) const PASSWORD: &str = "the service's own";

/// A directory server on loopback.
pub(crate) struct Slapd {
    folder: TempDir,
    pub(crate) ldap_port: u16,
    pub(crate) ldaps_port: u16,
    process: Option<Process>,
}

impl Slapd {
    /// One with these people, in LDIF, and a certificate of `ca` for localhost.
    pub(crate) async fn start(ca: &Ca, people: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = ca.pem(&["localhost"]);
        fs::write(folder.path().join("cert.pem"), certificate).unwrap();
        fs::write(folder.path().join("key.pem"), key).unwrap();
        fs::copy(ca.file(), folder.path().join("ca.pem")).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("slapd.conf"), settings(folder.path())).unwrap();
        let mut slapd =
            Self { folder, ldap_port: free_port(), ldaps_port: free_port(), process: None };
        slapd.load(&format!("{}{people}", base()));
        slapd.run().await;
        slapd
    }

    /// Puts entries into the files of a server that does not run.
    fn load(&self, ldif: &str) {
        let file = self.folder.path().join("people.ldif");
        fs::write(&file, ldif).unwrap();
        let done = Command::new("/usr/sbin/slapadd")
            .args(["-q".as_ref(), "-f".as_ref(), self.settings().as_os_str()])
            .args(["-l".as_ref(), file.as_os_str()])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts it, the first time or again.
    pub(crate) async fn run(&mut self) {
        let urls =
            format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{}", self.ldap_port, self.ldaps_port);
        let settings = self.settings();
        let arguments: [&OsStr; 6] = [
            "-d".as_ref(),
            "0".as_ref(),
            "-h".as_ref(),
            urls.as_ref(),
            "-f".as_ref(),
            settings.as_os_str(),
        ];
        let log = self.folder.path().join("log");
        let program = OsStr::new("/usr/sbin/slapd");
        let mut process = Process::start("slapd", program, &arguments, &[], log);
        let port = self.ldaps_port;
        process.until(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        self.process = Some(process);
    }

    /// Ends it; nothing answers any more.
    pub(crate) async fn stop(&mut self) {
        self.process.take().unwrap().stop();
        let port = self.ldaps_port;
        eventually("the LDAP server is gone", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_err().then_some(())
        })
        .await;
    }

    /// Changes entries as an administrator does: LDIF with `changetype` in each.
    pub(crate) fn modify(&self, ldif: &str) {
        let file = self.folder.path().join("changes.ldif");
        fs::write(&file, ldif).unwrap();
        let done = Command::new("/usr/bin/ldapmodify")
            .args(["-x", "-D", ADMIN, "-w", PASSWORD, "-H"])
            .arg(format!("ldap://127.0.0.1:{}", self.ldap_port))
            .args(["-f".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// How many connections are open to the port that speaks TLS at once.
    pub(crate) fn connections(&self) -> usize {
        let port = format!(":{:04X}", self.ldaps_port);
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let is_open = |line: &&str| {
            let columns: Vec<_> = line.split_whitespace().collect();
            columns[1].ends_with(&port) && columns[3] == "01"
        };
        table.lines().filter(is_open).count()
    }

    fn settings(&self) -> std::path::PathBuf {
        self.folder.path().join("slapd.conf")
    }
}

/// An index for each attribute that is asked for, as any such directory has, and a size limit that
/// only pages may exceed.
fn settings(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let schemas: String =
        ["core", "cosine", "inetorgperson"].iter().fold(String::new(), |all, name| {
            all + &format!("include /etc/ldap/schema/{name}.schema\n")
        });
    format!(
        "{schemas}pidfile {pid}\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
         moduleload memberof\n\
         TLSCertificateFile {certificate}\nTLSCertificateKeyFile {key}\nTLSCACertificateFile {ca}\n\
         sizelimit 100\n\
         database mdb\nsuffix \"{SUFFIX}\"\nrootdn \"{ADMIN}\"\nrootpw \"{PASSWORD}\"\n\
         directory {data}\nmaxsize 268435456\n\
         limits dn.exact=\"{SERVICE}\" size.soft=100 size.hard=100 size.prtotal=unlimited\n\
         overlay memberof\n\
         index objectClass,uid,mail,telephoneNumber,mobile,member eq\n\
         index cn,displayName eq,sub\nindex modifyTimestamp eq\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by dn.onelevel=\"{SUFFIX}\" read by * none\n",
        pid = at("pid"),
        certificate = at("cert.pem"),
        key = at("key.pem"),
        ca = at("ca.pem"),
        data = at("data"),
    )
}

/// The entries that all others hang on, and the one as which Bindery logs in.
fn base() -> String {
    format!(
        "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n\
         dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n\
         cn: bindery\nuserPassword: {PASSWORD}\n\n"
    )
}

/// A person as an entry; the password is the uid and `'s password`.
pub(crate) fn person(uid: &str, attributes: &[(&str, &str)]) -> String {
    let mut entry = format!(
        "dn: uid={uid},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: x\n\
         userPassword: {uid}'s password\n"
    );
    for (name, value) in attributes {
        // LDIF has other values than plain ones in base64 (RFC 2849).
        writeln!(entry, "{name}:: {}", STANDARD.encode(value)).unwrap();
    }
    entry + "\n"
}
