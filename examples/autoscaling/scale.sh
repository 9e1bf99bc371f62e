#!/bin/sh
# Scales the backends of an upstream to what the gateway asks for, with any tool that starts and stops them.
# Once a minute, by cron or a timer:
#   scale.sh chat http://127.0.0.1:9900 /usr/local/bin/set-chat-backends
# The command is called with the number of backends that there should be, and only if it is another one than before. To
# grow, it starts some. To shrink, it waits: the emptiest backends are told to drain first, by the gateway, and are
# stopped when they are empty; then the number falls. SESSILE_TOKEN holds the admin token, if there is one.
set -eu
upstream=$1 admin=$2 command=$3

api() { # METHOD PATH [BODY]
    curl --fail --silent --show-error --max-time 10 -X "$1" \
        ${SESSILE_TOKEN:+-H "Authorization: Bearer $SESSILE_TOKEN"} \
        ${3:+-H 'Content-Type: application/json' -d "$3"} "$admin$2"
}

load=$(api GET "/v1/scaling/$upstream?scope=fleet")
number() { printf '%s' "$load" | sed -n "s/.*\"$1\":\([0-9][0-9]*\).*/\1/p"; }
desired=$(number backends_desired)
well=$(number backends_well) unwell=$(number backends_unwell) draining=$(number backends_draining)
[ -n "$desired" ] || { echo "$upstream has no scaling.sessions_target" >&2; exit 1; }
running=$((well + unwell + draining))

if [ "$desired" -lt "$running" ]; then
    # Those that drain already are counted in both numbers.
    api POST "/v1/upstreams/$upstream/scale-in" "{\"backends\":$((running - desired))}" >/dev/null
    echo "$upstream: $((running - desired)) of $running backends drain"
elif [ "$desired" -gt "$running" ]; then
    "$command" "$desired"
    echo "$upstream: from $running to $desired backends"
fi
