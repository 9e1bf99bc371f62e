"""A client of compressed messages whose backends come and go; see ../README.md."""

import asyncio
import itertools
import json
import sys

from websockets.asyncio.client import connect


def text(number):
    # Alike, so that a window of earlier messages would be referred to wherever that is allowed.
    return f"message {number}: " + "the quick brown fox jumps over the lazy dog; " * 60


async def settle(socket):
    """Waits until a backend answers. What is under way to one that goes may be lost."""
    for number in itertools.count():
        mark = f"settled {number}"
        await socket.send(mark)
        try:
            async with asyncio.timeout(2):
                while await socket.recv() != mark:
                    pass
            return
        except TimeoutError:
            pass


async def echo(socket, numbers):
    for number in numbers:
        await socket.send(text(number))
        answer = await socket.recv()
        assert answer == text(number), f"{number} came back as {answer[:80]}"


async def main(uri, words):
    passed = []
    async with connect(uri, ping_interval=None) as socket:
        (deflate,) = socket.protocol.extensions
        assert deflate.local_no_context_takeover, "the client may refer to earlier messages"
        passed.append("terms")
        await echo(socket, range(20))
        for word in words:
            await socket.send(word)
            await settle(socket)
            await echo(socket, range(20))
            passed.append(word)
    print(json.dumps({"passed": passed}))


asyncio.run(main(sys.argv[1], sys.argv[2:]))
