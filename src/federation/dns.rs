//! Names to addresses and services, by DNS.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        ProtoError,
        dnssec::TrustAnchors,
        rr::{Name, RData, Record, RecordType, rdata::SRV},
    },
};

use super::SetupError;
use crate::{config, secret};

/// Asks the name servers of the configuration, else those of the system.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    remembering: TokioResolver,
    /// For answers that the caller remembers, within bounds of its own.
    forgetful: TokioResolver,
}

/// What DNS says of a host.
#[derive(Debug)]
pub(super) struct Host {
    /// Its IPv4 and IPv6 addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether its name stands for another (a CNAME record).
    pub(super) is_alias: bool,
}

/// Where a service record leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The service records of a name, in no order.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    records: Vec<SRV>,
    /// How long they hold.
    pub(super) ttl: Duration,
}

impl Records {
    /// What they say; those of one priority are drawn anew each time.
    pub(super) fn service(&self) -> Service {
        service_of(self.records.iter())
    }
}

/// What DNS says of a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Nothing.
    Unknown,
    /// It is decidedly not offered: the only target is the root (RFC 2782).
    NotOffered,
    /// The targets, in the order in which they are to be tried.
    At(Vec<Target>),
}

impl Resolver {
    /// Reads the system's configuration if none is given.
    ///
    /// Fails if the system's, or the keys for DNSSEC, can't be read.
    pub(super) fn new(dns: &config::Dns) -> Result<Self, SetupError> {
        let resolver = |cache_size: Option<u64>| {
            let mut builder =
                builder(dns).map_err(|error| SetupError::NameServers(error.into()))?;
            if let Some(size) = cache_size {
                builder.options_mut().cache_size = size;
            }
            if let Some(file) = dns.trust_anchor_file.as_ref().filter(|_| dns.dnssec) {
                builder = builder.with_trust_anchor(trust_anchors(file)?.into());
            }
            builder.build().map_err(|error| SetupError::NameServers(error.into()))
        };
        Ok(Self { remembering: resolver(None)?, forgetful: resolver(Some(0))? })
    }

    /// The addresses of `host`, aliases followed.
    ///
    /// Fails if there is none, or no name server answers.
    pub(super) async fn host(&self, host: &str) -> Result<Host, Box<dyn Error + Send + Sync>> {
        let found = self.remembering.lookup_ip(absolute(host)?).await?;
        let is_alias = found
            .as_lookup()
            .answers()
            .iter()
            .any(|record| record.record_type() == RecordType::CNAME);
        Ok(Host { addresses: found.iter().collect(), is_alias })
    }

    /// Where `service` (such as `_matrix-fed._tcp`) of `host` is found.
    pub(super) async fn service(&self, service: &str, host: &str) -> Service {
        let Ok(name) = absolute(&format!("{service}.{host}")) else { return Service::Unknown };
        match self.remembering.srv_lookup(name).await {
            Ok(found) => service_of(found.answers().iter().filter_map(srv)),
            Err(error) => {
                if !error.is_no_records_found() {
                    tracing::debug!(service, host, %error, "service lookup failed");
                }
                Service::Unknown
            }
        }
    }

