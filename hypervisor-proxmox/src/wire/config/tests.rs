use hypervisor_core::model::{
    BootDevice, ByteSize, CloneSpec, CloudInit, DeploySpec, DiskBus, DiskDevice, DiskSource, DiskSpec,
    Firmware, GraphicsKind, GuestKind, NicChange, NicModel, NicSource, NicSpec, SerialSpec, VmChange,
    VmConfig, VmId, VmInfo, VmSpec, VmState,
};
use hypervisor_core::{ErrorKind, Result};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::wire::form::Form;
use crate::wire::{params, property};

const RECORDED: &str = r#"{"data":{"ostype":"l26","agent":"1","net0":"virtio=BC:24:11:81:50:D5,bridge=vmbr0",
    "smbios1":"uuid=6B008B60-0000-0000-0000-00000000000A","name":"web-01","description":"hello=world; ünï",
    "meta":"creation-qemu=10.0.13,ctime=1795197792","tags":"a;b","memory":"512","scsihw":"virtio-scsi-single",
    "vmgenid":"00000000-0000-0000-0000-000000000000","scsi0":"local:100/vm-100-disk-0.qcow2,size=1G","cores":1,
    "digest":"a630e8496902766357aa57876290d60b3dc541c9","boot":"order=scsi0;net0","kvm":0,"onboot":1,
    "net1":"e1000=BC:24:11:2A:2B:DA,bridge=vmbr0,firewall=1,tag=5,mystery=x","unused0":"local:100/vm-100-disk-1.raw"}}"#;

fn config(value: Value) -> Config {
    Config::of(value.as_object().unwrap().clone(), GuestKind::Vm)
}

fn container(value: Value) -> Config {
    Config::of(value.as_object().unwrap().clone(), GuestKind::Container)
}

/// The configuration that a server would have after this create or change.
fn applied(mut raw: Map<String, Value>, form: &Form, kind: GuestKind) -> Config {
    for (key, value) in form.iter() {
        match key {
            "delete" => value.split(',').for_each(|key| drop(raw.remove(key))),
            "vmid" | "start" | "pool" | "digest" | "ostemplate" | "storage" | "password" => {}
            _ => drop(raw.insert(key.to_owned(), value.into())),
        }
    }
    Config::of(raw, kind)
}

fn pairs(form: &Form) -> Vec<(String, String)> {
    form.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn taken(method: &str, path: &str, form: &Form) {
    let found = params::find(method, path).unwrap();
    assert_eq!(found.check(&pairs(form)), Ok(()), "{method} {path} {form:?}");
}

fn field<T>(result: Result<T>) -> String {
    let error = result.err().expect("refused");
    error.fields().keys().next().cloned().unwrap_or_else(|| error.to_string())
}

fn create(spec: &VmSpec) -> Create {
    let create = encode_create(100, spec, &Defaults::storage("local")).unwrap();
    let kind = if spec.kind == GuestKind::Container { "lxc" } else { "qemu" };
    taken("POST", &format!("/nodes/pve1/{kind}"), &create.form);
    create
}

fn again(spec: &VmSpec) -> VmConfig {
    decode(&VmId::from("100"), &applied(Map::new(), &create(spec).form, spec.kind))
}

#[test]
fn a_recorded_configuration_is_read() {
    let id = VmId::from("100");
    let read = decode_vm(&id, RECORDED.as_bytes()).unwrap();
    let spec = &read.spec;
    assert_eq!((spec.name.as_str(), spec.cpus, spec.memory), ("web-01", 1, ByteSize::mib(512)));
    assert_eq!(spec.description.as_deref(), Some("hello=world; ünï"));
    assert!(spec.autostart && spec.agent && !spec.tpm);
    assert_eq!(spec.boot.order, [BootDevice::Disk, BootDevice::Network]);
    assert_eq!(spec.boot.firmware, None);
    assert_eq!(read.revision.as_ref().unwrap().as_str(), "a630e8496902766357aa57876290d60b3dc541c9");
    let [disk] = read.disks.as_slice() else { panic!("{:?}", read.disks) };
    assert_eq!(
        (disk.id.as_str(), disk.bus.clone(), disk.capacity),
        ("scsi0", DiskBus::Scsi, Some(ByteSize::gib(1)))
    );
    assert_eq!(disk.volume.as_ref().unwrap().as_str(), "local:100/vm-100-disk-0.qcow2");
    assert_eq!(disk.format.as_ref().unwrap().as_str(), "qcow2");
    let [first, second] = read.nics.as_slice() else { panic!("{:?}", read.nics) };
    assert_eq!((first.id.as_str(), first.model.clone()), ("net0", NicModel::Virtio));
    assert_eq!(first.source, NicSource::Network("vmbr0".into()));
    assert_eq!(first.mac.unwrap().to_string(), "bc:24:11:81:50:d5");
    assert_eq!((second.model.clone(), second.vlan), (NicModel::E1000, Some(5)));
    let options = spec.options.options::<VmOptions>().unwrap();
    assert_eq!(options.devices["net1"], "firewall=1,mystery=x");
    let keys: Vec<&str> = options.config.keys().map(String::as_str).collect();
    assert_eq!(keys, ["kvm", "ostype", "scsihw"]);
    assert!(read.native.unwrap().contains("vmgenid"));

    let mut info = VmInfo::new(id, "100", VmState::Stopped);
    fill_in(&mut info, &Config::read(RECORDED.as_bytes(), GuestKind::Vm).unwrap());
    assert_eq!(info.uid.as_deref(), Some("6b008b60-0000-0000-0000-00000000000a"));
    assert_eq!(info.created, Some(crate::wire::storage::time(1_795_197_792)));
    assert_eq!((info.name.as_str(), info.autostart), ("web-01", Some(true)));
    assert_eq!(info.tags.len(), 2);
}

#[test]
fn a_recorded_container_is_read() {
    let body = br#"{"data":{"rootfs":"local:200/vm-200-disk-0.raw,size=1G","memory":128,"ostype":"alpine",
        "net0":"name=eth0,bridge=vmbr0,hwaddr=BC:24:11:66:6E:2B,ip=dhcp,type=veth","swap":512,"arch":"amd64",
        "hostname":"ct1","digest":"71b4","mp0":"/srv/data,mp=/data,ro=1","lxc":[["lxc.idmap","u 0 1 2"]],"nameserver":"10.0.0.1"}}"#;
    let read = decode_ct(&"200".into(), body).unwrap();
    assert_eq!((read.spec.name.as_str(), read.spec.kind), ("ct1", GuestKind::Container));
    assert_eq!(read.spec.memory, ByteSize::mib(128));
    let slots: Vec<&str> = read.disks.iter().map(|disk| disk.id.as_str()).collect();
    assert_eq!(slots, ["rootfs", "mp0"]);
    assert_eq!(read.disks[1].path.as_deref(), Some("/srv/data"));
    assert!(read.disks[1].read_only);
    assert_eq!(read.nics[0].mac.unwrap().to_string(), "bc:24:11:66:6e:2b");
    let options = read.spec.options.options::<VmOptions>().unwrap();
    assert_eq!(options.devices["mp0"], "mp=/data");
    assert_eq!(options.config["nameserver"], "10.0.0.1");
    assert!(options.cloud_init.is_none());
}

