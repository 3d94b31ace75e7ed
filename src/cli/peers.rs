//! `bindery peers`: what the operator does about other identity servers.

mod public_keys;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::Value;

use super::{
    cursor, existing_store, keys, say,
    steps::{Failed, step},
};
use crate::{
    app::App,
    clock::{Clock, SystemClock},
    config::Config,
    federation::{
        Discovered, FoundBy, HashDetails, HashedQuery, PeerAddress, PeerError, PeerPolicy,
    },
    matrix::{
        id::{ServerName, UserId},
        json::Object,
        signing::verifies,
        threepid::{ThreePid, encode_hash},
    },
    service,
    store::{StoreError, peer_terms},
};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the identity servers that the configuration names, and how far neighbours were told
    List,
    /// Look for an identity server and ask it, step by step; no address is looked up
    #[command(
        after_help = "Exits with 1 where a step failed. To be let in by API v2 this server has to \
                            run: the other one asks it back."
    )]
    Check {
        /// A domain, or the https URL of an identity server
        name: String,
    },
    /// Look an address up where this server would ask for it, step by step
    Lookup {
        /// Such as email or msisdn
        medium: String,
        /// The address; of a phone number its digits with the country code
        address: String,
    },
    /// Show the terms of an identity server
    Terms {
        /// A domain, or the https URL of an identity server
        name: String,
        /// Accept them for this server, from now on
        #[arg(long)]
        accept: bool,
    },
}

pub(super) async fn run(command: Command, config: Config) -> anyhow::Result<()> {
    if let Command::List = command {
        return list(&config).await;
    }
    let store = existing_store(&config.database)?;
    let ring = keys::read(&config.signing.key_file)?;
    let app = App::open(config, store, ring, Arc::new(SystemClock))?;
    match command {
        Command::List => Ok(()),
        Command::Check { name } => {
            let peers = named(&app, &name).await?;
            let mut is_well = true;
            for peer in peers {
                is_well &= check(&app, &peer, &name).await?;
            }
            if is_well { Ok(()) } else { bail!("not everything works") }
        }
        Command::Lookup { medium, address } => lookup(&app, &medium, &address).await,
        Command::Terms { name, accept } => {
            for peer in named(&app, &name).await? {
                terms(&app, &peer, accept).await?;
            }
            Ok(())
        }
    }
}

async fn list(config: &Config) -> anyhow::Result<()> {
    let peers = &config.peers;
    say(&format!("discover\t{}", if peers.discover { "on" } else { "off" }))?;
    peers.forward.iter().try_for_each(|url| say(&format!("forward\t{url}")))?;
    for neighbour in &peers.replicate {
        let url = neighbour.url.as_deref().unwrap_or("-");
        say(&format!("replicate\t{}\t{url}", neighbour.name))?;
    }
    if peers.replicate.iter().all(|neighbour| neighbour.url.is_none()) {
        return Ok(());
    }
    // The configuration is listed before there is a database as well.
    match existing_store(&config.database) {
        Ok(store) => cursor::list(&store, config).await,
        Err(error) => say(&format!("told\tunknown: {error:#}")),
    }
}

/// The servers that are meant by a domain or a URL.
async fn named(app: &App, name: &str) -> anyhow::Result<Vec<PeerAddress>> {
    if name.contains("://") {
        let is_forward = app.config.peers.forward.iter().any(|url| url == name);
        if !is_forward && !name.starts_with("https://") {
            bail!("identity servers are asked by https only: write https://");
        }
        return Ok(vec![PeerAddress::of_operator(name)?]);
    }
    match find(app, name).await? {
        Some(peers) if !peers.is_empty() => Ok(peers),
        _ if app.config.peers.replicate.iter().any(|one| one.name.as_str() == name) => {
            Ok(vec![PeerAddress::of_operator(&format!("https://{name}"))?])
        }
        _ => bail!("nobody else can be asked about {name}"),
    }
}

