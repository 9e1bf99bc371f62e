"""An echo backend on `websockets`: pip install websockets in a venv, then
python examples/python/server.py 9101"""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9101
    async with serve(echo, "127.0.0.1", port) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"echo on 127.0.0.1:{port}", flush=True)
        await server.serve_forever()


asyncio.run(main())