#[test]
fn a_spec_is_written_as_the_server_takes_it() {
    let spec = VmSpec::new("web-1")
        .cpus(4)
        .memory(ByteSize::gib(2))
        .disk(DiskSpec::new_volume(ByteSize::mib(1536)).in_pool("fast"))
        .disk(DiskSpec::copy_of("local:import/debian.qcow2").size(ByteSize::gib(20)).in_pool("fast"))
        .disk(DiskSpec::cdrom("local:iso/debian.iso"))
        .disk(DiskSpec::volume("fast:vm-100-disk-9").bus(DiskBus::Virtio).read_only(true).serial("AB.C"))
        .nic(NicSpec::bridge("vmbr0").vlan(12).mac("52:54:00:00:00:01".parse().unwrap()))
        .nic(NicSpec::user().link_down(true))
        .tag("web")
        .metadata("owner", "ops")
        .description("what it is for")
        .firmware(Firmware::SecureBoot)
        .boot_order([BootDevice::Cdrom, BootDevice::Disk, BootDevice::Network])
        .graphics(GraphicsKind::Spice)
        .serial(SerialSpec::new())
        .machine("q35")
        .cpu_model("host")
        .agent(true)
        .tpm(true)
        .autostart(true)
        .group("prod")
        .client_token("Job-7")
        .start(true);
    let create = create(&spec);
    let get = |key: &str| create.form.get(key).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(get("scsi0"), "fast:1.5");
    assert_eq!(get("scsi1"), "fast:0,import-from=local:import/debian.qcow2");
    assert_eq!(get("ide2"), "local:iso/debian.iso,media=cdrom");
    assert_eq!(get("virtio0"), "fast:vm-100-disk-9,ro=1,serial=AB.C");
    assert_eq!(get("net0"), "virtio=52:54:00:00:00:01,bridge=vmbr0,tag=12");
    assert_eq!(get("net1"), "virtio,link_down=1");
    assert_eq!(get("boot"), "order=ide2;scsi0;net0");
    assert_eq!(get("efidisk0"), "local:1,efitype=4m,pre-enrolled-keys=1");
    assert_eq!(get("tpmstate0"), "local:1,version=v2.0");
    assert_eq!(get("tags"), "web;hv-ct.100.+job-7");
    assert_eq!(get("description"), "what it is for\n\n<!-- hypervisor {\"owner\":\"ops\"} -->");
    assert_eq!((get("vga"), get("serial0"), get("machine"), get("cpu")), ("qxl", "socket", "q35", "host"));
    assert_eq!((get("cores"), get("memory"), get("pool"), get("onboot")), ("4", "2048", "prod", "1"));
    // It has to grow first.
    assert_eq!(create.form.get("start"), None);
    assert_eq!(create.grow, [("scsi1".to_owned(), ByteSize::gib(20))]);
}

