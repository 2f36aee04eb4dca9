use crate::conformance::case::Case;
use crate::conformance::check::{Check, check, check_eq};
use crate::conformance::context::Context;
use crate::conformance::sweep::every;
use crate::model::{BackendInfo, Capabilities, HostId, HostState, Support};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(sync "info", backend_has_a_name_and_no_secret, []),
        case!(sync "info", capabilities_survive_the_wire, []),
        case!(sync "info", unsupported_says_why, []),
        case!("info", hosts_can_be_read_one_by_one, [Operation::ListHosts, Operation::GetHost]),
        case!("info", unknown_host_is_not_found, [Operation::GetHost]),
        case!("info", cluster_has_the_listed_hosts, [Operation::GetCluster, Operation::ListHosts]),
    ]
}

fn backend_has_a_name_and_no_secret(cx: &Context) -> Check {
    let info = cx.hv.info();
    check!(!info.backend.is_empty(), "the backend has no name");
    check!(!info.endpoint.is_empty(), "the backend does not say where it is");
    let authority =
        info.endpoint.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(""));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    check!(!user.contains(':'), "the endpoint carries a password");
    let json = serde_json::to_string(info).map_err(|error| unreadable(&error))?;
    let back: BackendInfo = serde_json::from_str(&json).map_err(|error| unreadable(&error))?;
    check_eq!("the info after a trip over a wire", back, *info);
    Ok(())
}

fn capabilities_survive_the_wire(cx: &Context) -> Check {
    let here = cx.hv.capabilities();
    let json = serde_json::to_string(here).map_err(|error| unreadable(&error))?;
    let back: Capabilities = serde_json::from_str(&json).map_err(|error| unreadable(&error))?;
    for ((capability, found), (_, expected)) in back.iter().zip(here.iter()) {
        check_eq!(format!("{capability} after a trip over a wire"), found, expected);
    }
    Ok(())
}

fn unreadable(error: &serde_json::Error) -> crate::conformance::check::Stop {
    crate::conformance::check::Stop::failed(format!("it cannot be written and read as JSON: {error}"))
}

fn unsupported_says_why(cx: &Context) -> Check {
    for (capability, support) in cx.hv.capabilities().iter() {
        if let Support::Unsupported(reason) | Support::Emulated(reason) = support {
            check!(!reason.trim().is_empty(), "{capability} is not native, but no reason is given");
        }
    }
    Ok(())
}

async fn hosts_can_be_read_one_by_one(cx: &Context) -> Check {
    let hosts = every(|page| async move { cx.hv.list_hosts(&page).await }).await?;
    check!(!hosts.is_empty(), "there is no host");
    check!(hosts.iter().any(|host| host.state == HostState::Online), "no host is online");
    for host in hosts {
        let read = cx.hv.get_host(&host.id).await?;
        check_eq!("the id of the host", read.id, host.id);
        check_eq!("the host's CPUs", read.cpus, host.cpus);
        check_eq!("the host's memory", read.memory, host.memory);
        check!(read.cpus != Some(0), "host `{}` has no CPU", host.id);
    }
    Ok(())
}

async fn unknown_host_is_not_found(cx: &Context) -> Check {
    let ghost = HostId::from(cx.name("ghost"));
    let read = cx.hv.get_host(&ghost).await;
    crate::conformance::check::refused_unknown("reading a host that is not there", read, HostId::NOUN, &ghost)
}

async fn cluster_has_the_listed_hosts(cx: &Context) -> Check {
    let cluster = cx.hv.get_cluster().await?;
    check!(cluster.quorate, "the cluster is not quorate");
    let listed = every(|page| async move { cx.hv.list_hosts(&page).await }).await?;
    let mut listed: Vec<HostId> = listed.into_iter().map(|host| host.id).collect();
    let mut members: Vec<HostId> = cluster.hosts.into_iter().map(|host| host.id).collect();
    listed.sort();
    members.sort();
    check_eq!("the cluster's hosts", members, listed);
    Ok(())
}
