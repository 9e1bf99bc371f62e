"""The way of noVNC to a VNC server behind websockify: binary messages, with and without the old
subprotocol.

Usage: vnc_client.py ws://127.0.0.1:PORT
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect


async def main():
    passed = []
    for subprotocols in (None, ["binary"]):
        url = f"{sys.argv[1]}/websockify?token=screen"
        async with connect(url, subprotocols=subprotocols, max_size=None) as socket:
            greeting = b""
            while len(greeting) < 12:
                greeting += await socket.recv()
            assert greeting == b"RFB 003.008\n", greeting
            sent = bytes(range(256)) * 4096
            await socket.send(sent)
            echoed = b""
            while len(echoed) < len(sent):
                echoed += await socket.recv()
            assert echoed == sent
        passed.append(f"subprotocol {socket.subprotocol}")
    print(json.dumps({"passed": passed}))


asyncio.run(main())
