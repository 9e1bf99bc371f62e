"""A chat as functions: three kinds of events come in by HTTP, and nothing here knows a socket.

Usage: chat.py PORT [URL of the publishing API]
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PORT = int(sys.argv[1])
PUBLISH = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:9901"

names = {}  # by connection; a chat of several processes keeps them in a database


def post(connection, message):
    """Sends to one client. One that is gone has its event `$disconnect` on its way."""
    request = Request(
        f"{PUBLISH}/@connections/{connection}",
        data=json.dumps(message).encode(),
        headers={"Authorization": "Bearer token-of-the-chat"},
    )
    try:
        urlopen(request).close()
    except HTTPError as error:
        if error.code != 410:
            raise


def post_to_all(message):
    for connection in list(names):
        post(connection, message)


def handle(event):
    context = event["requestContext"]
    key, me = context["routeKey"], context["connectionId"]
    if key == "$connect":
        names[me] = (event.get("queryStringParameters") or {}).get("name", "somebody")
    elif key == "$disconnect":
        post_to_all({"left": names.pop(me, None)})
    elif key == "send":
        post_to_all({"from": names[me], "text": json.loads(event["body"])["text"]})
    elif key == "name":
        names[me] = json.loads(event["body"])["name"]
        return {"statusCode": 200, "body": json.dumps({"name": names[me]})}
    else:
        post(me, {"error": 'send {"action": "send", "text": "..."}'})
    return {"statusCode": 200}


class Function(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(handle(event)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Function)
print(f"chat: functions at 127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
