"""Lists machines and their load with libvirt-python, so many times; prints the seconds of each call as one line of JSON."""

import json
import sys
import time

import libvirt

GROUPS = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)


def facts(conn, definitions):
    rows = []
    for domain in conn.listAllDomains(0):
        row = (domain.name(), domain.UUIDString(), domain.info())
        rows.append(row + (domain.XMLDesc(0),) if definitions else row)
    return rows


uri, rounds, machines = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
libvirt.registerErrorHandler(lambda context, error: None, None)
conn = libvirt.open(uri)
calls = {
    "list + info": lambda: facts(conn, False),
    "list + info + definition": lambda: facts(conn, True),
    "load of all": lambda: conn.getAllDomainStats(GROUPS, 0),
}
told = {}
for name, call in calls.items():
    try:
        assert len(call()) >= machines
    except libvirt.libvirtError:
        # Not every driver has the bulk call.
        continue
    told[name] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        told[name].append(time.perf_counter() - begun)
print(json.dumps(told))