/// The servers of a domain; `None` if that failed.
async fn find(app: &App, domain: &str) -> anyhow::Result<Option<Vec<PeerAddress>>> {
    let tell = |found: &Discovered| match found {
        Discovered::Nothing => "it has none".to_owned(),
        Discovered::Ourselves => "it is this server".to_owned(),
        Discovered::At(peers, by) => {
            let by = match by {
                FoundBy::Service => "service records",
                FoundBy::WellKnown => "the well-known document",
            };
            let peers: Vec<_> = peers.iter().map(PeerAddress::as_str).collect();
            format!("by {by}: {}", peers.join(", "))
        }
    };
    let name = format!("the identity server of {domain}");
    let found = step(&name, app.federation.identity_server(domain), tell).await?;
    for target in app.federation.passed_over(domain).await {
        say(&format!("      {target} is passed over: it is an alias (CNAME)"))?;
        say("      service records have to name the host itself (RFC 2782)")?;
    }
    Ok(match found {
        Ok(Discovered::At(peers, _)) => Some(peers),
        Ok(Discovered::Nothing | Discovered::Ourselves) => Some(Vec::new()),
        Err(_) => None,
    })
}

/// Asks all but for an address; answers whether all went well.
async fn check(app: &App, peer: &PeerAddress, name: &str) -> anyhow::Result<bool> {
    say(&format!("{peer}"))?;
    let versions = step("connection and certificate", app.federation.peer_versions(peer), |it| {
        match (it.v1, it.v2) {
            (true, true) => "speaks API v2 and v1",
            (false, true) => "speaks API v2",
            (true, false) => "speaks API v1 only",
            (false, false) => "speaks no API of identity servers",
        }
        .to_owned()
    });
    let Ok(versions) = versions.await? else { return Ok(false) };
    if !versions.v1 && !versions.v2 {
        return Ok(false);
    }
    let are_keys_good = public_keys::check(app, peer, name).await?;
    if !versions.v2 {
        return Ok(are_keys_good);
    }
    let terms = step("terms", app.federation.terms(peer), |policies| told(policies)).await?;
    Ok(terms.is_ok() && enter(app, peer).await?.is_some() && are_keys_good)
}

