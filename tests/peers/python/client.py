"""Client on the `websockets` library that tries every case against a server of ../README.md.

Usage: client.py ws://127.0.0.1:PORT/path [ca.pem]
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

LARGEST = 64 * 1024 * 1024
URL = sys.argv[1]
TLS = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None


def session(query="", **options):
    options.setdefault("compression", None)
    return connect(f"{URL}?{query}", ssl=TLS, max_size=LARGEST, ping_interval=None, **options)


def expect(actual, wanted):
    if actual != wanted:
        raise AssertionError(f"{str(actual)[:200]!r} instead of {str(wanted)[:200]!r}")


async def echoes(message, query="", **options):
    async with session(query, **options) as socket:
        await socket.send(message)
        expect(await socket.recv(), "".join(message) if isinstance(message, list) else message)


async def text():
    await echoes("grüße, 世界 \N{GRINNING FACE}")
    await echoes("")


async def binary():
    await echoes(bytes(range(256)))


async def fragments():
    await echoes(["one ", "two ", "", "three"])
    await echoes("in three pieces, please", "pieces")


async def sixteen_mebibytes():
    await echoes(os.urandom(16 * 1024 * 1024))


async def many():
    async with session() as socket:
        for number in range(500):
            await socket.send(f"message {number}")
        for number in range(500):
            expect(await socket.recv(), f"message {number}")


async def ping_from_client():
    async with session() as socket:
        await (await socket.ping(b"from client"))
        await socket.send("after")
        expect(await socket.recv(), "after")


async def ping_from_server():
    async with session("ping=from-server") as socket:
        expect(await socket.recv(), "pong from-server")


async def ping_between_fragments():
    async with session() as socket:

        async def parts():
            yield "before "
            await (await socket.ping(b"between"))
            yield "after"

        await socket.send(parts())
        expect(await socket.recv(), "before after")


async def subprotocol():
    async with session("info", subprotocols=["chat.v0", "chat.v2"]) as socket:
        expect(socket.subprotocol, "chat.v2")
        expect(json.loads(await socket.recv())["subprotocol"], "chat.v2")


async def no_subprotocol():
    async with session("info") as socket:
        expect(socket.subprotocol, None)
        expect(json.loads(await socket.recv())["subprotocol"], None)


async def deflate():
    async with session("info", compression="deflate") as socket:
        expect(json.loads(await socket.recv())["extensions"], ["permessage-deflate"])
        expect([extension.name for extension in socket.protocol.extensions], ["permessage-deflate"])
        for message in ("compress me " * 10_000, bytes(1_000_000), "compress me " * 10_000):
            await socket.send(message)
            expect(await socket.recv(), message)


async def close_from_client():
    async with session() as socket:
        await socket.close(4002, "client says bye")
        expect((socket.close_code, socket.close_reason), (4002, "client says bye"))
    async with session("closed") as socket:
        expect(json.loads(await socket.recv()), {"code": 4002, "reason": "client says bye"})


async def close_from_server():
    for code, reason in ((1000, ""), (1001, "away"), (1012, "später"), (4001, "x" * 123)):
        async with session(f"close={code}&reason={reason.replace('ä', '%C3%A4')}") as socket:
            try:
                await socket.recv()
                raise AssertionError("a message instead of a close")
            except ConnectionClosed as end:
                expect((end.rcvd.code, end.rcvd.reason), (code, reason))


CASES = [
    text, binary, fragments, sixteen_mebibytes, many, ping_from_client, ping_from_server,
    ping_between_fragments, subprotocol, no_subprotocol, deflate, close_from_client, close_from_server,
]  # fmt: skip


async def main():
    passed, failed = [], {}
    for case in CASES:
        try:
            await asyncio.wait_for(case(), 30)
            passed.append(case.__name__)
        except Exception as error:  # every failure is reported, none ends the run
            failed[case.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps({"client": "python", "failed": failed, "passed": passed}), flush=True)
    return 1 if failed else 0


sys.exit(asyncio.run(main()))
