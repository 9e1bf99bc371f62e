"""A notebook's way to a kernel: starts one over HTTP, runs cells over its WebSocket in both forms of
the protocol, and ends it.

Usage: notebook_client.py http://127.0.0.1:PORT TOKEN
"""

import asyncio
import json
import sys
import urllib.request
import uuid
from http.cookiejar import CookieJar

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

URL, TOKEN = sys.argv[1], sys.argv[2]
PATIENCE = 60
V1 = "v1.kernel.websocket.jupyter.org"
COOKIES = CookieJar()
HTTP = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(COOKIES))


def ask(method, path, body=None):
    request = urllib.request.Request(URL + path, method=method)
    request.add_header("Authorization", f"token {TOKEN}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with HTTP.open(request, timeout=PATIENCE) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def execute_request(code):
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "ann",
        "session": uuid.uuid4().hex,
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
    return header, content


def write(header, content, binary):
    if not binary:
        whole = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        return json.dumps({**whole, "channel": "shell", "buffers": []})
    parts = [b"shell", *(json.dumps(part).encode() for part in (header, {}, {}, content))]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    numbers = [len(offsets), *offsets]
    return b"".join(number.to_bytes(8, "little") for number in numbers) + b"".join(parts)


def read(message):
    """The header, the parent's id and the content of a message."""
    if isinstance(message, str):
        whole = json.loads(message)
        return whole["header"], whole["parent_header"].get("msg_id"), whole["content"]
    number = int.from_bytes(message[:8], "little")
    offsets = [int.from_bytes(message[8 * at : 8 * at + 8], "little") for at in range(1, number + 1)]
    parts = [message[begin:end] for begin, end in zip(offsets, offsets[1:])]
    header, parent, _, content = (json.loads(part) for part in parts[1:5])
    return header, parent.get("msg_id"), content


async def run(socket, code, binary):
    """Runs a cell; returns its result, and what it printed."""
    header, content = execute_request(code)
    await socket.send(write(header, content, binary))
    result, printed, replied, idle = None, "", False, False
    while not (replied and idle):
        message = await asyncio.wait_for(socket.recv(), PATIENCE)
        answer, parent, content = read(message)
        if parent != header["msg_id"]:
            continue
        kind = answer["msg_type"]
        if kind == "execute_result":
            result = content["data"]["text/plain"]
        elif kind == "stream":
            printed += content["text"]
        elif kind == "execute_reply":
            assert content["status"] == "ok", content
            replied = True
        elif kind == "status":
            idle = content["execution_state"] == "idle"
    return result, printed


def channels(kernel, origin, subprotocols):
    url = URL.replace("http:", "ws:") + f"/api/kernels/{kernel}/channels"
    cookie = "; ".join(f"{one.name}={one.value}" for one in COOKIES)
    return connect(
        url,
        additional_headers={"Cookie": cookie},
        origin=origin,
        subprotocols=subprotocols,
        max_size=None,
    )


async def main():
    passed = []
    # As a page that was opened with the token in its address: the server sets a cookie.
    HTTP.open(f"{URL}/api/status?token={TOKEN}", timeout=PATIENCE).close()
    kernel = ask("POST", "/api/kernels", {"name": "python3"})["id"]
    for name, subprotocols in (("json", None), ("v1", [V1])):
        async with channels(kernel, URL, subprotocols) as socket:
            assert socket.subprotocol == (V1 if name == "v1" else None), socket.subprotocol
            result, _ = await run(socket, "1+1", name == "v1")
            assert result == "2", result
            # One message of more than a megabyte.
            _, printed = await run(socket, "print('x' * 1_500_000)", name == "v1")
            assert printed == "x" * 1_500_000 + "\n", len(printed)
        passed.append(name)
    # The state of the kernel outlives a connection, so both went to one server.
    async with channels(kernel, URL, None) as socket:
        assert (await run(socket, "answer = 41", False))[0] is None
    async with channels(kernel, URL, None) as socket:
        assert (await run(socket, "answer + 1", False))[0] == "42"
    passed.append("state")
    try:
        async with channels(kernel, "http://evil.example", None):
            pass
    except InvalidStatus as refused:
        assert refused.response.status_code in (403, 404), refused
        passed.append("origin")
    ask("DELETE", f"/api/kernels/{kernel}")
    print(json.dumps({"passed": passed}))


asyncio.run(main())