fn told(policies: &[PeerPolicy]) -> String {
    let ids: Vec<_> = policies.iter().map(|it| format!("{} {}", it.id, it.version)).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

/// Registers, with the terms that were accepted; answers the token, and how to hash.
async fn enter(app: &App, peer: &PeerAddress) -> anyhow::Result<Option<(String, HashDetails)>> {
    let openid = service::openid::mint(app, peer).await?;
    let registered = app.federation.register(peer, &openid);
    let user = service::openid::own_user(app);
    let Ok(token) = step("account", registered, |_| user).await? else { return Ok(None) };
    let of_peer = peer.to_string();
    let accepted = app.store.read::<_, StoreError>(move |tx| peer_terms::accepted(tx, &of_peer));
    let accepted = accepted.await?;
    if !accepted.is_empty() {
        let sent = app.federation.accept_terms(peer, &token, &accepted);
        let sent = step("accepting its terms", sent, |()| accepted.join(", ")).await?;
        if sent.is_err() {
            return Ok(None);
        }
    }
    let details = step("hashing", app.federation.hash_details(peer, &token), |details| {
        format!("pepper {}, {}", details.lookup_pepper, details.algorithms.join(", "))
    });
    Ok(details.await?.ok().map(|details| (token, details)))
}

async fn lookup(app: &App, medium: &str, address: &str) -> anyhow::Result<()> {
    let threepid = app.mediums.threepid(medium, address);
    let threepid = threepid.with_context(|| format!("{address} is no address of {medium}"))?;
    let domain = threepid.address().rsplit_once('@').map(|(_, domain)| domain.to_owned());
    let mut peers = Vec::new();
    if let Some(domain) = domain.filter(|_| app.config.peers.discover) {
        peers.extend(find(app, &domain).await?.unwrap_or_default());
    }
    for url in &app.config.peers.forward {
        peers.push(PeerAddress::of_operator(url)?);
    }
    let mut seen = BTreeSet::new();
    for peer in peers.iter().filter(|peer| seen.insert(peer.as_str())) {
        say(peer.as_str())?;
        if let Some(mxid) = ask(app, peer, &threepid).await? {
            return say(mxid.as_str());
        }
    }
    bail!("nobody knows it")
}

async fn ask(app: &App, peer: &PeerAddress, threepid: &ThreePid) -> anyhow::Result<Option<UserId>> {
    let speaks = |v2: &bool| if *v2 { "API v2" } else { "API v1 only" }.to_owned();
    let versions = async { app.federation.peer_versions(peer).await.map(|it| it.v2) };
    match step("connection and certificate", versions, speaks).await? {
        Ok(true) => {}
        Ok(false) => return ask_v1(app, peer, threepid).await,
        Err(_) => return Ok(None),
    }
    let Some((token, details)) = enter(app, peer).await? else { return Ok(None) };
    let pepper = details.lookup_pepper;
    let addresses = [encode_hash(&threepid.lookup_hash(&pepper))];
    let query = HashedQuery { algorithm: "sha256", pepper: &pepper, addresses: &addresses };
    let found = async {
        let found = app.federation.lookup_v2(peer, &token, query).await?;
        Ok::<_, PeerError>(found.into_values().next())
    };
    let who = |found: &Option<UserId>| {
        found.as_ref().map_or_else(|| "unknown there".to_owned(), ToString::to_string)
    };
    Ok(step("lookup", found, who).await?.ok().flatten())
}

/// An answer by API v1 counts only with a signature that verifies by a key of the peer.
async fn ask_v1(
    app: &App,
    peer: &PeerAddress,
    threepid: &ThreePid,
) -> anyhow::Result<Option<UserId>> {
    let (medium, address) = (threepid.medium().as_str(), threepid.address());
    let found = app.federation.lookup_v1(peer, medium, address);
    let tell = |found: &Option<Object>| {
        if found.is_some() { "an association" } else { "unknown there" }.to_owned()
    };
    let Ok(Some(association)) = step("lookup by v1", found, tell).await? else { return Ok(None) };
    let verified = step("signature", signed_by(app, peer, &association), ToOwned::to_owned);
    if verified.await?.is_err() {
        return Ok(None);
    }
    let now_ms = SystemClock.now_ms();
    let time = |key: &str| association.get(key).and_then(Value::as_i64);
    let holds = time("not_before").is_some_and(|from| from <= now_ms)
        && time("not_after").is_some_and(|until| now_ms <= until);
    if !holds {
        say("FAIL  validity: the association doesn't hold now")?;
        return Ok(None);
    }
    Ok(association.get("mxid").and_then(|mxid| mxid.as_str()?.parse().ok()))
}

/// Why nobody stands for an association.
#[derive(Debug, thiserror::Error)]
enum Unsigned {
    #[error("none verifies with a key that it serves")]
    Forged,
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl Failed for Unsigned {
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Forged => Some("such an answer doesn't count; its operator can tell why"),
            Self::Peer(error) => error.remedy(),
        }
    }
}

/// Name and key id of a signature that verifies.
async fn signed_by(
    app: &App,
    peer: &PeerAddress,
    association: &Object,
) -> Result<String, Unsigned> {
    let signers = association.get("signatures").and_then(Value::as_object);
    for (name, signatures) in signers.into_iter().flatten() {
        let Ok(signer) = name.parse::<ServerName>() else { continue };
        for key_id in signatures.as_object().into_iter().flat_map(Object::keys) {
            let key = app.federation.public_key(peer, key_id).await?;
            if key.is_some_and(|key| verifies(association, &signer, key_id, &key)) {
                return Ok(format!("by {name}, {key_id}"));
            }
        }
    }
    Err(Unsigned::Forged)
}

async fn terms(app: &App, peer: &PeerAddress, accept: bool) -> anyhow::Result<()> {
    say(peer.as_str())?;
    let Ok(policies) = step("terms", app.federation.terms(peer), |it| told(it)).await? else {
        bail!("its terms can't be read");
    };
    for policy in &policies {
        for (language, name, url) in &policy.texts {
            say(&format!("{}\t{}\t{language}\t{name}\t{url}", policy.id, policy.version))?;
        }
    }
    let texts = policies.into_iter().flat_map(|policy| policy.texts);
    let urls: Vec<String> = texts.map(|(_, _, url)| url).collect();
    if !accept || urls.is_empty() {
        return Ok(());
    }
    let (of_peer, now_ms) = (peer.to_string(), SystemClock.now_ms());
    app.store
        .write::<_, StoreError>(move |tx| peer_terms::accept(tx, &of_peer, &urls, now_ms))
        .await?;
    say("They are accepted for this server.")
}
