use crate::conformance::case::Case;
use crate::conformance::check::{
    Check, Stop, check, names, refused, refused_as, refused_field, refused_unknown,
};
use crate::conformance::context::Context;
use crate::error::ErrorKind;
use crate::model::{
    Boot, ByteSize, DirectBoot, DiskSpec, Feature, MacAddr, NetworkId, NicSpec, PoolId, VmChange, VmQuery,
    VmSpec, VolumeId,
};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    use Operation::{CreateVm, CreateVolume, ListNetworks, ListPools, ListVolumes, UpdateVm};
    vec![
        case!("input", unusable_names_are_refused, [CreateVm]),
        case!("input", zero_cpus_are_refused, [CreateVm]),
        case!("input", more_cpus_than_can_be_are_refused, [CreateVm]),
        case!("input", tiny_memory_is_refused, [CreateVm]),
        case!("input", control_characters_in_a_description_are_refused, [CreateVm]),
        case!("input", bad_tags_are_refused, [CreateVm, Feature::Tags]),
        case!("input", bad_metadata_keys_are_refused, [CreateVm, Feature::Metadata]),
        case!("input", bad_vlan_is_refused, [CreateVm, Feature::NicVlan]),
        case!("input", the_same_mac_twice_is_refused, [CreateVm, ListNetworks]),
        case!("input", disk_of_no_size_is_refused, [CreateVm, CreateVolume]),
        case!("input", relative_kernel_path_is_refused, [CreateVm, Feature::DirectBoot]),
        case!("input", unknown_pool_is_named, [CreateVm, ListPools, CreateVolume]),
        case!("input", unknown_volume_is_named, [CreateVm, ListPools, CreateVolume]),
        case!("input", unknown_network_is_named, [CreateVm, ListNetworks]),
        case!("input", taken_name_is_refused, [CreateVm]),
        case!("input", failed_create_leaves_no_volume, [CreateVm, ListPools, ListVolumes, CreateVolume]),
        case!(
            "input",
            failed_create_leaves_no_volume_for_a_taken_name,
            [CreateVm, ListPools, ListVolumes, CreateVolume]
        ),
        case!("input", bad_changes_are_refused, [CreateVm, UpdateVm]),
        case!("input", text_survives_as_it_is, [CreateVm, Operation::GetVmConfig]),
    ]
}

/// Creates a guest that has to be refused because of this field, and looks that nothing is left of it.
async fn refused_create(cx: &Context, what: &str, spec: &VmSpec, field: &str) -> Check {
    let created = cx.done(cx.hv.create_vm(spec).await).await;
    refused_field(what, created, field)?;
    cx.nothing_made(what).await
}

async fn unusable_names_are_refused(cx: &Context) -> Check {
    let long = "x".repeat(64);
    for name in ["", "--all", "a b", "a/b", "../up", "a\nb", "a\0b", "ü", "$(id)", "a;b", long.as_str()] {
        let spec = VmSpec::new(name).memory(ByteSize::mib(64));
        let what = format!("creating a guest called {name:?}");
        let created = cx.done(cx.hv.create_vm(&spec).await).await;
        refused_field(&what, created, "name")?;
        let found = cx.vms(&VmQuery::all()).await?.into_iter().any(|vm| vm.name == name);
        check!(!found, "{what} was refused, but it is there");
    }
    Ok(())
}

async fn zero_cpus_are_refused(cx: &Context) -> Check {
    refused_create(cx, "a guest without a CPU", &cx.spec("a").cpus(0), "cpus").await
}

async fn more_cpus_than_can_be_are_refused(cx: &Context) -> Check {
    let spec = cx.spec("a").cpus(1_000_000);
    let created = match cx.hv.create_vm(&spec).await {
        // Some backends look at the number only when the guest starts.
        Ok(started) => {
            let vm = cx.adopt(Ok(started)).await?;
            cx.power(&vm, crate::model::PowerAction::Start).await
        }
        Err(error) => Err(error),
    };
    if created.is_ok() {
        return Err(Stop::skipped("the backend runs guests with any number of CPUs"));
    }
    let kinds = [ErrorKind::InvalidInput, ErrorKind::Exhausted, ErrorKind::Backend, ErrorKind::Unsupported];
    refused_as("a guest with a million CPUs", created, &kinds).map(drop)
}

