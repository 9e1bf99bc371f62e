"""Compares the admin API of a live gateway with docs/openapi.json, by schemathesis and for streams by itself.

Usage: described.py http://127.0.0.1:PORT TOKEN openapi.json '{"backend": …, "session": …}'

schemathesis makes requests from the description: right ones, wrong ones, with methods that are not described. Each answer must be
one that the description has for the request: status, content type, headers, schema, and never a 5xx that is not described. The seed
is fixed, so each run makes the same requests. Streams do not end, so they are left out there: here each is opened, looked at, closed.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

SEED = 14
# Requests of each kind for each operation.
EXAMPLES = 12
# Of one answer; several wait for something of the gateway.
PATIENCE = 20

# A value of the right type that is refused with a described 400 is no violation: a cursor, a time, a network, or two fields of
# which one is wanted are more than the description's types can express.
EXCLUDED_CHECKS = "positive_data_acceptance"

base, token, document, known = sys.argv[1:]
known = json.loads(known)
described = json.loads(Path(document).read_text())
passed, failed = [], {}


def configuration():
    """Names that exist, so that more than the answer 404 is seen."""
    session, upstream, backend = (json.dumps(known[name]) for name in ("session", "upstream", "backend"))
    text = "\n".join(
        [
            f'parameters = {{ "path.name" = {upstream}, "path.source" = "file", "path.file" = "app.js" }}',
            *(
                f'[[operations]]\ninclude-path = "{path}"\nparameters = {{ "path.id" = {value} }}'
                for path, value in {
                    "/v1/sessions/{id}/move": session,
                    "/v1/sessions/{id}/messages": session,
                    "/v1/upstreams/{name}/backends/{id}": backend,
                    "/v1/upstreams/{name}/backends/{id}/departures": backend,
                }.items()
            ),
        ]
    )
    tomllib.loads(text)
    return text


def compare():
    streams = [path for path, methods in described["paths"].items() if is_stream(methods.get("get", {}))]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "schemathesis.toml")
        settings.write_text(configuration())
        command = [
            Path(sys.executable).parent / "python", "-m", "schemathesis.cli", "--config-file", settings, "run", document,
            "--url", base, "--header", f"Authorization: Bearer {token}", "--exclude-checks", EXCLUDED_CHECKS,
            "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", str(SEED),
            "--generation-deterministic", "--request-timeout", str(PATIENCE),
            "--continue-on-failure", "--no-color", "--output-sanitize", "false", "--warnings", "off",
            *(argument for path in streams for argument in ("--exclude-path", path)),
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    if done.returncode != 0:
        print(done.stdout, done.stderr, file=sys.stderr)
        failed["schemathesis"] = f"{done.stdout[-2_000:]}{done.stderr[-2_000:]}"
        return
    # A run that tested nothing is no success.
    tested = next((line.split()[-1] for line in done.stdout.splitlines() if line.strip().startswith("Tested:")), "0")
    operations = sum(len(methods) for methods in described["paths"].values()) - len(streams)
    if int(tested) != operations:
        failed["schemathesis"] = f"{tested} of {operations} operations were tested: {done.stdout[-4_000:]}"
        return
    passed.append(f"{operations} operations answer as described")


def is_stream(operation):
    answer = operation.get("responses", {}).get("200", {})
    return "text/event-stream" in answer.get("content", {})


def stream(target, token, expected):
    request = urllib.request.Request(base + target, headers={"Authorization": f"Bearer {token}"} if token else {})
    path = target.partition("?")[0].replace(known["session"], "{id}")
    path = "/v1/sessions/{id}/tap" if path.endswith("/tap") else path
    responses = described["paths"][path]["get"]["responses"]
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            status, kind = answer.status, answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        status, kind = error.code, error.headers.get_content_type()
    content = responses.get(str(status), {}).get("content", {})
    if status != expected or kind not in content:
        failed[target] = f"{status} {kind} instead of {expected}; described are {list(responses)} and {list(content)}"
    else:
        passed.append(f"{status}: GET {target}")


for target, as_token, expected in [
    ("/v1/events", token, 200),
    ("/v1/events?after=0&class=changes", token, 200),
    ("/v1/events?after=nonsense", token, 400),
    ("/v1/events?clas=changes", token, 400),
    ("/v1/events", None, 401),
    (f"/v1/sessions/{known['session']}/tap?seconds=1", token, 200),
    (f"/v1/sessions/{known['session']}/tap?seconds=soon", token, 400),
    ("/v1/sessions/none/tap", token, 400),
    ("/v1/sessions/00000000000000000000000000/tap", token, 404),
    (f"/v1/sessions/{known['session']}/tap", None, 401),
]:
    stream(target, as_token, expected)
# Last: it also closes sessions.
compare()
for name, what in failed.items():
    print(f"{name}: {what}", file=sys.stderr)
print(json.dumps({"client": "schemathesis", "failed": failed, "passed": passed}))
sys.exit(1 if failed else 0)
