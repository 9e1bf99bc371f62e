"""Echo server on the `websockets` library; see ../README.md.

Usage: server.py [server.crt server.key [1.2|1.3 [cipher suite]]]
"""

import asyncio
import json
import os
import signal
import ssl
import sys
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

LARGEST = 64 * 1024 * 1024
last_close = {"code": None, "reason": None}


def pieces(message):
    third = max(1, len(message) // 3)
    return [message[:third], message[third : 2 * third], message[2 * third :]]


def subprotocol(_socket, offered):
    return next((name for name in ("chat.v2", "chat.v1") if name in offered), None)


async def session(socket):
    query = parse_qs(urlsplit(socket.request.path).query, keep_blank_values=True)
    if "info" in query:
        seen = {
            "subprotocol": socket.subprotocol,
            "extensions": [extension.name for extension in socket.protocol.extensions],
            "headers": {name.lower(): value for name, value in socket.request.headers.raw_items()},
        }
        await socket.send(json.dumps(seen))
    if "closed" in query:
        await socket.send(json.dumps(last_close))
        return
    if "close" in query:
        await socket.close(int(query["close"][0]), query.get("reason", [""])[0])
        return
    if "ping" in query:
        payload = query["ping"][0]
        await (await socket.ping(payload))
        await socket.send(f"pong {payload}")
    try:
        while True:
            message = await socket.recv()
            if message == "!die":
                os.kill(os.getpid(), signal.SIGKILL)
            if message == "!restart":
                await socket.close(1012, "restarting")
            await socket.send(pieces(message) if "pieces" in query else message)
    except ConnectionClosed as end:
        if end.rcvd is not None:
            last_close.update(code=end.rcvd.code, reason=end.rcvd.reason)


def tls(cert, key, version="1.3", cipher=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    only = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = only
    if cipher:
        context.set_ciphers(cipher)
    return context


async def main():
    context = tls(*sys.argv[1:]) if len(sys.argv) > 1 else None
    options = {"select_subprotocol": subprotocol, "max_size": LARGEST, "ping_interval": None}
    async with serve(session, "127.0.0.1", 0, ssl=context, **options) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await server.serve_forever()


asyncio.run(main())