#[test]
fn what_is_created_reads_back() {
    let spec = VmSpec::new("web-1")
        .id("100")
        .cpus(2)
        .memory(ByteSize::gib(1))
        .nic(NicSpec::network("vmbr0").model(NicModel::E1000).mac("52:54:00:00:00:01".parse().unwrap()))
        .disk(
            DiskSpec::volume("local:100/vm-100-disk-0.qcow2")
                .slot("scsi0")
                .bus(DiskBus::Scsi)
                .format("qcow2".into()),
        )
        .disk(DiskSpec::empty_cdrom().slot("ide2").bus(DiskBus::Ide))
        .tag("web")
        .metadata("owner", "a <b> & \"c\"")
        .description("text")
        .firmware(Firmware::Uefi)
        .boot_order([BootDevice::Disk, BootDevice::Cdrom])
        .graphics(GraphicsKind::Vnc)
        .serial(SerialSpec::new())
        .agent(true)
        .autostart(true)
        .client_token("T1");
    let mut read = again(&spec).spec;
    let options = read.options.options::<VmOptions>().unwrap();
    assert_eq!(options.config.keys().collect::<Vec<_>>(), ["scsihw"]);
    // What it was read with makes the same once more.
    assert_eq!(again(&read).spec, read);
    read.options = hypervisor_core::model::Extra::default();
    read.disks[0].format = spec.disks[0].format.clone();
    assert_eq!(read, spec);
}

#[test]
fn options_beyond_the_model_are_sent_and_come_back() {
    let options = VmOptions::new()
        .storage("fast")
        .device("scsi0", "iothread=1,discard=on")
        .device("net0", "firewall=1")
        .device("cpu", "flags=+aes")
        .device("agent", "fstrim_cloned_disks=1")
        .key("ostype", "l26")
        .key("scsihw", "pvscsi")
        .cloud_init(
            CloudInitOptions::new()
                .user("ops")
                .password("secret")
                .ssh_key("ssh-ed25519 AAAA a@b")
                .network(0, "ip=dhcp"),
        );
    let spec = VmSpec::new("web-1")
        .disk(DiskSpec::new_volume(ByteSize::gib(8)))
        .nic(NicSpec::bridge("vmbr0"))
        .cpu_model("host")
        .with(&options)
        .unwrap();
    let form = create(&spec).form;
    assert_eq!(form.get("scsi0"), Some("fast:8,iothread=1,discard=on"));
    assert_eq!(form.get("net0"), Some("virtio,bridge=vmbr0,firewall=1"));
    assert_eq!(form.get("cpu"), Some("host,flags=+aes"));
    assert_eq!(form.get("agent"), Some("0,fstrim_cloned_disks=1"));
    assert_eq!(form.get("ide2"), Some("fast:cloudinit"));
    assert_eq!(form.get("sshkeys"), Some("ssh-ed25519%20AAAA%20a%40b"));
    assert_eq!((form.get("scsihw"), form.get("ciuser")), (Some("pvscsi"), Some("ops")));
    assert!(!format!("{options:?} {form:?}").contains("secret"));
    let read = again(&spec).spec.options.options::<VmOptions>().unwrap();
    assert_eq!(read.cloud_init.unwrap().ssh_keys, ["ssh-ed25519 AAAA a@b"]);
    assert_eq!(read.devices, options.devices);
    assert!(!read.config.contains_key("ide2") && !read.config.contains_key("cipassword"));
    let stranger = VmSpec::new("a").with(&VmOptions::new().device("scsi7", "ssd=1")).unwrap();
    assert_eq!(field(encode_create(100, &stranger, &Defaults::default())), "options.proxmox.devices.scsi7");
    let odd = VmSpec::new("a").with(&VmOptions::new().key("vmid", "7")).unwrap();
    assert_eq!(field(encode_create(100, &odd, &Defaults::default())), "options.proxmox.config.vmid");
}

#[test]
fn a_container_is_made_of_a_template() {
    let spec = VmSpec::container("ct1")
        .disk(DiskSpec::copy_of("local:vztmpl/alpine.tar.zst").in_pool("fast"))
        .disk(DiskSpec::new_volume(ByteSize::gib(2)).read_only(true))
        .nic(NicSpec::bridge("vmbr0").mac("52:54:00:00:00:01".parse().unwrap()))
        .with(
            &VmOptions::new()
                .device("mp0", "mp=/data")
                .key("unprivileged", "1")
                .password("secret")
                .ssh_key("k"),
        )
        .unwrap();
    let form = create(&spec).form;
    assert_eq!(form.get("ostemplate"), Some("local:vztmpl/alpine.tar.zst"));
    assert_eq!(form.get("rootfs"), Some("fast:4"));
    assert_eq!(form.get("mp0"), Some("local:2,ro=1,mp=/data"));
    assert_eq!(form.get("net0"), Some("name=eth0,hwaddr=52:54:00:00:00:01,bridge=vmbr0,ip=dhcp"));
    assert_eq!((form.get("hostname"), form.get("name")), (Some("ct1"), None));
    assert_eq!(form.get("ssh-public-keys"), Some("k"));
    let by_option =
        VmSpec::container("ct1").with(&VmOptions::new().template("local:vztmpl/a.tar.zst")).unwrap();
    let form = create(&by_option).form;
    assert_eq!(
        (form.get("ostemplate"), form.get("storage")),
        (Some("local:vztmpl/a.tar.zst"), Some("local"))
    );
    assert_eq!(
        field(encode_create(100, &VmSpec::container("ct1"), &Defaults::default())),
        "options.proxmox.template"
    );
    assert_eq!(field(encode_create(100, &VmSpec::container("ct1").tpm(true), &Defaults::default())), "tpm");
}

