"""Runs cases of the Autobahn suite against a WebSocket echo server and prints the results.

Usage: fuzz.py ws://127.0.0.1:PORT CASES SIDE_BY_SIDE     with a list such as 1.*,2.*,7.13.1

The result is a JSON object on one line: for each case `[behavior, behaviorClose, remoteCloseCode]`,
as the suite judges them. This takes the place of the suite's own `wstest -m fuzzingclient`, which
runs on Python 2 alone; cases run side by side here, since most of them wait.
"""

import json
import sys
from collections import Counter

import txaio

txaio.use_twisted()

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from autobahntestsuite.case import CaseBasename, CaseCategories, Cases, CaseSetname, CaseSubCategories
from autobahntestsuite.caseset import CaseSet
from twisted.internet import reactor

SUITE = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)


def to_bytes(text):
    """The bytes that a string of the suite stands for; see port.py."""
    return text.encode("latin-1") if isinstance(text, str) else text


class Fuzzer(WebSocketClientProtocol):
    """What the cases know as `self.p`, as the suite's `FuzzingProtocol` has it."""

    def connectionMade(self):
        self.connectionWasOpen = False
        self.rxFrameStats, self.txFrameStats = Counter(), Counter()
        self.case = self.factory.case_class(self)
        super().connectionMade()

    def connectionLost(self, reason):
        super().connectionLost(reason)
        try:
            self.case.onConnectionLost(self.failedByMe)
        finally:
            self.factory.done(self.case, self.remoteCloseCode)

    # Frames by opcode, which a case or two look at.

    def logRxFrame(self, frame, _payload):
        self.rxFrameStats[frame.opcode] += 1

    def logTxFrame(self, frame, *_details):
        self.txFrameStats[frame.opcode] += 1

    # What the library tells the case. Compressed cases compare bytes, all others strings.

    def onOpen(self):
        self.connectionWasOpen = True
        self.case.onOpen()

    def heard(self, payload):
        return payload if self.factory.wants_bytes else payload.decode("latin-1")

    def onMessage(self, payload, is_binary):
        self.case.onMessage(self.heard(payload), is_binary)

    def onPing(self, payload):
        self.case.onPing(self.heard(payload))

    def onPong(self, payload):
        self.case.onPong(self.heard(payload))

    def onClose(self, was_clean, code, reason):
        self.case.onClose(was_clean, code, reason)

    # What the case tells the library.

    def sendFrame(self, opcode, payload=b"", payload_len=None, **options):
        payload = to_bytes(payload)
        if payload_len is not None:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        super().sendFrame(opcode, payload, **options)

    def sendMessage(self, payload, isBinary=False, **options):
        super().sendMessage(to_bytes(payload), isBinary, **options)

    def sendMessageFrame(self, payload, sync=False):
        super().sendMessageFrame(to_bytes(payload), sync)

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(to_bytes(payload), sync)

    def sendPing(self, payload=None):
        super().sendPing(to_bytes(payload))

    def sendPong(self, payload=None):
        super().sendPong(to_bytes(payload))

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, to_bytes(reasonUtf8), isReply)

    # Timers that end with the connection.

    def later(self, delay, action):
        def act():
            if self.state != self.STATE_CLOSED:
                action()

        reactor.callLater(delay, act)

    def continueLater(self, delay, action, tag=None):
        self.later(delay, action)

    def killAfter(self, delay):
        self.later(delay, self.failConnection)

    def closeAfter(self, delay):
        self.later(delay, self.sendClose)

    def enableWirelog(self, _enable):
        pass


class Run(WebSocketClientFactory):
    """One case on one connection."""

    protocol = Fuzzer

    def __init__(self, url, case_id, finished):
        super().__init__(url)
        self.setProtocolOptions(failByDrop=False)
        self.noisy = False
        self.logFrames = True
        self.case_id = case_id
        self.case_class = SUITE.CasesById[case_id]
        self.wants_bytes = case_id.split(".")[0] in ("12", "13")
        self.finished = finished

    def done(self, case, code):
        self.finished(self.case_id, [case.behavior, case.behaviorClose, code])

    def clientConnectionFailed(self, _connector, reason):
        self.finished(self.case_id, ["UNREACHABLE", reason.getErrorMessage(), None])


def main(url, cases, side_by_side):
    waiting = SUITE.parseSpecCases({"cases": cases.split(",")})
    results, running = {}, set()

    def begin():
        while waiting and len(running) < int(side_by_side):
            case_id = waiting.pop(0)
            running.add(case_id)
            connectWS(Run(url, case_id, finished))
        if not running:
            reactor.stop()

    def finished(case_id, result):
        running.discard(case_id)
        results[case_id] = result
        reactor.callLater(0, begin)

    reactor.callWhenRunning(begin)
    reactor.run()
    print(json.dumps(results))


main(*sys.argv[1:])
