//! Starting, stopping and what lies between.

use std::time::Duration;

use super::call::{Call, Params, Who};
use super::cluster::Cluster;
use super::config::apply_pending;
use super::guest::{Guest, Kind, Power, is_indexed};
use super::reply::{Answer, Outcome, Refusal, data};
use super::sdn::is_in_force;
use super::storage::Volume;
use super::tasks::{Next, Work};
use crate::wire::property;

/// `POST …/status/{verb}`.
pub(super) fn command(
    cluster: &mut Cluster,
    call: &Call,
    (kind, host, vmid): (Kind, &str, u32),
    verb: &str,
) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.PowerMgmt"])?;
    if call.params.has("skiplock") && !call.who.is_root() {
        return Err(Refusal::parameter("skiplock", "Only root may use this option."));
    }
    let noun = kind.noun();
    let not_running = || Refusal::die(format!("{noun} {vmid} not running"));
    if matches!(verb, "start" | "stop" | "shutdown")
        && cluster.guests.get(&vmid).is_some_and(|guest| guest.managed)
    {
        return Ok(queue(cluster, call, (kind, host, vmid), verb == "start"));
    }
    // What is refused at once, and what the task will say.
    let guest = cluster.at(kind, host, vmid);
    match (kind, verb) {
        (Kind::Qemu, "start" | "stop" | "shutdown") => {}
        (Kind::Qemu, "resume") => {
            let guest = guest.map_err(Refusal::die)?;
            if !guest.is_running() && guest.get("lock") != Some("suspended") {
                return Err(not_running());
            }
        }
        (Kind::Lxc, "start") => {
            if guest.map_err(Refusal::die)?.is_running() {
                return Err(Refusal::die(format!("CT {vmid} already running")));
            }
        }
        _ => {
            if !guest.map_err(Refusal::die)?.is_running() {
                return Err(not_running());
            }
        }
    }
    let task = match (kind, verb) {
        (Kind::Qemu, "suspend") if call.flag("todisk") => "qmsuspend".to_owned(),
        (Kind::Qemu, "suspend") => "qmpause".to_owned(),
        _ => kind.task(verb),
    };
    if verb == "stop" && call.flag("overrule-shutdown") {
        let wanted = kind.task("shutdown");
        let holder = cluster.guests.get(&vmid).and_then(|guest| guest.holder.clone());
        if let Some(upid) = holder.filter(|upid| upid.contains(&format!(":{wanted}:"))) {
            cluster.interrupt(&upid);
        }
    }
    let work = Work { who: &call.who, host, kind: task, subject: vmid.to_string(), lock: Some(vmid) };
    let time = cluster.task_time(&work.kind);
    let (host_name, verb) = (host.to_owned(), verb.to_owned());
    let force_stop = call.get("forceStop").map_or(kind == Kind::Lxc && verb == "stop", |value| value == "1");
    let wait = Duration::from_secs(call.params.number("timeout").unwrap_or(60));
    let (to_disk, storage) = (call.flag("todisk"), call.params.text("statestorage"));
    let upid = cluster.dispatch(
        work,
        Box::new(move |cluster, upid| {
            let guest = cluster.at(kind, &host_name, vmid)?;
            check_begin(guest, &verb)?;
            let deaf = !guest.obeys && guest.is_running() && matches!(verb.as_str(), "shutdown" | "reboot");
            let time = if deaf { wait } else { time };
            if deaf && !guest.has_agent() && kind == Kind::Qemu {
                cluster.tasks.log(upid, "the guest does not react to the power button".to_owned());
            }
            if verb == "start"
                && let Some(lines) = missing_kvm(cluster, vmid).or_else(|| missing_bridge(cluster, vmid))
            {
                return Err(lines);
            }
            if to_disk {
                if let Some(guest) = cluster.guests.get_mut(&vmid) {
                    guest.set("lock", "suspending");
                }
                cluster.tasks.on_abort(upid, move |cluster| unlock(cluster, vmid));
            }
            Ok(Next::After(
                time,
                Box::new(move |cluster, upid| {
                    cluster.at(kind, &host_name, vmid)?;
                    match verb.as_str() {
                        "start" => switch_on(cluster, vmid)?,
                        "resume" if cluster.at(kind, &host_name, vmid)?.is_running() => {
                            set_power(cluster, vmid, Power::Running);
                        }
                        "resume" => switch_on(cluster, vmid)?,
                        "suspend" if to_disk => hibernate(cluster, vmid, storage.as_deref()),
                        "suspend" if kind == Kind::Qemu => set_power(cluster, vmid, Power::Paused),
                        "suspend" => return Err("checkpointing failed".to_owned()),
                        "shutdown" if deaf && !force_stop => {
                            return Err("VM quit/powerdown failed - got timeout".to_owned());
                        }
                        "shutdown" if deaf => {
                            cluster.tasks.log(upid, "VM still running - terminating now with SIGTERM");
                            switch_off(cluster, vmid);
                        }
                        "reboot" if deaf => return Err("VM quit/powerdown failed - got timeout".to_owned()),
                        "stop" | "shutdown" => switch_off(cluster, vmid),
                        "reboot" => {
                            switch_off(cluster, vmid);
                            switch_on(cluster, vmid)?;
                        }
                        _ => restart_clock(cluster, vmid),
                    }
                    Ok(Next::Done)
                }),
            ))
        }),
    );
    data(upid)
}

