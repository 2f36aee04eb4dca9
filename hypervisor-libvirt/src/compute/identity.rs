//! What makes two guests of one definition: names, addresses, and what only one guest at a time can have.

use uuid::Uuid;

use crate::xml::Element;
use crate::xml::device::random_mac;

/// Gives a definition a name, a UUID and addresses of its own.
pub(crate) fn new_identity(definition: &mut Element, name: &str, uuid: Uuid) {
    let old = Old { name: definition.text_at("name"), uuid: definition.text_at("uuid") };
    definition.set_child_text("name", name).set_child_text("uuid", uuid.to_string());
    if let Some(genid) = definition.child_mut("genid") {
        // It would say that it is the same machine; libvirt makes up another.
        genid.children.clear();
    }
    // libvirt refuses one that differs from the guest's UUID.
    for info in definition.elements_mut().filter(|item| item.name == "sysinfo") {
        let Some(system) = info.child_mut("system") else { continue };
        for entry in system.elements_mut().filter(|item| item.name == "entry") {
            let same = old.uuid.as_ref().is_some_and(|uuid| entry.text().trim().eq_ignore_ascii_case(uuid));
            if same && matches!(entry.attr("name"), Some("uuid" | "serial")) {
                entry.set_text(uuid.to_string());
            }
        }
    }
    if let Some(os) = definition.child_mut("os") {
        fresh_variables(os);
    }
    for device in definition.ensure("devices").elements_mut() {
        match device.name.as_str() {
            "interface" => interface(device),
            "serial" | "parallel" | "console" | "channel" => port(device, &old, name),
            "graphics" => graphics(device),
            "vsock" => {
                if let Some(cid) = device.child_mut("cid") {
                    cid.set_attr("auto", "yes");
                    cid.remove_attr("address");
                }
            }
            _ => {}
        }
    }
}

struct Old {
    name: Option<String>,
    uuid: Option<String>,
}

/// The variables of the firmware are made anew, from the file that the original's were made from where the definition names it.
fn fresh_variables(os: &mut Element) {
    let Some(nvram) = os.child_mut("nvram") else { return };
    if nvram.attr("template").is_none() {
        os.remove("nvram");
        return;
    }
    nvram.children.clear();
    nvram.remove_attr("type");
}

fn interface(nic: &mut Element) {
    nic.ensure("mac").set_attr("address", random_mac().to_string());
    // A device of this name is there once; one that libvirt is not to make cannot do without its name.
    if nic.attr_at("target", "managed") != Some("no")
        && let Some(target) = nic.child_mut("target")
    {
        target.remove_attr("dev");
        if target.attributes.is_empty() && target.children.is_empty() {
            nic.remove("target");
        }
    }
    // Open vSwitch tells its ports apart by it; libvirt makes up another.
    if let Some(port) = nic.child_mut("virtualport").and_then(|port| port.child_mut("parameters")) {
        port.remove_attr("interfaceid");
    }
}

/// Two guests must neither write into one file nor listen on one socket.
fn port(port: &mut Element, old: &Old, name: &str) {
    port.remove("log");
    let kind = port.attr("type").unwrap_or_default().to_owned();
    let channel = port.name == "channel";
    let Some(source) = port.child_mut("source") else { return };
    let listens = kind == "unix" && source.attr("mode") != Some("connect");
    let Some(path) = source.attr("path").map(str::to_owned).filter(|_| listens || kind == "file") else {
        return;
    };
    if channel && listens {
        // libvirt makes one up.
        port.remove("source");
        return;
    }
    let known = old.name.as_deref().filter(|old| !old.is_empty() && path.contains(old));
    let path = match known {
        Some(old) => path.replace(old, name),
        None => format!("{path}.{name}"),
    };
    source.set_attr("path", path);
}

/// Ports and sockets that are fixed are there once; libvirt finds free ones.
fn graphics(screen: &mut Element) {
    let fixed = |port: Option<&str>| port.is_some_and(|port| !matches!(port, "-1" | "0"));
    if screen.attr("autoport") != Some("yes") && (fixed(screen.attr("port")) || fixed(screen.attr("tlsPort")))
    {
        for name in ["port", "tlsPort"] {
            screen.remove_attr(name);
        }
        screen.set_attr("autoport", "yes");
    }
    if fixed(screen.attr("websocket")) {
        screen.set_attr("websocket", "-1");
    }
    screen.remove_attr("socket");
    for listen in screen.elements_mut().filter(|item| item.name == "listen") {
        listen.remove_attr("socket");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_guest_can_have_is_not_copied() {
        let old = "7c1e2f30-0001-4a5b-8c6d-000000000001";
        let new = Uuid::from_u128(9);
        let xml = format!(
            "<domain><name>web</name><uuid>{old}</uuid><genid>1</genid>\
             <sysinfo type='smbios'><system><entry name='uuid'>{old}</entry><entry name='serial'>mine</entry></system></sysinfo>\
             <os><loader type='pflash'>/code</loader><nvram template='/vars' templateFormat='raw'>/n/web.fd</nvram></os><devices>\
             <interface type='bridge'><mac address='m'/><target dev='tap-web'/><virtualport type='openvswitch'><parameters interfaceid='i' profileid='p'/></virtualport></interface>\
             <interface type='ethernet'><target dev='mine' managed='no'/></interface>\
             <serial type='file'><source path='/l/web.log'/><log file='/x'/></serial><parallel type='file'><source path='/l/out'/></parallel>\
             <serial type='unix'><source mode='connect' path='/s/web'/></serial>\
             <channel type='unix'><source mode='bind' path='/s/agent'/><target type='virtio' name='a'/></channel>\
             <graphics type='vnc' port='5901' autoport='no' listen='0.0.0.0'/><graphics type='vnc' port='-1' autoport='yes'><listen type='socket' socket='/v'/></graphics>\
             <vsock><cid auto='no' address='4'/></vsock></devices></domain>"
        );
        let mut definition = Element::parse(&xml).unwrap();
        new_identity(&mut definition, "copy", new);
        let text = definition.to_string();
        for wanted in [
            "<name>copy</name><uuid>00000000-0000-0000-0000-000000000009</uuid><genid/>",
            r#"<entry name="uuid">00000000-0000-0000-0000-000000000009</entry><entry name="serial">mine</entry>"#,
            r#"<loader type="pflash">/code</loader><nvram template="/vars" templateFormat="raw"/>"#,
            r#"<virtualport type="openvswitch"><parameters profileid="p"/></virtualport></interface>"#,
            r#"<target dev="mine" managed="no"/>"#,
            r#"<serial type="file"><source path="/l/copy.log"/></serial><parallel type="file"><source path="/l/out.copy"/></parallel>"#,
            r#"<source mode="connect" path="/s/web"/>"#,
            r#"<channel type="unix"><target type="virtio" name="a"/></channel>"#,
            r#"<graphics type="vnc" autoport="yes" listen="0.0.0.0"/><graphics type="vnc" port="-1" autoport="yes"><listen type="socket"/></graphics>"#,
            r#"<vsock><cid auto="yes"/></vsock>"#,
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        assert!(!text.contains("tap-web") && !text.contains(r#"address="m""#), "{text}");
    }
}
