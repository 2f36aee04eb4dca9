//! Reading the list of a large cluster: in whatever pieces it comes, and at what cost, which is counted, not timed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::fmt::Write as _;

use hypervisor_core::{ErrorKind, Result};
use hypervisor_proxmox::wire::resources::{Inventory, Reader};

/// What a program reads that knows just these fields.
#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "only reading it matters")]
struct Minimal {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    node: String,
    vmid: u64,
    name: String,
    status: String,
    cpu: f64,
    maxcpu: u64,
    mem: u64,
    maxmem: u64,
    uptime: u64,
}

#[derive(serde::Deserialize)]
struct Envelope {
    data: Vec<Minimal>,
}

/// The rows as the server sends them, on ten nodes.
fn list(guests: u32) -> String {
    let mut body = String::from("{\"data\":[");
    for number in 0..guests {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            body,
            "{comma}{{\"diskwrite\":0,\"vmid\":{vmid},\"diskread\":0,\"disk\":0,\"id\":\"qemu/{vmid}\",\"memhost\":0,\
             \"maxcpu\":2,\"uptime\":956,\"status\":\"running\",\"maxdisk\":2147483648,\"template\":0,\"cpu\":0.078771112,\
             \"maxmem\":536870912,\"tags\":\"bench;web\",\"type\":\"qemu\",\"node\":\"pve{node}\",\"name\":\"web-{number}\",\"netout\":81400,\
             \"netin\":2939,\"mem\":104857600}}",
            vmid = 100 + number,
            node = number % 10
        );
    }
    body.push_str("]}");
    body
}

/// The size of the pieces in which a long answer comes.
const PIECE: usize = 64 << 10;

#[test]
fn ten_thousand_guests_cost_two_allocations_each_and_less_memory_than_eleven_fields() {
    let body = list(10_000);
    let ours = allocation_counter::measure(|| {
        let mut reader = Reader::new();
        let mut left = body.len();
        for piece in body.as_bytes().chunks(PIECE) {
            left -= piece.len();
            reader.add(piece);
            reader.expect(u64::try_from(left).unwrap());
        }
        let whole = reader.finish().unwrap();
        assert_eq!(whole.guests.len(), 10_000);
        assert!(whole.guests[0].tags.contains("web"));
    });
    let theirs = allocation_counter::measure(|| {
        let whole: Vec<u8> = body.as_bytes().chunks(PIECE).flatten().copied().collect();
        let minimal: Envelope = serde_json::from_slice(&whole).unwrap();
        assert_eq!(minimal.data.len(), 10_000);
    });
    let count = |what: &str, cost: &allocation_counter::AllocationInfo| {
        println!("{what}: {} allocations, {} bytes at a time", cost.count_total, cost.bytes_max);
    };
    println!("{} bytes of JSON", body.len());
    count("the model", &ours);
    count("eleven fields", &theirs);
    // The id and the name; the names of nodes and the lists of tags are shared.
    assert!(ours.count_total < 20_200, "{ours:?}");
    assert!(ours.count_total < theirs.count_total, "{ours:?} against {theirs:?}");
    assert!(ours.bytes_max * 3 < theirs.bytes_max * 2, "{ours:?} against {theirs:?}");
}

const LIST: &str = r#" {"data" : [
    {"type":"qemu","vmid":300,"name":"f\u00e4r {\"}","node":"pvé2","status":"running","tags":"a;b","new":{"a":[1.5e3,{}]}},
    {"type":"node","node":"pve1","status":"online","maxcpu":2,"cpu":-0.5e-1},
    {"type":"qemu","vmid":171,"node":"pve1","status":"unknown","tags":"a;b","netin":1.25}, {"type":"lxc","vmid":"7"}
    ], "total": 3 } "#;

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Inventory> {
    let mut reader = Reader::new();
    pieces.into_iter().for_each(|piece| reader.add(piece));
    reader.finish()
}

#[test]
fn where_the_pieces_are_cut_makes_no_difference() {
    let whole = read([LIST.as_bytes()]).unwrap();
    assert_eq!(whole.guests.len(), 3);
    assert_eq!(whole.guests[2].name, "fär {\"}");
    for at in 1..LIST.len() {
        let (first, second) = LIST.as_bytes().split_at(at);
        assert_eq!(read([first, second]).unwrap(), whole, "cut at {at}");
    }
    for length in 1..40 {
        assert_eq!(read(LIST.as_bytes().chunks(length)).unwrap(), whole, "pieces of {length}");
    }
}

#[test]
fn another_order_is_read_as_well() {
    let other = LIST.replacen("\"data\"", "\"total\":3,\"data\"", 1).replacen(", \"total\": 3 }", "}", 1);
    assert_eq!(read(other.as_bytes().chunks(7)).unwrap(), read([LIST.as_bytes()]).unwrap());
    let bare = LIST.trim().strip_prefix("{\"data\" :").unwrap().strip_suffix(", \"total\": 3 }").unwrap();
    assert_eq!(read(bare.as_bytes().chunks(7)).unwrap(), read([LIST.as_bytes()]).unwrap());
    for empty in ["[]", " [ ] ", r#"{"data":[]}"#, r#"{"total":0,"data":[]}"#] {
        assert_eq!(read([empty.as_bytes()]).unwrap(), Inventory::default(), "{empty}");
    }
}

#[test]
fn what_is_cut_off_or_broken_is_no_list() {
    for at in 0..LIST.trim_end().len() - 1 {
        let cut = LIST.as_bytes().split_at(at).0;
        for length in [1, 16, LIST.len()] {
            let error = read(cut.chunks(length)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "cut at {at}");
        }
    }
    for wrong in [
        r#"{"data":[{"vmid":1},]}"#,
        r#"{"data":[,{"vmid":1}]}"#,
        r#"{"data":[{"vmid":1} {"vmid":2}]}"#,
        r#"{"data":[1]}"#,
        r#"{"data":[{"vmid":1}]"#,
        r#"{"data":[{"vmid":1}]}}"#,
        r#"[{"vmid":1}]x"#,
        r#"{"data":[{"name":"hunter2}]}"#,
        "{}",
        "",
        r#"{"data":null}"#,
        r#"[[{"vmid":1}]]"#,
        "<html>",
    ] {
        for length in [1, 5, 100] {
            let error = read(wrong.as_bytes().chunks(length)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{wrong}");
            assert!(!format!("{error:#?}").contains("hunter2"));
        }
    }
    assert!(read([&b"{\"data\":[{\"name\":\"\xff\"}]}"[..]]).is_err());
}

#[test]
fn a_row_of_many_pieces_is_not_begun_anew_with_each() {
    let mut body = String::from(r#"{"data":[{"type":"qemu","vmid":100,"new":["#);
    body.push_str(&"{},".repeat(200_000));
    body.push_str(r#"{}]}]}"#);
    assert_eq!(read(body.as_bytes().chunks(16)).unwrap().guests.len(), 1);
}