/// What `start=1` of a create, a restore or a rollback does: a start that is a task of its own, of which that one says nothing.
pub(super) fn start_later(cluster: &mut Cluster, who: &Who, (kind, host, vmid): (Kind, &str, u32)) {
    let call = Call {
        method: "POST".to_owned(),
        path: format!("/nodes/{host}/{}/{vmid}/status/start", kind.path()),
        who: who.clone(),
        entry: host.to_owned(),
        params: Params::default(),
        upload: None,
    };
    // That it is refused is a line in a log that nobody reads.
    let _ = command(cluster, &call, (kind, host, vmid), "start");
}

/// Hands a verb to high availability: a task that ends at once, and the verb itself a while later.
fn queue(cluster: &mut Cluster, call: &Call, (kind, host, vmid): (Kind, &str, u32), on: bool) -> Answer {
    let verb = if on { "start" } else { "stop" };
    let subject = vmid.to_string();
    let kind_of_task = format!("ha{verb}");
    let work = Work { who: &call.who, host, kind: kind_of_task, subject: subject.clone(), lock: None };
    let upid = cluster.dispatch(work, Box::new(|_, _| Ok(Next::Done)));
    let root = Who { user: "root@pam".to_owned(), token: None };
    let later = cluster.task_time(&kind.task(verb)).saturating_mul(4);
    let work = Work { who: &root, host, kind: kind.task(verb), subject, lock: Some(vmid) };
    cluster.dispatch(
        work,
        Box::new(move |_, _| {
            Ok(Next::After(
                later,
                Box::new(move |cluster, _| {
                    if on {
                        switch_on(cluster, vmid)?;
                    } else {
                        switch_off(cluster, vmid);
                    }
                    Ok(Next::Done)
                }),
            ))
        }),
    );
    Answer::Data(upid.into())
}

fn check_begin(guest: &Guest, verb: &str) -> Result<(), String> {
    let lock = guest.get("lock");
    let from_disk = lock == Some("suspended") && matches!(verb, "start" | "resume");
    if let Some(text) = guest.locked().filter(|_| !from_disk && verb != "stop") {
        return Err(text);
    }
    if verb == "stop" && lock.is_some_and(|lock| !matches!(lock, "suspended" | "backup")) {
        return guest.locked().map_or(Ok(()), Err);
    }
    match verb {
        "start" if guest.is_template() => Err(match guest.kind {
            Kind::Qemu => "you can't start a vm if it's a template".to_owned(),
            Kind::Lxc => "you can't start a CT if it's a template".to_owned(),
        }),
        "start" if guest.is_running() => Err(format!("{} {} already running", guest.kind.noun(), guest.vmid)),
        _ => Ok(()),
    }
}

