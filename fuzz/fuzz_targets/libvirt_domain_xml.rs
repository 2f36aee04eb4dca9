#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hypervisor_libvirt::fuzzing::domain_xml(data);
});
