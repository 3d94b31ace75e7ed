//! Which addresses a stranger may make this server connect to.
//!
//! The built-in ranges follow the IANA special-purpose address registries
//! ([IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry),
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config;

/// Decides which addresses may be connected to when others name the host.
///
/// A network under `deny_networks` is always refused. One under `allow_networks` is an exception
/// to the built-in ranges only. An IPv6 address that carries an IPv4 address for a translator
/// is judged as that IPv4 address.
#[derive(Debug, Clone)]
pub struct AddressGuard {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl AddressGuard {
    /// A guard with the operator's exceptions and additions.
    #[must_use]
    pub fn new(federation: &config::Federation) -> Self {
        Self { allow: federation.allow_networks.clone(), deny: federation.deny_networks.clone() }
    }

    /// Whether `address` may be connected to.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let reached = reached(address);
        let listed = |networks: &[IpNet], address: IpAddr| {
            networks.iter().any(|network| network.contains(&address))
        };
        if listed(&self.deny, address) || listed(&self.deny, reached) {
            return false;
        }
        listed(&self.allow, reached) || is_global(reached)
    }
}

/// The address that a connection to `address` ends at: the IPv4 address for the IPv4-mapped form,
/// which the operating system turns back itself, and for NAT64's well-known prefix (RFC 6052),
/// through which a network without IPv4 reaches all of it.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if NAT64.contains(&v6) {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address.to_canonical()
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !NOT_GLOBAL_V4.iter().any(|network| network.contains(&v4)),
        IpAddr::V6(v6) => {
            GLOBAL_UNICAST.contains(&v6)
                && !NOT_GLOBAL_V6.iter().any(|network| network.contains(&v6))
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

const NOT_GLOBAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),       // this network; Linux takes 0.0.0.0 for the loopback
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local, and the clouds' metadata services
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(198, 18, 0, 0, 15),   // benchmarking
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 4),     // multicast
    v4(240, 0, 0, 0, 4),     // reserved, and broadcast
];

/// All of IPv6 that is given out for global use. What lies outside is refused as a whole:
/// unspecified, loopback, IPv4-compatible, local NAT64, discard-only, segment routing, unique-local,
/// link-local, site-local, multicast, and whatever is not assigned.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 3);

const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);

const NOT_GLOBAL_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23), // protocol assignments: Teredo, benchmarking, ORCHID and more
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16), // 6to4, which leads to an embedded IPv4 address
    v6(0x3fff, 0, 20), // documentation
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn guard(allow: &[&str], deny: &[&str]) -> AddressGuard {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        AddressGuard::new(&config::Federation {
            allow_networks: networks(allow),
            deny_networks: networks(deny),
            ca_file: None,
            timeout: Duration::from_secs(1),
        })
    }

    fn permits(guard: &AddressGuard, address: &str) -> bool {
        guard.permits(address.parse().unwrap())
    }

    #[test]
    fn the_first_and_last_address_of_each_special_range_are_refused() {
        let guard = guard(&[], &[]);
        for range in [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/128",
            "::1/128",
            "::/96",
            "::ffff:127.0.0.0/104",
            "::ffff:0:0:0/96",
            "64:ff9b::10.0.0.0/104",
            "64:ff9b:1::/48",
            "100::/64",
            "2001::/32",
            "2001:2::/48",
            "2001:10::/28",
            "2001:20::/28",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
            "4000::/3",
            "5f00::/16",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ] {
            let network: IpNet = range.parse().unwrap();
            assert!(!guard.permits(network.network()), "first of {range}");
            assert!(!guard.permits(network.broadcast()), "last of {range}");
        }
    }

    #[test]
    fn the_neighbours_of_the_special_ranges_are_permitted() {
        let guard = guard(&[], &[]);
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2606:4700::1",
            "3ffe::",
            "3fff:1000::",
            "::ffff:9.9.9.9",
            "64:ff9b::9.9.9.9",
        ] {
            assert!(permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn an_allowed_network_is_an_exception_for_its_translated_forms_too() {
        let guard = guard(&["10.1.0.0/16", "fd00::/8", "2002::/16"], &[]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "2002::1"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.2.0.0", "::ffff:10.2.0.0", "127.0.0.1", "fc00::1", "::1"] {
            assert!(!permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn allowing_all_of_ipv6_does_not_allow_ipv4_in_disguise() {
        let guard = guard(&["::/0"], &[]);
        assert!(permits(&guard, "::1"));
        assert!(!permits(&guard, "::ffff:127.0.0.1"));
        assert!(!permits(&guard, "64:ff9b::127.0.0.1"));
    }

    #[test]
    fn a_denied_network_is_refused_even_where_it_is_allowed() {
        let guard = guard(&["10.0.0.0/8"], &["10.1.0.0/16", "9.9.9.0/24", "64:ff9b::/96"]);
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "9.9.9.9", "64:ff9b::8.8.8.8"] {
            assert!(!permits(&guard, address), "{address}");
        }
        assert!(permits(&guard, "10.2.0.0"));
        assert!(permits(&guard, "8.8.8.8"));
    }

    proptest! {
        #[test]
        fn a_refused_ipv4_address_is_refused_in_every_ipv6_form(bits: u32, range in 0..15_usize) {
            let guard = guard(&[], &[]);
            // Half of what is tried lies in a special range; a random address seldom does.
            let special = NOT_GLOBAL_V4[range];
            let inside = u32::from(special.network()) | (bits & u32::from(special.hostmask()));
            for v4 in [Ipv4Addr::from(bits), Ipv4Addr::from(inside)] {
                let forms = [
                    v4.to_ipv6_mapped(),
                    v4.to_ipv6_compatible(),
                    Ipv6Addr::from((0x64_ff9b_u128 << 96) | u128::from(u32::from(v4))),
                    Ipv6Addr::from((0x2002_u128 << 112) | (u128::from(u32::from(v4)) << 80)),
                ];
                for form in forms {
                    prop_assert!(
                        guard.permits(v4.into()) || !guard.permits(form.into()),
                        "{v4} is refused, {form} is not"
                    );
                }
            }
        }
    }
}