async fn tiny_memory_is_refused(cx: &Context) -> Check {
    for memory in [ByteSize::ZERO, ByteSize::kib(4)] {
        refused_create(cx, &format!("a guest with {memory}"), &cx.spec("a").memory(memory), "memory").await?;
    }
    Ok(())
}

async fn control_characters_in_a_description_are_refused(cx: &Context) -> Check {
    let spec = cx.spec("a").description("bell\u{7}");
    refused_create(cx, "a description with a control character", &spec, "description").await
}

async fn bad_tags_are_refused(cx: &Context) -> Check {
    for tag in ["", "A", "a b", "a,b", "<x>"] {
        refused_create(cx, &format!("the tag {tag:?}"), &cx.spec("a").tag(tag), "tags").await?;
    }
    Ok(())
}

async fn bad_metadata_keys_are_refused(cx: &Context) -> Check {
    for key in ["", "Upper", "a b"] {
        let spec = cx.spec("a").metadata(key, "value");
        refused_create(cx, &format!("the metadata key {key:?}"), &spec, "metadata").await?;
    }
    Ok(())
}

async fn bad_vlan_is_refused(cx: &Context) -> Check {
    for vlan in [0, 5000] {
        let spec = cx.spec("a").nic(NicSpec::user().vlan(vlan));
        refused_create(cx, &format!("the VLAN {vlan}"), &spec, "nics[0].vlan").await?;
    }
    Ok(())
}

async fn the_same_mac_twice_is_refused(cx: &Context) -> Check {
    let network = cx.network().await?;
    let nic = || NicSpec::network(&network).mac(MacAddr::qemu(cx.seed()));
    let spec = cx.spec("a").nic(nic()).nic(nic());
    refused_create(cx, "two NICs with one address", &spec, "nics[1].mac").await
}

async fn disk_of_no_size_is_refused(cx: &Context) -> Check {
    let spec = cx.spec("a").disk(DiskSpec::new_volume(ByteSize::ZERO));
    refused_create(cx, "a disk of no size", &spec, "disks[0].size").await
}

async fn relative_kernel_path_is_refused(cx: &Context) -> Check {
    let boot = Boot { direct: Some(DirectBoot::new("boot/vmlinuz")), ..Boot::default() };
    let spec = cx.spec("a").boot(boot);
    refused_create(cx, "a relative path of a kernel", &spec, "direct_boot.kernel").await
}

async fn unknown_pool_is_named(cx: &Context) -> Check {
    let ghost = PoolId::from(cx.name("nopool"));
    let spec = cx.spec("a").disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool(&ghost));
    let what = "a disk in a pool that is not there";
    refused_unknown(what, cx.done(cx.hv.create_vm(&spec).await).await, PoolId::NOUN, &ghost)?;
    cx.nothing_made(what).await
}

async fn unknown_volume_is_named(cx: &Context) -> Check {
    let ghost = VolumeId::from(format!("{}/{}", cx.pool().await?, cx.name("novolume")));
    let spec = cx.spec("a").disk(DiskSpec::volume(&ghost));
    let what = "a disk from a volume that is not there";
    refused_unknown(what, cx.done(cx.hv.create_vm(&spec).await).await, VolumeId::NOUN, &ghost)?;
    cx.nothing_made(what).await
}

async fn unknown_network_is_named(cx: &Context) -> Check {
    let ghost = NetworkId::from(cx.name("nonet"));
    let spec = cx.spec("a").nic(NicSpec::network(&ghost));
    let what = "a NIC in a network that is not there";
    refused_unknown(what, cx.done(cx.hv.create_vm(&spec).await).await, NetworkId::NOUN, &ghost)?;
    cx.nothing_made(what).await
}

