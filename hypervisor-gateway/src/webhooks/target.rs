//! Where webhooks may lead. Whoever may make a webhook can have the gateway send requests from where it stands, which outsiders cannot reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::WebhookTargets;

/// The metadata service of AWS by IPv6; the others' addresses are link-local.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Addresses that no receiver of webhooks has, but cloud providers' metadata services do.
fn never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || v6 == METADATA
        }
    }
}

fn public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let special = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
    !(address.is_private() || address.is_loopback() || address.is_documentation() || shared || special)
}

fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => public_v4(v4),
        // Global unicast alone; of it neither 6to4 nor Teredo, in which others' addresses are wrapped, nor what is for documents.
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, second, ..] => second != 0 && second != 0xdb8,
            [first, ..] => (0x2000..0x4000).contains(&first) && first != 0x2002,
        },
    }
}

/// Whether deliveries may go to this address.
fn may(targets: &WebhookTargets, address: IpAddr) -> bool {
    let address = address.to_canonical();
    !never(address) && (*targets != WebhookTargets::Public || public(address))
}

/// Why a webhook must not have this URL, as far as that is to be seen without a name server.
pub(super) fn refused(targets: &WebhookTargets, url: &Url) -> Option<String> {
    let host = url.host_str()?;
    if let WebhookTargets::Hosts(hosts) = targets
        && !hosts.iter().any(|each| each.eq_ignore_ascii_case(host))
    {
        return Some("the host is not among those that this gateway sends webhooks to".to_owned());
    }
    let address = match url.host()? {
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
        Host::Domain(_) => return None,
    };
    (!may(targets, address)).then(|| format!("this gateway sends no webhooks to {address}"))
}

/// Looks names up when they are used, so that a name which leads elsewhere by then is no way in.
pub(super) struct Guarded(pub(super) WebhookTargets);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let targets = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (good, bad): (Vec<SocketAddr>, Vec<_>) =
                found.partition(|address| may(&targets, address.ip()));
            if good.is_empty() && !bad.is_empty() {
                let why = format!("this gateway sends no webhooks to where `{}` leads", name.as_str());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_as(targets: &WebhookTargets, url: &str) -> bool {
        refused(targets, &Url::parse(url).unwrap()).is_some()
    }

    #[test]
    fn addresses_are_told_apart() {
        let never =
            ["169.254.169.254", "0.0.0.0", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"];
        let inside =
            ["127.0.0.1", "10.1.2.3", "192.168.0.1", "100.64.0.1", "[::1]", "[fd12::1]", "[::ffff:10.0.0.1]"];
        let wrapped = ["[2002:a00:1::]", "[64:ff9b::a00:1]", "[2001:0:a00:1::]"];
        let outside = ["93.184.216.34", "[2606:4700::1]", "[2001:4860::1]"];
        for host in never {
            for targets in [WebhookTargets::Any, WebhookTargets::Public] {
                assert!(refused_as(&targets, &format!("http://{host}/x")), "{host}");
            }
        }
        for host in inside.iter().chain(&wrapped) {
            assert!(!refused_as(&WebhookTargets::Any, &format!("http://{host}/x")), "{host}");
            assert!(refused_as(&WebhookTargets::Public, &format!("http://{host}/x")), "{host}");
        }
        for host in outside {
            assert!(!refused_as(&WebhookTargets::Public, &format!("https://{host}/x")), "{host}");
        }
        // Forms that only look different: URLs are brought into one form first.
        assert!(refused_as(&WebhookTargets::Any, "http://0xa9fea9fe/x"));
        let hosts = WebhookTargets::Hosts(vec!["hooks.example.com".to_owned()]);
        assert!(!refused_as(&hosts, "https://HOOKS.example.com/x"));
        assert!(refused_as(&hosts, "https://other.example.com/x"));
    }
}
