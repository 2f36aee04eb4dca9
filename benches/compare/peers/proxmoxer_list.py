"""Lists a cluster with proxmoxer, so many times; prints seconds and memory as one line of JSON."""

import gc
import json
import sys
import time

from proxmoxer import ProxmoxAPI


def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key))


url, rounds = sys.argv[1], int(sys.argv[2])
api = ProxmoxAPI("127.0.0.1", user="root@pam", token_name="bench", token_value="secret", verify_ssl=False)
# It knows https only; the server speaks plain HTTP to all who are compared.
api._store["base_url"] = url + "/api2/json"
idle = memory("VmRSS")
seconds = []
for turn in range(rounds + 1):
    begun = time.perf_counter()
    rows = api.cluster.resources.get()
    guests = sum(1 for row in rows if "vmid" in row)
    if turn > 0:
        seconds.append(time.perf_counter() - begun)
    assert guests == 10000, guests
    del rows
gc.collect()
peak = memory("VmHWM")
print(json.dumps({"seconds": seconds, "idle_kib": idle, "peak_kib": peak}))
