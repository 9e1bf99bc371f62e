"""Echo server on tlslite-ng that updates its keys after every third message; see ../README.md.

Usage: updating_server.py server.crt server.key
"""

import base64
import hashlib
import json
import socket
import sys
import threading

from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tlslite.constants import KeyUpdateMessageType
from tlslite.errors import TLSAbruptCloseError

chain, settings = X509CertChain(), HandshakeSettings()
with open(sys.argv[1]) as file:
    chain.parsePemList(file.read())
with open(sys.argv[2]) as file:
    key = parsePEMKey(file.read(), private=True)
KINDS = [KeyUpdateMessageType.update_not_requested, KeyUpdateMessageType.update_requested]
settings.minVersion = settings.maxVersion = (3, 4)


def take(tls, count):
    return tls.read(min=count, max=count)


def message(tls):
    """First byte and payload of a frame; this server's clients write short messages in one frame."""
    first, second = take(tls, 2)
    length = second & 127
    if length > 125:
        length = int.from_bytes(take(tls, 2 if length == 126 else 8), "big")
    mask, payload = take(tls, 4), take(tls, length)
    return first, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def frame(first, payload):
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 1 << 16:
        return bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload
    return bytes([first, 127]) + len(payload).to_bytes(8, "big") + payload


def update(tls, kind):
    for _ in tls.send_keyupdate_request(kind):
        pass


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = TLSConnection(connection)
    tls.handshakeServer(certChain=chain, privateKey=key, settings=settings, alpn=[b"http/1.1"])
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += take(tls, 1)
    lines = [line.partition(b": ") for line in head.split(b"\r\n")]
    keys = [value for name, _, value in lines if name.lower() == b"sec-websocket-key"]
    if not keys:
        tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        tls.close()
        return
    digest = hashlib.sha1(keys[0] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    accept = base64.b64encode(digest)
    tls.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    count = 0
    while True:
        first, payload = message(tls)
        if payload == b"!restart":
            tls.write(frame(0x88, (1012).to_bytes(2, "big") + b"restarting"))
            message(tls)
            break
        count += first & 128 and first & 15 < 8
        if count % 3 == 1:
            # Both ways in turn: the gateway answers every second one with an update of its own.
            update(tls, KINDS[count % 2])
        # Frames go back as they come: a message in pieces stays one.
        tls.write(frame(first, payload))
        if first & 15 == 8:
            break
    tls.close()


def session(connection):
    try:
        serve(connection)
    except (TLSAbruptCloseError, ConnectionError) as error:
        print(f"updating_server: {error!r}", file=sys.stderr)


listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
while True:
    threading.Thread(target=session, args=(listener.accept()[0],), daemon=True).start()
