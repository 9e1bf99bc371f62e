"""A wss client on Python's `ssl` or on `openssl s_client`, driven by lines; see ../README.md.

Usage: wss.py wss://127.0.0.1:PORT/path ca.pem [1.2|1.3] [cipher suite] [openssl]
"""

import base64
import json
import os
import random
import socket
import ssl
import subprocess
import sys
from urllib.parse import urlsplit

PATIENCE = 60
SIZES = [0, 1, 17, 125, 126, 127, 1000, 16383, 16384, 16385, 65535, 65536, 300_000, 1 << 20]
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class OwnTls:
    """Python's `ssl` in memory, so that the ciphertext can be cut anywhere."""

    def __init__(self, host, port, ca, version, cipher):
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = context.maximum_version = VERSIONS[version]
        if cipher and version == "1.2":
            context.set_ciphers(cipher)
        self.socket = socket.create_connection((host, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        self.random = random.Random(7)
        self.step(self.tls.do_handshake)
        self.negotiated = (self.tls.version(), self.tls.cipher()[0])

    def step(self, call, *arguments):
        """Calls until TLS needs no more bytes."""
        while True:
            try:
                done = call(*arguments)
                self.flush()
                return done
            except ssl.SSLWantReadError:
                self.flush()
                ciphertext = self.socket.recv(self.random.choice([1, 5, 100, 16_384, 262_144]))
                self.incoming.write(ciphertext) if ciphertext else self.incoming.write_eof()

    def flush(self):
        """Sends what is sealed, in segments of any size."""
        sealed = self.outgoing.read()
        at = 0
        while at < len(sealed):
            size = self.random.choice([1, 3, 64, 5_000, 70_000, 1 << 20])
            self.socket.sendall(sealed[at : at + size])
            at += size

    def write(self, data):
        view = memoryview(data)
        while view:
            record = view[: self.random.choice([1, 70, 4_000, 16_384, 16_384, 16_384])]
            view = view[len(record) :]
            self.step(self.tls.write, record)

    def read(self):
        """Some plaintext, or nothing after close_notify. A ragged end raises SSLEOFError."""
        return self.step(self.tls.read, 65_536)

    def end(self):
        """Answers the peer's close_notify; whether its connection ends after that."""
        # Returns at once, since the peer's close_notify has been read.
        self.tls.unwrap()
        try:
            self.flush()
            return self.socket.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            # The peer has closed both directions, after its close_notify.
            return True


class OpenSsl:
    """`openssl s_client`, whose commands update the keys."""

    def __init__(self, host, port, ca, version, cipher):
        command = ["openssl", "s_client", "-brief", "-verify_return_error", "-CAfile", ca]
        command += ["-verify_ip", host, "-connect", f"{host}:{port}", f"-tls{version.replace('.', '_')}"]
        if cipher:
            command += ["-ciphersuites" if version == "1.3" else "-cipher", cipher]
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        said = {}
        while "Verification" not in said:
            line = self.child.stderr.readline().decode()
            if not line:
                raise AssertionError(f"s_client ended with {self.child.wait()}")
            name, _, value = line.strip().partition(": ")
            said[name] = value
        if said["Verification"] != "OK":
            raise AssertionError(f"verification: {said['Verification']}")
        self.negotiated = (said["Protocol version"], said["Ciphersuite"])

    def write(self, data):
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def read(self):
        return os.read(self.child.stdout.fileno(), 65_536)

    def command(self, letter):
        """`k` or `K`, which must be the first byte that s_client reads at once."""
        self.write(letter)
        line = b""
        while b"KEYUPDATE" not in line:
            line = self.child.stderr.readline()
            if not line:
                raise AssertionError("s_client updated no keys")

    def end(self):
        """s_client ends with 0 after close_notify, and with 1 after a ragged end."""
        code = self.child.wait(PATIENCE)
        if code != 0:
            raise AssertionError(f"s_client ended with {code}: {self.child.stderr.read()}")
        return True


class Session:
    """RFC 6455 over one of them."""

    def __init__(self, transport, host, path):
        self.transport, self.read_ahead = transport, bytearray()
        self.random = random.Random(11)
        self.sent = 0
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        transport.write(head.encode())
        while b"\r\n\r\n" not in self.read_ahead:
            self.more()
        head, _, rest = bytes(self.read_ahead).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(head.decode())
        self.read_ahead = bytearray(rest)

    def more(self):
        data = self.transport.read()
        if not data:
            raise AssertionError("the connection ended early")
        self.read_ahead += data

    def take(self, count):
        while len(self.read_ahead) < count:
            self.more()
        taken = bytes(self.read_ahead[:count])
        del self.read_ahead[:count]
        return taken

    def frame(self, first, payload):
        # Masked with zeros: s_client takes no letter at the start of a frame for a command.
        length = len(payload)
        if length < 126:
            head = bytes([first, 0x80 | length])
        elif length < 1 << 16:
            head = bytes([first, 0x80 | 126]) + length.to_bytes(2, "big")
        else:
            head = bytes([first, 0x80 | 127]) + length.to_bytes(8, "big")
        self.transport.write(head + bytes(4) + payload)

    def send(self, opcode, payload):
        """One message, in one frame or several."""
        at = 0
        while self.random.random() < 0.5 and at < len(payload):
            end = self.random.randint(at, len(payload))
            self.frame(opcode, payload[at:end])
            opcode, at = 0, end
        self.frame(0x80 | opcode, payload[at:])

    def receive(self):
        """Opcode and payload of the next message or close frame."""
        kind, whole = 0, b""
        while True:
            first, second = self.take(2)
            length = second & 127
            if length > 125:
                length = int.from_bytes(self.take(2 if length == 126 else 8), "big")
            payload = self.take(length)
            opcode = first & 15
            if opcode == 9:
                self.frame(0x8A, payload)
            elif opcode == 8:
                return 8, payload
            elif opcode != 10:
                kind, whole = opcode or kind, whole + payload
                if first & 128:
                    return kind, whole

    def message(self, number):
        size = SIZES[number % len(SIZES)]
        text = f"{number}:" + "0123456789" * (size // 10 + 1)
        return 1 + number % 2, text[:size].encode()

    def talk(self, count):
        """Numbered messages; small ones go out several at a time."""
        expected = []
        for _ in range(count):
            message = self.message(self.sent)
            self.sent += 1
            self.send(*message)
            expected.append(message)
            if len(message[1]) > 1000 or len(expected) == 5:
                self.expect(expected)
        self.expect(expected)
        return {"talked": self.sent}

    def expect(self, messages):
        for wanted in messages:
            came = self.receive()
            if came != wanted:
                summary = [(kind, len(data), data[:20]) for kind, data in (came, wanted)]
                raise AssertionError(f"{summary[0]} instead of {summary[1]}")
        messages.clear()

    def close(self):
        """Closes; the answer is the same close frame, close_notify and the end."""
        return self.ended(4001, "bye")

    def restart(self):
        """Makes the backend close."""
        self.send(1, b"!restart")
        opcode, payload = self.receive()
        if opcode != 8:
            raise AssertionError(f"{opcode} instead of a close frame")
        self.frame(0x88, payload)
        return self.end(payload)

    def ended(self, code, reason):
        self.frame(0x88, code.to_bytes(2, "big") + reason.encode())
        opcode, payload = self.receive()
        if opcode != 8:
            raise AssertionError(f"{opcode} instead of a close frame")
        return self.end(payload)

    def end(self, payload):
        rest = self.transport.read()
        if self.read_ahead or rest:
            raise AssertionError("data behind the close frame")
        code = int.from_bytes(payload[:2], "big")
        return {"ended": [code, payload[2:].decode()], "clean": self.transport.end()}


def main():
    words = sys.argv[1:]
    over_openssl = words[-1] == "openssl"
    words = words[:-1] if over_openssl else words
    url, ca = words[:2]
    version = words[2] if len(words) > 2 else "1.3"
    cipher = words[3] if len(words) > 3 else None
    parts = urlsplit(url)
    kind = OpenSsl if over_openssl else OwnTls
    transport = kind(parts.hostname, parts.port, ca, version, cipher)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    session = Session(transport, parts.netloc, path)
    print(json.dumps({"opened": transport.negotiated}), flush=True)
    for line in sys.stdin:
        word, *arguments = line.split()
        if word == "talk":
            said = session.talk(int(arguments[0]))
        elif word == "update":
            transport.command(b"K" if arguments == ["both"] else b"k")
            said = {"updated": True}
        else:
            said = {"close": session.close, "restart": session.restart}[word]()
        print(json.dumps(said), flush=True)


main()