/// A machine with KVM does not start where the processors cannot virtualise.
fn missing_kvm(cluster: &Cluster, vmid: u32) -> Option<String> {
    let guest = cluster.guests.get(&vmid)?;
    let emulated = guest.kind == Kind::Lxc || guest.get("kvm") == Some("0");
    let why = "KVM virtualisation configured, but not available. Either disable in VM configuration or enable in BIOS.";
    (!cluster.options.kvm && !emulated).then(|| why.to_owned())
}

/// A guest does not start on a bridge that its host does not have.
fn missing_bridge(cluster: &Cluster, vmid: u32) -> Option<String> {
    let guest = cluster.guests.get(&vmid)?;
    let host = cluster.hosts.iter().find(|host| host.name == guest.host)?;
    let nics = guest.config.iter().filter(|(key, _)| is_indexed(key, "net"));
    let mut bridges = nics.filter_map(|(_, value)| property::parse(value).get("bridge").map(str::to_owned));
    let missing =
        bridges.find(|name| !host.up.contains(name) && !cluster.vnets.get(name).is_some_and(is_in_force))?;
    Some(format!("bridge '{missing}' does not exist"))
}

fn unlock(cluster: &mut Cluster, vmid: u32) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config.remove("lock");
    }
}

fn set_power(cluster: &mut Cluster, vmid: u32, power: Power) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.power = power;
    }
}

fn restart_clock(cluster: &mut Cluster, vmid: u32) {
    let now = cluster.clock.now();
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.since = now;
        guest.power = Power::Running;
        guest.agent.restart();
    }
}

/// Lets a guest run, from its saved memory where it has one.
pub(super) fn switch_on(cluster: &mut Cluster, vmid: u32) -> Result<(), String> {
    apply_pending(cluster, vmid);
    let host = cluster.guests.get(&vmid).map(|guest| guest.host.clone()).unwrap_or_default();
    let pid = cluster.host_mut(&host).map_or(1, super::cluster::Host::pid);
    let state = cluster.guests.get_mut(&vmid).and_then(|guest| {
        if guest.get("lock") == Some("suspended") {
            guest.config.remove("lock");
        }
        guest.config.remove("vmstate")
    });
    if let Some(volid) = state {
        cluster.remove_volume(&host, &volid);
    }
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.pid = pid;
    }
    restart_clock(cluster, vmid);
    Ok(())
}

/// Takes the power away.
pub(super) fn switch_off(cluster: &mut Cluster, vmid: u32) {
    set_power(cluster, vmid, Power::Stopped);
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.agent.restart();
    }
    apply_pending(cluster, vmid);
}

/// Keeps the memory on a storage and stops.
fn hibernate(cluster: &mut Cluster, vmid: u32, storage: Option<&str>) {
    let Some(guest) = cluster.guests.get(&vmid) else { return };
    let (host, size) = (guest.host.clone(), guest.memory());
    let of_disk =
        guest.disks().first().and_then(|(_, disk)| super::guest::disk_volume(disk).map(str::to_owned));
    let of_disk = of_disk.and_then(|volid| volid.split_once(':').map(|(name, _)| name.to_owned()));
    let name = storage.map(str::to_owned).or(of_disk).unwrap_or_else(|| "local".to_owned());
    let files = cluster.storages.get(&name).is_some_and(super::storage::Storage::has_files);
    let file = format!("vm-{vmid}-state-suspend-{}", super::clock::date(cluster.clock.unix()));
    let volid = if files { format!("{name}:{vmid}/{file}.raw") } else { format!("{name}:{file}") };
    let mut volume = Volume::new("images", "raw", size, cluster.clock.unix());
    volume.vmid = Some(vmid);
    cluster.put_volume(&host, &volid, volume);
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.set("vmstate", volid);
        guest.set("lock", "suspended");
        guest.power = Power::Stopped;
    }
}
