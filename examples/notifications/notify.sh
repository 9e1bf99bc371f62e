#!/bin/sh
# Sends a notification to all clients of the gateway: sh notify.sh TEXT [URL of the publishing API].
# `42` begins an event of Socket.IO: its name and its data follow as a list.
data=$(python3 -c 'import json, sys; print(json.dumps("42" + json.dumps(["notification", sys.argv[1]])))' "$1")
curl --fail --silent --show-error -H 'Authorization: Bearer token-of-the-jobs' \
    -d "{\"to\":[\"route:app\"],\"text\":$data}" "${2:-http://127.0.0.1:9901}/v1/messages"
