#!/bin/sh
# Sends generated requests to a gateway on the in-memory hypervisor and compares each answer with the OpenAPI document: no undocumented
# status, type or shape, and no 500. Needs the program and schemathesis:
#   tests/schemathesis.sh target/debug/hypervisor-gateway [path of schemathesis] [examples per operation]
set -eu
program=$1
schemathesis=${2:-schemathesis}
examples=${3:-20}
folder=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
database="sqlite://$folder/state.db"
token=$("$program" token --database "$database" 2>/dev/null)
"$program" --listen 127.0.0.1:0 --database "$database" --rate none --log-filter warn >"$folder/out" 2>"$folder/log" &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    grep -q '^listening on' "$folder/out" && break
    sleep 0.5
done
at=http://$(sed -n 's/^listening on //p' "$folder/out")
# Whoever revokes the token that the test itself uses learns nothing more. Streams have no end.
status=0
"$schemathesis" run "$at/v1/openapi.json" --header "Authorization: Bearer $token" \
    --phases fuzzing --max-examples "$examples" --seed 1 \
    --checks status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
    --exclude-path '/v1/auth/tokens/{token_id}' --exclude-path /v1/watch \
    --exclude-path '/v1/vms/{vm_id}/console/stream' || status=$?
# Python is there where schemathesis is.
python3 - "$at/metrics" "$token" >"$folder/metrics" <<'END'
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
print(urllib.request.urlopen(request, timeout=10).read().decode())
END
if grep 'status="500"' "$folder/metrics"; then
    echo "the gateway answered 500" >&2
    cat "$folder/log" >&2
    status=1
fi
exit "$status"