    /// The records of `service` of `host`, asked for anew; none where there are none.
    ///
    /// Fails if no name server answers, or the answer isn't to be believed.
    pub(super) async fn records(
        &self,
        service: &str,
        host: &str,
    ) -> Result<Records, Box<dyn Error + Send + Sync>> {
        let name = absolute(&format!("{service}.{host}"))?;
        match self.forgetful.srv_lookup(name).await {
            Ok(found) => {
                let answers = found.answers();
                // An alias on the way holds as long as it says, too.
                let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
                let records = answers.iter().filter_map(srv).cloned().collect();
                Ok(Records { records, ttl: Duration::from_secs(ttl.into()) })
            }
            Err(error) if error.is_no_records_found() => Ok(Records::default()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a name server said that there is nothing, in place of saying nothing.
pub(super) fn is_absent(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<NetError>().is_some_and(NetError::is_no_records_found)
}

fn srv(record: &Record) -> Option<&SRV> {
    match &record.data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    }
}

fn builder(dns: &config::Dns) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
    let mut builder = if dns.nameservers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = dns.nameservers.iter().map(name_server).collect();
        let mut builder = TokioResolver::builder_with_config(
            ResolverConfig::from_name_servers(servers),
            TokioRuntimeProvider::default(),
        );
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder
    };
    let options = builder.options_mut();
    // An alias has to be seen: it must not be the target of a service.
    options.preserve_intermediates = true;
    options.validate = dns.dnssec;
    Ok(builder)
}

/// The keys in the file; with those of the public root, unless the file has some for a root.
fn trust_anchors(file: &Path) -> Result<TrustAnchors, SetupError> {
    let mut anchors = TrustAnchors::from_file(file).map_err(|error| SetupError::TrustAnchors {
        path: file.to_owned(),
        source: error.into(),
    })?;
    if anchors.is_empty() {
        let public = TrustAnchors::default();
        for key in (0..public.len()).filter_map(|index| public.get(index)) {
            anchors.insert(key);
        }
    }
    Ok(anchors)
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// A name that no search list applies to.
fn absolute(name: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

fn service_of<'a>(records: impl Iterator<Item = &'a SRV>) -> Service {
    let mut records: Vec<&SRV> = records.collect();
    let any = !records.is_empty();
    records.retain(|record| !record.target.is_root());
    if records.is_empty() {
        return if any { Service::NotOffered } else { Service::Unknown };
    }
    // 64 random bits for a choice among at most 2^32: the remainder's bias is of no account.
    let draw = |below: u64| u64::from_le_bytes(secret::random_bytes()) % below;
    let targets = in_order(records, draw)
        .into_iter()
        .map(|record| Target { host: record.target.to_ascii(), port: record.port });
    Service::At(targets.collect())
}

/// Orders service records as RFC 2782 says: by rising priority, and within one by drawing, where
/// a record's chance is its weight. `draw` gives a number below its argument.
fn in_order(mut records: Vec<&SRV>, mut draw: impl FnMut(u64) -> u64) -> Vec<&SRV> {
    // Those of weight 0 come first, so that they are drawn only by a 0.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let same = records.iter().take_while(|record| record.priority == priority);
        let total: u64 = same.map(|record| u64::from(record.weight)).sum();
        let mut left = draw(total + 1);
        let drawn = records.iter().position(|record| {
            let weight = u64::from(record.weight);
            let is_drawn = left <= weight;
            left = left.saturating_sub(weight);
            is_drawn
        });
        ordered.push(records.remove(drawn.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> SRV {
        SRV::new(priority, weight, 8448, Name::from_ascii(target).unwrap())
    }

    fn first_by_draw(records: &[SRV], number: u64) -> String {
        in_order(records.iter().collect(), |_| number)[0].target.to_ascii()
    }

    #[test]
    fn lower_priorities_come_first_whatever_the_weights() {
        let records = [srv(20, 65535, "c."), srv(10, 0, "a."), srv(15, 1, "b.")];
        let Service::At(targets) = service_of(records.iter()) else { panic!("no targets") };
        let hosts: Vec<_> = targets.iter().map(|target| target.host.as_str()).collect();
        assert_eq!(hosts, ["a.", "b.", "c."]);
    }

    #[test]
    fn within_a_priority_the_chance_is_the_weight() {
        let records = [srv(1, 3, "three."), srv(1, 0, "zero."), srv(1, 1, "one."), srv(2, 9, "x.")];
        let drawn: Vec<_> = (0..=4).map(|number| first_by_draw(&records, number)).collect();
        assert_eq!(drawn, ["zero.", "one.", "three.", "three.", "three."]);
    }

    #[test]
    fn every_target_is_there_once() {
        let records = [srv(1, 7, "a."), srv(1, 7, "b."), srv(1, 0, "c."), srv(0, 0, "d.")];
        for seed in 0..15 {
            let mut hosts: Vec<_> = in_order(records.iter().collect(), |below| seed % below)
                .iter()
                .map(|record| record.target.to_ascii())
                .collect();
            hosts.sort();
            assert_eq!(hosts, ["a.", "b.", "c.", "d."]);
        }
    }

    #[test]
    fn the_root_as_only_target_means_that_the_service_is_not_offered() {
        assert_eq!(service_of([srv(0, 0, ".")].iter()), Service::NotOffered);
        assert_eq!(service_of([].iter()), Service::Unknown);
        let mixed = [srv(0, 0, "."), srv(1, 0, "a.")];
        assert!(matches!(service_of(mixed.iter()), Service::At(targets) if targets.len() == 1));
    }
}