/// Whether the backend refuses a second guest of a name; the second is made and taken note of where it does not.
async fn names_are_unique(cx: &Context, second: &VmSpec) -> Check {
    let created = match cx.hv.create_vm(second).await {
        Ok(started) => {
            let id = started.output.clone();
            let ended = cx.done(Ok(started)).await;
            if ended.is_ok() {
                cx.keep(crate::conformance::context::Made::Vm(id));
                let same = cx.vms(&VmQuery::all().name(&second.name)).await?;
                check!(same.len() == 2, "a second guest of a name is accepted, but {} are there", same.len());
                return Err(Stop::skipped("the backend lets two guests have one name"));
            }
            ended
        }
        Err(error) => Err(error),
    };
    let error = refused("a second guest of a name", created, ErrorKind::AlreadyExists)?;
    names("a second guest of a name", &error, "vm", &second.name)
}

async fn taken_name_is_refused(cx: &Context) -> Check {
    let first = cx.create(&cx.spec("a").cpus(2)).await?;
    names_are_unique(cx, &cx.spec("a")).await?;
    let all = cx.vms(&VmQuery::all().name(cx.name("a"))).await?;
    check!(all.len() == 1, "{} guests have the name", all.len());
    check!(all.iter().all(|vm| vm.id == first && vm.cpus == Some(2)), "the first guest was changed: {all:?}");
    Ok(())
}

async fn failed_create_leaves_no_volume(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    let good = || DiskSpec::new_volume(ByteSize::mib(1)).in_pool(&pool);
    let ghost = PoolId::from(cx.name("nopool"));
    let what = "a guest whose second disk is impossible";
    let spec = cx.spec("a").disk(good()).disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool(&ghost));
    refused_unknown(what, cx.done(cx.hv.create_vm(&spec).await).await, PoolId::NOUN, &ghost)?;
    cx.nothing_made(what).await?;

    let ghost = VolumeId::from(format!("{pool}/{}", cx.name("novolume")));
    let spec = cx.spec("a").disk(good()).disk(DiskSpec::copy_of(&ghost).in_pool(&pool));
    refused_unknown(what, cx.done(cx.hv.create_vm(&spec).await).await, VolumeId::NOUN, &ghost)?;
    cx.nothing_made(what).await
}

async fn failed_create_leaves_no_volume_for_a_taken_name(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    let spec = cx.spec("a").disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool(&pool));
    cx.create(&spec).await?;
    let before = cx.volumes().await?;
    names_are_unique(cx, &spec).await?;
    let after = cx.volumes().await?;
    let ids = |volumes: &[crate::model::VolumeInfo]| -> Vec<VolumeId> {
        volumes.iter().map(|volume| volume.id.clone()).collect()
    };
    crate::conformance::check::check_eq!("the volumes after the refused create", ids(&after), ids(&before));
    Ok(())
}

async fn bad_changes_are_refused(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    for (field, change) in [
        ("name", VmChange::new().name("a b")),
        ("cpus", VmChange::new().cpus(0)),
        ("memory", VmChange::new().memory(ByteSize::kib(4))),
        ("description", VmChange::new().description("bell\u{7}")),
    ] {
        let what = format!("a change to a bad {field}");
        refused_field(&what, cx.done(cx.hv.update_vm(&vm, &change).await).await, field)?;
    }
    let info = cx.get(&vm).await?;
    check!(
        info.name == cx.name("a") && info.cpus == Some(1),
        "a refused change has changed the guest: {info:?}"
    );
    Ok(())
}

async fn text_survives_as_it_is(cx: &Context) -> Check {
    for (index, text) in ["<b> & \"quotes\" 'n' ]]>", "ü 漢字 🦀", "  spaces  kept  ", "tab\tand\nline"]
        .into_iter()
        .enumerate()
    {
        let vm = cx.create(&cx.spec(&format!("t{index}")).description(text)).await?;
        let config = cx.hv.get_vm_config(&vm).await?;
        crate::conformance::check::check_eq!(
            "the description",
            config.spec.description.as_deref(),
            Some(text)
        );
    }
    Ok(())
}
