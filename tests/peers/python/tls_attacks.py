"""What a TLS client may do wrong after the handshake, or right and rarely, on tlslite-ng; see ../README.md.

Usage: tls_attacks.py PORT
Every case has a connection of its own, and ends with a request that is answered or not.
"""

import json
import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, ContentType, HandshakeType
from tlslite.errors import TLSAbruptCloseError, TLSError
from tlslite.messages import Message

PORT = int(sys.argv[1])
REQUEST = b"GET /status/200 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ANSWER = b"\r\n\r\nas asked"
# Version, random, no session, one cipher suite, no compression.
CLIENT_HELLO = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\xc0\x2b" + b"\x01\0"
TLS_1_3 = ["aes128gcm", "aes256gcm", "chacha20-poly1305"]
# Plaintext of a record, and what protection may add to it in each version.
PLAINTEXT_MAX, OVERHEAD_MAX = 1 << 14, {(3, 4): 256, (3, 3): 2048}
NOT_REQUESTED, REQUESTED = 0, 1


class Peer:
    """A connection after its handshake, whose every record the case decides."""

    def __init__(self, version, cipher):
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = version
        settings.cipherNames = [cipher]
        self.socket = socket.create_connection(("127.0.0.1", PORT), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.version, self.change, self.updates, self.warnings = version, None, 0, []
        self.tls = TLSConnection(self)
        self.tls.handshakeClientCert(settings=settings, alpn=[b"http/1.1"])
        # Records leave as they come, one by one.
        self.layer = self.tls._recordLayer
        self.tls.sock = self.layer._recordSocket.sock = self

    def send(self, data):
        """tlslite-ng's way out: a whole record, which a case may change."""
        change, self.change = self.change, None
        self.raw(change(bytearray(data)) if change else data)
        return len(data)

    def recv(self, size):
        return self.socket.recv(size)

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The gateway has ended the connection; why is read later.

    def record(self, kind, data, padding=0):
        """A protected record."""
        self.layer.padding_cb = (lambda *_: bytearray(padding)) if padding else None
        for _ in self.layer.sendRecord(Message(kind, bytearray(data))):
            pass
        self.layer.padding_cb = None

    def data(self, data=REQUEST, **options):
        self.record(ContentType.application_data, data, **options)

    def handshake(self, data, **options):
        self.record(ContentType.handshake, data, **options)

    def alert(self, level, description):
        self.record(ContentType.alert, bytes([level, description]))

    def plain(self, kind, data):
        """A record without protection."""
        self.raw(bytes([kind, 3, 3]) + len(data).to_bytes(2, "big") + data)

    def rekey(self):
        """Goes on with the next sending key."""
        session = self.tls.session
        secrets = session.cl_app_secret, session.sr_app_secret
        renewed = self.layer.calcTLS1_3KeyUpdate_reciever(session.cipherSuite, *secrets)
        session.cl_app_secret, session.sr_app_secret = renewed

    def update(self, kind=NOT_REQUESTED):
        self.handshake(key_update(kind))
        self.rekey()

    def outcome(self):
        """How the connection goes on: `answered`, an alert's name, `close_notify`, `end`, `silence`."""
        answer = b""
        try:
            while not answer.endswith(ANSWER):
                for result in self.layer.recvRecord():
                    if result not in (0, 1):
                        break
                header, parser = result
                body = bytes(parser.bytes)
                if header.type == ContentType.application_data:
                    answer += body
                elif header.type == ContentType.alert:
                    name = AlertDescription.toRepr(body[1])
                    if body[0] == 2 or name == "close_notify":
                        return name
                    self.warnings.append(name)
                elif body[0] == HandshakeType.key_update and self.version == (3, 4):
                    self.follow_update()
        except (TLSAbruptCloseError, ConnectionResetError):
            return "end"
        except TimeoutError:
            return "silence"
        except TLSError as error:
            return f"tlslite: {error!r}"
        return "answered"

    def follow_update(self):
        self.updates += 1
        session = self.tls.session
        secrets = session.cl_app_secret, session.sr_app_secret
        renewed = self.layer.calcTLS1_3KeyUpdate_sender(session.cipherSuite, *secrets)
        session.cl_app_secret, session.sr_app_secret = renewed


def key_update(kind=NOT_REQUESTED):
    return message(HandshakeType.key_update, bytes([kind]))


def message(kind, body, length=None):
    """A handshake message."""
    length = len(body) if length is None else length
    return bytes([kind]) + length.to_bytes(3, "big") + body


CASES = []


def case(*wanted, ciphers=TLS_1_3[:1], version=(3, 4), name=None):
    """Registers a case with the outcomes that are right."""

    def register(action):
        for cipher in ciphers:
            label = " ".join([name or action.__name__, "1.3" if version == (3, 4) else "1.2", cipher])
            CASES.append((label, version, cipher, action, wanted))
        return action

    return register


def both(*wanted, **options):
    """The same in both versions."""

    def register(action):
        case(*wanted, **options)(action)
        case(*wanted, version=(3, 3), **options)(action)
        return action

    return register


def times(count, send):
    def action(peer):
        for _ in range(count):
            send(peer)
        peer.data()

    return action


# What is right and rare.


@both("answered", ciphers=TLS_1_3)
def a_request(peer):
    peer.data()
    assert peer.outcome() == "answered"
    peer.data()


@case("answered", ciphers=TLS_1_3)
def keys_are_updated_in_both_directions(peer):
    for kind in [NOT_REQUESTED, REQUESTED, REQUESTED, NOT_REQUESTED]:
        before = peer.updates
        peer.update(kind)
        peer.data()
        assert peer.outcome() == "answered"
        assert peer.updates - before == kind, f"{peer.updates - before} updates answer {kind}"
    peer.data()


@case("answered")
def an_update_in_the_middle_of_a_request(peer):
    peer.data(REQUEST[:10])
    peer.update(REQUESTED)
    peer.data(REQUEST[10:])
    assert peer.outcome() == "answered" and peer.updates == 1
    peer.data()


@case("answered")
def an_update_in_pieces(peer):
    for byte in key_update():
        peer.handshake([byte])
    peer.rekey()
    peer.data()


@case("answered")
def an_update_with_padding(peer):
    peer.handshake(key_update(), padding=1000)
    peer.rekey()
    peer.data()


@case("answered")
def an_update_in_segments_of_one_byte(peer):
    def trickle(record):
        for byte in record[:-1]:
            peer.raw(bytes([byte]))
        return record[-1:]

    peer.change = trickle
    peer.update()
    peer.change = trickle
    peer.data()


case("answered", name="thirty updates")(times(30, lambda peer: peer.update()))
case("answered", name="thirty requested updates")(times(30, lambda peer: peer.update(REQUESTED)))


@case("answered", ciphers=TLS_1_3)
def padding(peer):
    for size in [1, 2, 255, 256, PLAINTEXT_MAX - len(REQUEST)]:
        peer.data(padding=size)
        assert peer.outcome() == "answered", size
    peer.data(padding=1)


@both("answered", ciphers=TLS_1_3)
def empty_records_before_and_inside_a_request(peer):
    for _ in range(10):
        peer.data(b"")
    peer.data(REQUEST[:10])
    for _ in range(10):
        peer.data(b"")
    peer.data(REQUEST[10:])


@case("answered")
def empty_records_with_padding(peer):
    for size in [1, 500, PLAINTEXT_MAX]:
        peer.data(b"", padding=size)
    peer.data()


@both("answered")
def a_request_in_records_of_one_byte(peer):
    for byte in REQUEST:
        peer.data([byte])


@both("close_notify")
def close_notify(peer):
    peer.alert(1, AlertDescription.close_notify)


@both("close_notify")
def nothing_counts_after_close_notify(peer):
    peer.alert(1, AlertDescription.close_notify)
    peer.data()
    peer.raw(b"anything")


@both("end", "close_notify")
def a_fatal_alert_ends_it(peer):
    peer.alert(2, AlertDescription.internal_error)


@both("answered")
def a_warning(peer):
    peer.alert(1, AlertDescription.user_canceled)
    peer.data()


@case("answered", version=(3, 3), ciphers=["aes128gcm", "chacha20-poly1305"])
def one_renegotiation(peer):
    peer.handshake(message(HandshakeType.client_hello, CLIENT_HELLO))
    peer.data()
    assert peer.outcome() == "answered"
    assert peer.warnings == ["no_renegotiation"], peer.warnings
    peer.data()


# What is wrong.

case("unexpected_message", name="forty updates")(times(40, lambda peer: peer.update()))
case("unexpected_message", name="forty requested updates")(times(40, lambda peer: peer.update(REQUESTED)))
both("unexpected_message", name="forty empty records")(times(40, lambda peer: peer.data(b"")))
both("unexpected_message", "decode_error", name="six warnings")(
    times(6, lambda peer: peer.alert(1, AlertDescription.user_canceled))
)


@case("no_renegotiation", "unexpected_message", "handshake_failure", version=(3, 3))
def a_second_renegotiation(peer):
    for _ in range(2):
        peer.handshake(message(HandshakeType.client_hello, CLIENT_HELLO))
    peer.data()


for value in [2, 3, 255]:

    @case("illegal_parameter", name=f"update {value}")
    def an_unknown_kind_of_update(peer, value=value):
        peer.handshake(key_update(value))
        peer.data()


for body in [b"", b"\0\0", b"\0\0\0", bytes(1000)]:

    @case("decode_error", name=f"update of {len(body)} bytes")
    def an_update_of_another_length(peer, body=body):
        peer.handshake(message(HandshakeType.key_update, body))
        peer.data()


@case("bad_record_mac", ciphers=TLS_1_3)
def the_old_key_after_an_update(peer):
    peer.handshake(key_update())
    peer.data()


@case("bad_record_mac")
def a_new_key_without_an_update(peer):
    peer.rekey()
    peer.data()


@case("unexpected_message")
def two_updates_in_one_record(peer):
    peer.handshake(key_update() + key_update())
    peer.rekey()
    peer.data()


@case("unexpected_message")
def an_update_and_the_beginning_of_another(peer):
    peer.handshake(key_update() + key_update()[:3])
    peer.rekey()
    peer.data()


@case("unexpected_message")
def data_between_the_pieces_of_an_update(peer):
    peer.handshake(key_update()[:3])
    peer.data()


@case("unexpected_message")
def an_alert_between_the_pieces_of_an_update(peer):
    peer.handshake(key_update()[:3])
    peer.alert(1, AlertDescription.user_canceled)
    peer.handshake(key_update()[3:])
    peer.rekey()
    peer.data()


@case("unexpected_message", "bad_record_mac")
def an_update_without_protection(peer):
    peer.plain(ContentType.handshake, key_update())
    peer.data()


for kind in [0, 1, 2, 4, 8, 11, 13, 15, 20, 99]:

    @both("unexpected_message", "decode_error", "no_renegotiation", name=f"handshake message {kind}")
    def another_handshake_message(peer, kind=kind):
        # In TLS 1.2 the first of these is answered with a warning.
        for _ in range(2 if kind == HandshakeType.client_hello else 1):
            peer.handshake(message(kind, CLIENT_HELLO))
        peer.data()


@both("unexpected_message", "decode_error", "handshake_failure")
def a_handshake_message_of_16_mebibytes(peer):
    start = message(HandshakeType.key_update, b"", length=(1 << 24) - 1)
    peer.handshake(start + bytes(PLAINTEXT_MAX - len(start)))
    peer.data()


@case("unexpected_message", "decode_error")
def an_empty_record_of_handshake(peer):
    peer.handshake(b"")
    peer.data()


@case("unexpected_message", ciphers=TLS_1_3)
def a_plaintext_of_zeros(peer):
    peer.record(0, bytes(16))
    peer.data()


@case("unexpected_message", "decode_error")
def an_empty_plaintext(peer):
    def seal(_):
        sealed = bytearray()
        header = bytes([ContentType.application_data, 3, 3, 0, 16])
        state = peer.layer._writeState
        number = peer.layer._getNonce(state, (state.seqnum - 1).to_bytes(8, "big"))
        sealed = state.encContext.seal(number, sealed, bytearray(header))
        return header + sealed

    peer.change = seal
    peer.data()
    peer.data()


@case("record_overflow")
def too_much_padding(peer):
    peer.data(padding=PLAINTEXT_MAX - len(REQUEST) + 1)
    peer.data()


@both("record_overflow")
def a_plaintext_of_one_byte_too_many(peer):
    peer.data(b"x" * (PLAINTEXT_MAX + 1))
    peer.data()


@both("record_overflow")
def a_header_of_a_record_that_is_too_long(peer):
    # Judged before the body is there, which never comes.
    length = PLAINTEXT_MAX + OVERHEAD_MAX[peer.version] + 1
    peer.raw(bytes([ContentType.application_data, 3, 3]) + length.to_bytes(2, "big"))


@both("unexpected_message", "bad_record_mac", "decode_error")
def ccs_after_the_handshake(peer):
    peer.plain(ContentType.change_cipher_spec, b"\x01")
    peer.data()


@both("unexpected_message", "decode_error")
def ccs_under_protection(peer):
    if peer.version == (3, 3):
        peer.record(ContentType.change_cipher_spec, b"\x01")
    else:
        # As the inner type; tlslite-ng would send it bare.
        peer.layer.padding_cb = None
        peer.record(0, b"\x01\x14" + bytes(1))
    peer.data()


for level, description in [(1, 0), (2, 0), (2, 80), (1, 90)]:

    @both("unexpected_message", "bad_record_mac", "decode_error", name=f"plain alert {level} {description}")
    def an_alert_without_protection(peer, level=level, description=description):
        peer.plain(ContentType.alert, bytes([level, description]))
        peer.data()


@both("unexpected_message", "bad_record_mac", "decode_error")
def data_without_protection(peer):
    peer.plain(ContentType.application_data, REQUEST)


for body in [b"", b"\x01", b"\x01\x00\x01"]:

    @both("decode_error", "unexpected_message", name=f"alert of {len(body)} bytes")
    def an_alert_of_another_length(peer, body=body):
        peer.record(ContentType.alert, body)
        peer.data()


for kind in [19, 24, 99, 255]:

    @case("unexpected_message", "decode_error", name=f"inner type {kind}")
    def an_unknown_inner_type(peer, kind=kind):
        peer.record(kind, REQUEST)
        peer.data()

    @both("unexpected_message", "decode_error", "bad_record_mac", name=f"outer type {kind}")
    def an_unknown_outer_type(peer, kind=kind):
        peer.plain(kind, REQUEST)
        peer.data()


@both("bad_record_mac")
def a_record_twice(peer):
    kept = bytearray()
    peer.change = lambda record: kept.extend(record) or record
    peer.data(REQUEST[:10])
    peer.raw(kept)
    peer.data(REQUEST[10:])


@both("bad_record_mac")
def two_records_in_the_wrong_order(peer):
    kept = bytearray()
    peer.change = lambda record: kept.extend(record) or b""
    peer.data(REQUEST[:10])
    peer.data(REQUEST[10:])
    peer.raw(kept)


@both("bad_record_mac")
def a_record_left_out(peer):
    peer.change = lambda record: b""
    peer.data(b"x")
    peer.data()


def changed(at, mask):
    def change(record):
        record[5:][at]  # It has to be there.
        record[5 + at if at >= 0 else at] ^= mask
        return record

    def action(peer):
        peer.change = change
        peer.data()
        peer.data()

    return action


for at in [0, 1, 7, 8, 9, 20, -17, -16, -15, -8, -2, -1]:
    for mask in [0x01, 0x80]:
        case("bad_record_mac", name=f"byte {at} xor {mask}")(changed(at, mask))
        case("bad_record_mac", version=(3, 3), name=f"byte {at} xor {mask}")(changed(at, mask))
for cipher in TLS_1_3[1:]:
    for at in [0, 8, -16, -1]:
        case("bad_record_mac", ciphers=[cipher], name=f"byte {at}")(changed(at, 0x10))
        case("bad_record_mac", ciphers=[cipher], version=(3, 3), name=f"byte {at}")(changed(at, 0x10))

for length in [0, 1, 8, 15, 16, 17, 23, 24]:

    @both("bad_record_mac", "decode_error", "unexpected_message", name=f"cut to {length}")
    def a_record_cut_short(peer, length=length):
        peer.change = lambda record: record[:3] + length.to_bytes(2, "big") + record[5 : 5 + length]
        peer.data()
        peer.data()


def run(version, cipher, action, wanted):
    peer = Peer(version, cipher)
    try:
        action(peer)
        outcome = peer.outcome()
        if outcome not in wanted:
            raise AssertionError(f"{outcome} instead of {' or '.join(wanted)}")
        if outcome != "answered":
            # Nothing follows the alert, and nobody was asked.
            assert peer.outcome() in ("end", "close_notify"), "more after the alert"
    finally:
        peer.socket.close()


def main():
    passed, failed = [], {}
    for name, *arguments in CASES:
        try:
            run(*arguments)
            passed.append(name)
        except Exception as error:  # every failure is reported, none ends the run
            failed[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"client": "tlslite", "failed": failed, "passed": passed}))


main()