#[test]
fn what_proxmox_has_no_place_for_is_refused_by_field() {
    let refused = |spec: VmSpec| field(encode_create(100, &spec, &Defaults::default()));
    let spec = || VmSpec::new("a1");
    assert_eq!(refused(VmSpec::new("a_b")), "name");
    assert_eq!(refused(spec().ephemeral(true)), "ephemeral");
    assert_eq!(refused(spec().serial(SerialSpec::new().log("/var/log/x"))), "serial.log");
    assert_eq!(refused(spec().disk(DiskSpec::new_volume(ByteSize::gib(1)))), "disks[0].pool");
    assert_eq!(
        refused(spec().disk(DiskSpec::new_volume(ByteSize::gib(1)).in_pool("a,b=c"))),
        "disks[0].pool"
    );
    assert_eq!(refused(spec().disk(DiskSpec::linked_to("a:b"))), "disks[0].source");
    assert_eq!(refused(spec().disk(DiskSpec::volume("a:b,size=1T"))), "disks[0].source");
    assert_eq!(refused(spec().disk(DiskSpec::volume("a:b").name("c"))), "disks[0].name");
    assert_eq!(refused(spec().disk(DiskSpec::volume("a:b").bus(DiskBus::Nvme))), "disks[0].bus");
    assert_eq!(refused(spec().disk(DiskSpec::volume("a:b").slot("scsi31"))), "disks[0].slot");
    assert_eq!(
        refused(spec().disk(DiskSpec::volume("a:b").slot("scsi0").bus(DiskBus::Sata))),
        "disks[0].slot"
    );
    assert_eq!(
        refused(spec().disk(DiskSpec::volume("a:b").bus(DiskBus::Sata).read_only(true))),
        "disks[0].read_only"
    );
    assert_eq!(refused(spec().nic(NicSpec::network("a,b=c"))), "nics[0].network");
    assert_eq!(refused(spec().nic(NicSpec::user().model("x,y".into()))), "nics[0].model");
    assert_eq!(refused(spec().firmware(Firmware::Uefi)), "options.proxmox.storage");
    let twice =
        spec().disk(DiskSpec::volume("a:b").slot("scsi0")).disk(DiskSpec::volume("a:c").slot("scsi0"));
    assert_eq!(
        encode_create(100, &twice, &Defaults::default()).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let seed = |text: &str| {
        refused(spec().cloud_init(CloudInit::user_data(text)).with(&VmOptions::new().storage("s")).unwrap())
    };
    for text in [
        "runcmd:\n  - x",
        "users:\n  - name: a\n    sudo: b",
        "hostname: other",
        "user: [a]",
        "- a",
        "user: \"a",
    ] {
        assert_eq!(seed(text), "cloud_init.user_data", "{text}");
    }
}

#[test]
fn a_simple_document_becomes_settings() {
    let text = "#cloud-config\nhostname: a1\nuser: ops\npassword: \"hunter2\"\nssh_authorized_keys:\n  - ssh-ed25519 AAAA a@b\n- k2\npackage_upgrade: false\n";
    let spec = VmSpec::new("a1").cloud_init(CloudInit::user_data(text));
    let form = create(&spec).form;
    assert_eq!(
        (form.get("ciuser"), form.get("cipassword"), form.get("ciupgrade")),
        (Some("ops"), Some("hunter2"), Some("0"))
    );
    assert_eq!(form.get("sshkeys"), Some("ssh-ed25519%20AAAA%20a%40b%0Ak2"));
    assert_eq!(form.get("ide2"), Some("local:cloudinit"));
    assert!(
        create(&VmSpec::new("a1").cloud_init(CloudInit::user_data("#cloud-config\n")))
            .form
            .get("ide2")
            .is_some()
    );
}

#[test]
fn a_change_sends_what_changes_and_the_digest() {
    let read = Config::read(RECORDED.as_bytes(), GuestKind::Vm).unwrap();
    let change = |change: &VmChange| {
        let form = encode_change(100, change, &read).unwrap();
        taken("PUT", "/nodes/pve1/qemu/100/config", &form);
        form
    };
    let digest = ("digest".to_owned(), "a630e8496902766357aa57876290d60b3dc541c9".to_owned());
    let one = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned()), digest.clone()];
    assert_eq!(pairs(&change(&VmChange::new().memory(ByteSize::gib(1)))), one("memory", "1024"));
    assert_eq!(pairs(&change(&VmChange::new().cpus(3))), one("cores", "3"));
    assert_eq!(pairs(&change(&VmChange::new().description(""))), one("delete", "description"));
    assert_eq!(pairs(&change(&VmChange::new().add_tag("c").remove_tag("a"))), one("tags", "b;c"));
    assert_eq!(pairs(&change(&VmChange::new().remove_tag("a").remove_tag("b"))), one("delete", "tags"));
    assert_eq!(
        pairs(&change(&VmChange::new().boot_order(vec![BootDevice::Network]))),
        one("boot", "order=net0")
    );
    assert_eq!(pairs(&change(&VmChange::new().boot_order(vec![]))), one("delete", "boot"));
    assert_eq!(
        pairs(&change(&VmChange::new().agent(false).autostart(false).name("b"))),
        [
            ("name".to_owned(), "b".to_owned()),
            ("onboot".to_owned(), "0".to_owned()),
            ("agent".to_owned(), "0".to_owned()),
            digest.clone()
        ]
    );
    let notes = change(&VmChange::new().metadata("owner", "ops"));
    assert_eq!(notes.get("description"), Some("hello=world; ünï\n\n<!-- hypervisor {\"owner\":\"ops\"} -->"));
    let later = applied(Map::new(), &notes, GuestKind::Vm);
    let gone = encode_change(100, &VmChange::new().metadata("owner", ""), &later).unwrap();
    assert_eq!(gone.get("description"), Some("hello=world; ünï"));
    assert!(change(&VmChange::new()).is_empty());
    assert!(encode_change(100, &VmChange::new().cpus(0), &read).is_err());
    let stale = VmChange::new().cpus(2).if_revision(hypervisor_core::model::Revision::new("other"));
    assert_eq!(encode_change(100, &stale, &read).unwrap_err().kind(), ErrorKind::Conflict);
    let all = VmChange::new().cpus(2).add_tag("x").metadata("a", "b").boot_order(vec![]);
    assert_eq!(changed_fields(&all), ["cpus", "tags", "metadata", "boot_order"]);
}

