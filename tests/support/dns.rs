//! A name server on loopback that answers from a table and remembers what it was asked.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_server::{
    Server,
    net::{runtime::Time, xfer::Protocol},
    proto::{
        op::{Metadata, ResponseCode},
        rr::{
            Name, RData, Record, RecordType,
            rdata::{CNAME, SRV},
        },
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

/// The fake name server; it stops when it is dropped.
///
/// Its answers may not be kept (their time to live is 0) unless a test says so: a change counts from
/// the next question on.
pub(crate) struct FakeDns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _server: Server<Handler>,
}

#[derive(Default)]
struct Zone {
    /// By name and type: the answers to one question after the other, the last one for ever.
    answers: HashMap<(String, RecordType), VecDeque<Vec<RData>>>,
    failing: Vec<String>,
    queries: Vec<String>,
    queries_by_tcp: Vec<String>,
    /// How long the answers about a name hold, in seconds.
    lifetimes: HashMap<String, u32>,
}

struct Handler(Arc<Mutex<Zone>>);

impl FakeDns {
    /// Starts on a port of its own, knowing nothing.
    pub(crate) async fn start() -> Self {
        // The port has to be free for UDP and TCP alike.
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let zone = Arc::<Mutex<Zone>>::default();
        let mut server = Server::new(Handler(zone.clone()));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Self { address, zone, _server: server }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives `name` addresses, in place of those that it had.
    pub(crate) fn host(&self, name: &str, addresses: &[&str]) {
        self.host_in_turn(name, &[addresses]);
    }

    /// Gives `name` other addresses at each question; the last ones stay.
    pub(crate) fn host_in_turn(&self, name: &str, turns: &[&[&str]]) {
        for kind in [RecordType::A, RecordType::AAAA] {
            let turns = turns.iter().map(|addresses| {
                let addresses = addresses.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
                addresses.map(RData::from).filter(|data| data.record_type() == kind).collect()
            });
            self.set(name, kind, turns.collect());
        }
    }

    /// Makes `name` an alias of `target`.
    pub(crate) fn alias(&self, name: &str, target: &str) {
        self.set(name, RecordType::CNAME, [vec![RData::CNAME(CNAME(fqdn(target)))]].into());
    }

    /// Gives the service called `name` its targets: priority, weight, port, host.
    pub(crate) fn service(&self, name: &str, targets: &[(u16, u16, u16, &str)]) {
        let records = targets.iter().map(|(priority, weight, port, host)| {
            RData::SRV(SRV::new(*priority, *weight, *port, fqdn(host)))
        });
        self.set(name, RecordType::SRV, [records.collect()].into());
    }

    /// Answers every question about `name` with SERVFAIL.
    pub(crate) fn fail(&self, name: &str) {
        self.zone.lock().unwrap().failing.push(name.to_owned());
    }

    /// What was asked so far, such as `A example.org`.
    pub(crate) fn queries(&self) -> Vec<String> {
        self.zone.lock().unwrap().queries.clone()
    }

    /// What was asked so far by TCP, as after an answer that was too long for UDP.
    pub(crate) fn queries_by_tcp(&self) -> Vec<String> {
        self.zone.lock().unwrap().queries_by_tcp.clone()
    }

    /// Lets the answers about `name` hold for `seconds`.
    pub(crate) fn keep(&self, name: &str, seconds: u32) {
        self.zone.lock().unwrap().lifetimes.insert(name.to_owned(), seconds);
    }

    fn set(&self, name: &str, kind: RecordType, turns: VecDeque<Vec<RData>>) {
        self.zone.lock().unwrap().answers.insert((name.to_ascii_lowercase(), kind), turns);
    }
}

impl Zone {
    fn answer(&mut self, name: &str, kind: RecordType) -> (ResponseCode, Vec<Record>) {
        self.queries.push(format!("{kind} {name}"));
        if self.failing.iter().any(|failing| failing == name) {
            return (ResponseCode::ServFail, Vec::new());
        }
        let ttl = self.lifetimes.get(name).copied().unwrap_or(0);
        let mut records = Vec::new();
        let mut name = name.to_owned();
        while let Some(turns) = self.answers.get(&(name.clone(), RecordType::CNAME)) {
            let RData::CNAME(target) = &turns[0][0] else { break };
            records.push(Record::from_rdata(fqdn(&name), ttl, RData::CNAME(target.clone())));
            target.0.to_ascii().trim_end_matches('.').clone_into(&mut name);
        }
        if let Some(turns) = self.answers.get_mut(&(name.clone(), kind)) {
            let turn = if turns.len() > 1 { turns.pop_front() } else { turns.front().cloned() };
            let turn = turn.unwrap_or_default();
            records.extend(turn.into_iter().map(|data| Record::from_rdata(fqdn(&name), ttl, data)));
        }
        let is_known = !records.is_empty() || self.answers.keys().any(|(known, _)| *known == name);
        (if is_known { ResponseCode::NoError } else { ResponseCode::NXDomain }, records)
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let query = request.request_info().unwrap().query;
        let name = Name::from(query.name()).to_ascii().trim_end_matches('.').to_owned();
        let (code, records) = {
            let mut zone = self.0.lock().unwrap();
            if request.protocol() == Protocol::Tcp {
                zone.queries_by_tcp.push(format!("{} {name}", query.query_type()));
            }
            zone.answer(&name, query.query_type())
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        metadata.recursion_available = true;
        let response = MessageResponseBuilder::from_message_request(request);
        let response = response.build(metadata, &records, [], [], []);
        response_handle.send_response(response).await.unwrap()
    }
}

fn fqdn(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}