#[test]
fn cpus_keep_their_sockets_and_are_plugged_within_the_most() {
    let change = |raw: Value, cpus: u32| {
        pairs(&encode_change(100, &VmChange::new().cpus(cpus), &config(raw)).unwrap())
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(change(json!({"cores": 2, "sockets": 2}), 6), [pair("cores", "3")]);
    assert_eq!(change(json!({"cores": 2, "sockets": 2}), 3), [pair("sockets", "1"), pair("cores", "3")]);
    assert_eq!(change(json!({"cores": 4, "vcpus": "2"}), 3), [pair("vcpus", "3")]);
    assert_eq!(change(json!({"cores": 4, "vcpus": 2}), 8), [pair("cores", "8"), pair("delete", "vcpus")]);
    assert_eq!(decode(&"1".into(), &config(json!({"cores": 4, "sockets": 2, "vcpus": 3}))).spec.cpus, 3);
    assert_eq!(decode(&"1".into(), &config(json!({}))).spec.cpus, 1);
}

#[test]
fn what_a_change_does_not_name_stays() {
    let read = Config::read(RECORDED.as_bytes(), GuestKind::Vm).unwrap();
    let nic = |id: &str, change: NicChange| {
        let form = encode_update_nic(&id.into(), &change, &read).unwrap();
        taken(
            "PUT",
            "/nodes/pve1/qemu/100/config",
            &Form::new().text(id, form.get(id).unwrap().replace(",mystery=x", "")),
        );
        form.get(id).unwrap().to_owned()
    };
    assert_eq!(
        nic("net1", NicChange::new().source(NicSource::Bridge("vmbr7".into())).vlan(9)),
        "e1000=BC:24:11:2A:2B:DA,bridge=vmbr7,firewall=1,tag=9,mystery=x"
    );
    assert_eq!(
        nic("net0", NicChange::new().link_down(true)),
        "virtio=BC:24:11:81:50:D5,bridge=vmbr0,link_down=1"
    );
    assert_eq!(nic("net0", NicChange::new().link_down(false)), "virtio=BC:24:11:81:50:D5,bridge=vmbr0");
    let cut =
        encode_update_nic(&"net0".into(), &NicChange::new().source(NicSource::Disconnected), &read).unwrap();
    let later = applied(Map::new(), &cut, GuestKind::Vm);
    assert_eq!(decode(&"100".into(), &later).nics[0].source, NicSource::Disconnected);
    let back = encode_update_nic(
        &"net0".into(),
        &NicChange::new().source(NicSource::Bridge("vmbr0".into())),
        &later,
    )
    .unwrap();
    assert_eq!(back.get("net0"), Some("virtio=BC:24:11:81:50:D5,bridge=vmbr0"));
    let agent = config(json!({"agent": "enabled=1,fstrim_cloned_disks=1", "memory": "current=512"}));
    let form = encode_change(100, &VmChange::new().agent(false).memory(ByteSize::gib(1)), &agent).unwrap();
    assert_eq!(
        (form.get("agent"), form.get("memory")),
        (Some("enabled=0,fstrim_cloned_disks=1"), Some("current=1024"))
    );
    assert!(encode_update_nic(&"net9".into(), &NicChange::new(), &read).unwrap_err().is_not_found());
}

#[test]
fn devices_come_and_go() {
    let read = Config::read(RECORDED.as_bytes(), GuestKind::Vm).unwrap();
    let put = |form: &Form| taken("PUT", "/nodes/pve1/qemu/100/config", form);
    let (slot, form, grow) =
        encode_attach_disk(&DiskSpec::new_volume(ByteSize::gib(1)), &read, &Defaults::storage("local"))
            .unwrap();
    put(&form);
    assert_eq!((slot.as_str(), form.get("scsi1"), grow), ("scsi1", Some("local:1"), None));
    let taken_volume = DiskSpec::volume("local:100/vm-100-disk-0.qcow2");
    assert_eq!(
        encode_attach_disk(&taken_volume, &read, &Defaults::default()).unwrap_err().kind(),
        ErrorKind::InvalidState
    );
    let taken_slot = DiskSpec::volume("a:b").slot("scsi0");
    assert_eq!(
        encode_attach_disk(&taken_slot, &read, &Defaults::default()).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let form = encode_detach_disk(&"scsi0".into(), &read).unwrap();
    put(&form);
    assert_eq!(form.get("delete"), Some("scsi0"));
    for unknown in ["vdq", "scsi9", "net0", "memory"] {
        assert!(encode_detach_disk(&unknown.into(), &read).unwrap_err().is_not_found(), "{unknown}");
    }
    let form = encode_drop_volume("local:100/vm-100-disk-1.raw", &read).unwrap();
    assert_eq!(form.get("delete"), Some("unused0"));
    assert_eq!(encode_drop_volume("local:100/vm-100-disk-0.qcow2", &read), None);
    let form = encode_resize_disk(&"scsi0".into(), ByteSize::gib(2), &read).unwrap();
    taken("PUT", "/nodes/pve1/qemu/100/resize", &form);
    assert_eq!((form.get("disk"), form.get("size")), (Some("scsi0"), Some("2097152K")));
    assert_eq!(field(encode_resize_disk(&"scsi0".into(), ByteSize::mib(1), &read)), "capacity");
    let (id, form) = encode_attach_nic(&NicSpec::bridge("vmbr0"), &read).unwrap();
    put(&form);
    assert_eq!((id.as_str(), form.get("net2")), ("net2", Some("virtio,bridge=vmbr0")));
    let same = NicSpec::bridge("vmbr0").mac("bc:24:11:81:50:d5".parse().unwrap());
    assert_eq!(encode_attach_nic(&same, &read).unwrap_err().kind(), ErrorKind::AlreadyExists);
    put(&encode_detach_nic(&"net1".into(), &read).unwrap());
    let root = container(json!({"rootfs": "local:1,size=1G"}));
    assert_eq!(encode_detach_disk(&"rootfs".into(), &root).unwrap_err().kind(), ErrorKind::InvalidState);
    let (slot, form, _) =
        encode_attach_disk(&DiskSpec::new_volume(ByteSize::gib(1)), &root, &Defaults::storage("local"))
            .unwrap();
    taken("PUT", "/nodes/pve1/lxc/100/config", &form);
    assert_eq!((slot.as_str(), form.get("mp0")), ("mp0", Some("local:1,mp=/mnt/mp0")));
}

#[test]
fn a_clone_gets_a_mark_of_its_own_and_what_a_deploy_asks_for() {
    let clone = config(json!({
        "tags": "web;hv-ct.100.old", "digest": "d", "cores": 1, "net0": "virtio=BC:24:11:81:50:D5,bridge=vmbr0,firewall=1",
        "ide2": "local:vm-111-cloudinit,media=cdrom", "scsi0": "local:vm-111-disk-0,size=1G"
    }));
    assert_eq!(encode_mark(111, "New", &clone).get("tags"), Some("web;hv-ct.111.+new"));
    let mut spec = DeploySpec::new("a1")
        .clone(CloneSpec::new("a1").client_token("t"))
        .cpus(2)
        .memory(ByteSize::gib(1))
        .network("vnet1")
        .cloud_init(CloudInit::user_data("user: ops"));
    spec.autostart = true;
    let form = encode_deploy(111, &spec, &clone).unwrap();
    taken("PUT", "/nodes/pve1/qemu/111/config", &form);
    assert_eq!(form.get("net0"), Some("virtio=BC:24:11:81:50:D5,bridge=vnet1,firewall=1"));
    assert_eq!((form.get("ciuser"), form.get("tags")), (Some("ops"), Some("web;hv-ct.111.t")));
    assert_eq!(
        (form.get("cores"), form.get("memory"), form.get("onboot")),
        (Some("2"), Some("1024"), Some("1"))
    );
    let bare = config(json!({"net0": "virtio,bridge=a"}));
    assert_eq!(encode_deploy(111, &spec, &bare).unwrap_err().kind(), ErrorKind::InvalidState);
    assert!(encode_deploy(111, &DeploySpec::new("a1"), &bare).unwrap().is_empty());
}

#[test]
fn the_drive_of_cloud_init_is_no_disk() {
    let read = config(json!({
        "ide2": "local:171/vm-171-cloudinit.qcow2,media=cdrom", "scsi0": "local:171/vm-171-disk-0.raw,size=1G",
        "ide0": "none,media=cdrom", "sata0": "cdrom,media=cdrom", "boot": " ", "cipassword": "**********",
        "efidisk0": "local:1,size=528K", "bios": "ovmf", "tpmstate0": "local:2", "vga": "serial0", "serial0": "socket"
    }));
    let found = decode(&"171".into(), &read);
    let ids: Vec<&str> = found.disks.iter().map(|disk| disk.id.as_str()).collect();
    assert_eq!(ids, ["scsi0", "sata0", "ide0"]);
    assert!(found.disks.iter().skip(1).all(|disk| disk.device == DiskDevice::Cdrom && disk.volume.is_none()));
    assert_eq!(found.spec.disks[1].source, DiskSource::Empty);
    assert_eq!(found.spec.boot.firmware, Some(Firmware::Uefi));
    assert!(found.spec.boot.order.is_empty() && found.spec.tpm && found.spec.serial.is_some());
    assert_eq!(found.spec.graphics, None);
    let legacy = config(json!({"boot": "cdn", "scsi0": "a:b"}));
    assert_eq!(
        decode(&"1".into(), &legacy).spec.boot.order,
        [BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network]
    );
}

#[test]
fn changes_that_wait_have_the_names_of_the_fields() {
    let body = br#"{"data":[{"value":"512","key":"memory","pending":"1024"},{"key":"net0","value":"virtio,bridge=a"},
        {"value":1,"key":"cores","pending":2},{"key":"sockets","value":2},{"key":"vga","value":"std","delete":1},
        {"key":"cipassword","value":"**********","pending":"hunter2"},{"key":"agent","value":"1","pending":"1,type=isa"},
        {"key":"scsi1","pending":"local:1"}]}"#;
    let found = decode_pending(body, GuestKind::Vm).unwrap();
    let shown: Vec<String> = found
        .iter()
        .map(|change| {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            format!("{}: {} -> {}", change.field, text(&change.current), text(&change.pending))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "cpus: 2 -> 4",
            "memory: 512 MiB -> 1 GiB",
            "cipassword: *** -> ***",
            "scsi1: - -> local:1",
            "vga: std -> -"
        ]
    );
    assert!(
        decode_pending(br#"{"data":[{"key":"memory","value":"512"}]}"#, GuestKind::Vm).unwrap().is_empty()
    );
}

#[test]
fn sizes_are_counted_as_the_server_does() {
    for (bytes, text) in [
        (ByteSize::gib(32), "32"),
        (ByteSize::mib(512), "0.5"),
        (ByteSize::mib(1), "0.0009765625"),
        (ByteSize::bytes(1), "0.00000095367431640625"),
    ] {
        assert_eq!(super::disk::gib(bytes), text);
    }
    let size = super::disk::size;
    assert_eq!(
        (size("528K"), size("1.5G"), size("7")),
        (Some(ByteSize::kib(528)), Some(ByteSize::mib(1536)), Some(ByteSize::bytes(7)))
    );
    assert_eq!((size(""), size("x"), size("1P"), size("99999999999T")), (None, None, None, None));
}

fn disks() -> impl Strategy<Value = Vec<DiskSpec>> {
    let source = prop_oneof![
        (1_u64..1 << 24).prop_map(|kib| DiskSpec::new_volume(ByteSize::kib(kib)).in_pool("fast")),
        "[a-z]{2,4}:[a-z0-9/._-]{1,12}".prop_map(DiskSpec::volume),
        Just(DiskSpec::empty_cdrom()),
    ];
    prop::collection::vec((source, proptest::option::of("[A-Za-z0-9][A-Za-z0-9._-]{0,8}")), 0..4).prop_map(
        |all| {
            let with_serial = |(disk, serial): (DiskSpec, Option<String>)| match serial {
                Some(serial) if disk.device == DiskDevice::Disk => disk.serial(serial),
                _ => disk,
            };
            all.into_iter().map(with_serial).collect()
        },
    )
}

prop_compose! {
    fn specs()(
        name in "[a-z][a-z0-9]{0,8}", cpus in 1_u32..64, mib in 16_u64..100_000, tags in prop::collection::btree_set("[a-z0-9][a-z0-9._-]{0,6}", 0..3),
        metadata in prop::collection::btree_map("[a-z]{1,4}", "[^\\p{Cc}]{1,8}", 0..3), description in proptest::option::of("[a-zé<>!]{1,12}"),
        disks in disks(), vlans in prop::collection::vec(proptest::option::of(1_u16..4095), 0..3), flags in any::<[bool; 4]>(),
        token in proptest::option::of("[A-Za-z0-9][A-Za-z0-9_.-]{0,8}"),
    ) -> VmSpec {
        let [autostart, agent, tpm, uefi] = flags;
        let mut spec = VmSpec::new(name).cpus(cpus).memory(ByteSize::mib(mib)).autostart(autostart).agent(agent).tpm(tpm);
        spec.tags = tags.into();
        spec.metadata = metadata;
        spec.description = description;
        spec.client_token = token;
        spec.disks = disks;
        spec.nics = vlans.into_iter().map(|vlan| {
            let nic = NicSpec::bridge("vmbr0");
            match vlan { Some(tag) => nic.vlan(tag), None => nic.link_down(true) }
        }).collect();
        if uefi { spec.firmware(Firmware::Uefi) } else { spec }
    }
}

proptest! {
    #[test]
    fn every_spec_is_taken_and_reads_back(spec in specs()) {
        let create = encode_create(100, &spec, &Defaults::storage("local")).unwrap();
        let found = params::find("POST", "/nodes/pve1/qemu").unwrap();
        prop_assert_eq!(found.check(&pairs(&create.form)), Ok(()));
        let read = decode(&"100".into(), &applied(Map::new(), &create.form, GuestKind::Vm));
        prop_assert_eq!(&read.spec.name, &spec.name);
        prop_assert_eq!((read.spec.cpus, read.spec.memory), (spec.cpus, spec.memory));
        prop_assert_eq!(&read.spec.tags, &spec.tags);
        prop_assert_eq!(&read.spec.metadata, &spec.metadata);
        prop_assert_eq!(&read.spec.description, &spec.description);
        prop_assert_eq!(&read.spec.client_token, &spec.client_token);
        prop_assert_eq!((read.spec.autostart, read.spec.agent, read.spec.tpm), (spec.autostart, spec.agent, spec.tpm));
        prop_assert_eq!(read.spec.boot.firmware, spec.boot.firmware);
        prop_assert_eq!(read.disks.len(), spec.disks.len());
        let vlans = |nics: &[NicSpec]| nics.iter().map(|nic| (nic.vlan, nic.link_down)).collect::<Vec<_>>();
        prop_assert_eq!(vlans(&read.spec.nics), vlans(&spec.nics));
        // What is read is a fixed point: it makes the same once more.
        let second = encode_create(100, &read.spec, &Defaults::default()).unwrap();
        let twice = decode(&"100".into(), &applied(Map::new(), &second.form, GuestKind::Vm));
        prop_assert_eq!(twice.spec, read.spec);
    }

    #[test]
    fn any_configuration_is_read_and_any_change_of_it_written(
        raw in prop::collection::btree_map("(net|scsi|ide|virtio|mp|unused|ipconfig)[0-9]{1,3}|rootfs|boot|cores|sockets|vcpus|memory|agent|vga|bios|tags|description|smbios1|meta|cpu|machine|efidisk0|sshkeys|x",
            prop_oneof!["[ -~]{0,30}".prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Null), Just(json!([1])), Just(json!({"a": 1}))], 0..8),
        container in any::<bool>(), cpus in 1_u32..9,
    ) {
        let kind = if container { GuestKind::Container } else { GuestKind::Vm };
        let raw: Map<String, Value> = raw.into_iter().collect();
        let config = Config::of(raw, kind);
        let mut info = VmInfo::new("100", "a", VmState::Stopped);
        fill_in(&mut info, &config);
        let read = decode(&"100".into(), &config);
        let _ = encode_create(100, &read.spec, &Defaults::storage("local"));
        let change = VmChange::new().cpus(cpus).memory(ByteSize::gib(1)).add_tag("x").metadata("a", "b");
        let _ = encode_change(100, &change, &config);
        for disk in &read.disks {
            let _ = encode_resize_disk(&disk.id, ByteSize::gib(1), &config);
        }
        for nic in &read.nics {
            let form = encode_update_nic(&nic.id, &NicChange::new(), &config).unwrap();
            let before = property::parse(config.get(nic.id.as_str()).unwrap());
            prop_assert_eq!(property::parse(form.get(nic.id.as_str()).unwrap()), before);
        }
    }

    #[test]
    fn no_answer_breaks_a_decoder(text in ".{0,60}") {
        for body in [text.clone(), format!("{{\"data\":{text}}}"), format!("{{\"data\":{{\"scsi0\":\"{text}\"}}}}")] {
            let _ = decode_vm(&"100".into(), body.as_bytes());
            let _ = decode_ct(&"100".into(), body.as_bytes());
            let _ = decode_pending(body.as_bytes(), GuestKind::Vm);
        }
    }
}
