"""A chat that is written for AWS API Gateway's WebSocket APIs and Lambda, on a port of its own.

Usage: lambda_chat.py MANAGEMENT_URL KEY_ID SECRET

`handler` is what AWS would call; the rest is Lambda's Invoke API around it. Every event has to have
the shape that AWS publishes for it (aws-lambda-powertools), or the function fails.
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import boto3
from aws_lambda_powertools.utilities.parser.models.apigw_websocket import (
    APIGatewayWebSocketConnectEventModel,
    APIGatewayWebSocketDisconnectEventModel,
    APIGatewayWebSocketMessageEventModel,
)
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

URL, NAME, TOKEN = sys.argv[1:]

MODELS = {
    "CONNECT": APIGatewayWebSocketConnectEventModel,
    "MESSAGE": APIGatewayWebSocketMessageEventModel,
    "DISCONNECT": APIGatewayWebSocketDisconnectEventModel,
}

# Who is in the room, by connection, and what has happened: an application has a database for that.
names = {}
log = []
lock = threading.Lock()
# Set when the functions that hang may go on.
released = threading.Event()


def management():
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=URL,
        region_name="eu-central-1",
        aws_access_key_id=NAME,
        aws_secret_access_key=TOKEN,
        config=Config(retries={"max_attempts": 1}),
    )


def tell_all(message, but=None):
    client = management()
    with lock:
        connections = [one for one in names if one != but]
    for connection in connections:
        try:
            client.post_to_connection(ConnectionId=connection, Data=json.dumps(message).encode())
        except client.exceptions.GoneException:
            with lock:
                names.pop(connection, None)


def connect(event, connection):
    query = event.get("queryStringParameters") or {}
    name = query.get("name")
    if name is None:
        return {"statusCode": 400}
    if name == "intruder":
        return {"statusCode": 403, "body": "no"}
    offered = event["headers"].get("Sec-WebSocket-Protocol", "")
    with lock:
        names[connection] = name
    answer = {"statusCode": 200, "headers": {"Sessile-Groups": "room-a"}}
    if name == "stubborn" or "chat.v2" in [one.strip() for one in offered.split(",")]:
        answer["headers"]["Sec-WebSocket-Protocol"] = "chat.v2"
    return answer


def disconnect(event, connection):
    with lock:
        name = names.pop(connection, None)
    code = event["requestContext"]["disconnectStatusCode"]
    tell_all({"left": name, "code": code})
    return {"statusCode": 200}


def message(event, connection):
    key = event["requestContext"]["routeKey"]
    body = event["body"]
    if key == "send":
        tell_all({"from": names[connection], "text": json.loads(body)["text"]})
        return {"statusCode": 200, "body": "Data sent."}
    if key == "whoami":
        context = event["requestContext"]
        who = {"name": names[connection], "authorizer": context.get("authorizer")}
        return {"statusCode": 200, "body": json.dumps(who)}
    if key == "hang":
        released.wait(60)
        return {"statusCode": 200, "body": "late"}
    if key == "fail":
        raise RuntimeError("as asked for")
    if key == "nonsense":
        return {"statusCode": "two hundred"}
    if key == "huge":
        return {"statusCode": 200, "body": "x" * (2 << 20)}
    if event["isBase64Encoded"]:
        turned = base64.b64decode(body)[::-1]
        return {"statusCode": 200, "body": base64.b64encode(turned).decode(), "isBase64Encoded": True}
    return {"statusCode": 200, "body": f"what is {body}?"}


def handler(event, _context):
    context = event["requestContext"]
    MODELS[context["eventType"]].model_validate(event)
    with lock:
        log.append({**context, "has": sorted(event)})
    by_key = {"$connect": connect, "$disconnect": disconnect}
    return by_key.get(context["routeKey"], message)(event, context["connectionId"])


def is_signed(request, body):
    """Whether botocore signs the same request so."""
    given = request.headers.get("Authorization", "")
    url = f"http://{request.headers['Host']}{request.path}"
    headers = {"Host": request.headers["Host"], "X-Amz-Date": request.headers["X-Amz-Date"]}
    again = AWSRequest(method="POST", url=url, data=body, headers=headers)
    again.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", "secret-of-the-function"), "lambda", "eu-central-1")
    # Its own step for step: `add_auth` takes the present time.
    to_sign = auth.string_to_sign(again, auth.canonical_request(again))
    return given.endswith("Signature=" + auth.signature(to_sign, again))


class Invoke(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, **fields):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **fields}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/release":
            released.set()
        with lock:
            self.answer(200, json.dumps(log).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path).path
        if path == "/crash":
            self.close_connection = True
            self.connection.close()
            return
        if path == "/status/500":
            self.answer(500, b"no")
            return
        if path == "/plain":
            self.answer(200, b"plain words", Content_Type="text/plain")
            return
        if path.startswith("/2015-03-31/") and not is_signed(self, body):
            self.answer(403, b'{"message": "The request signature we calculated does not match"}')
            return
        try:
            answer = handler(json.loads(body), None)
        except Exception as error:  # Lambda answers so, whatever it is.
            failure = {"errorType": type(error).__name__, "errorMessage": str(error)}
            print(failure, file=sys.stderr, flush=True)
            self.answer(200, json.dumps(failure).encode(), X_Amz_Function_Error="Unhandled")
            return
        self.answer(200, json.dumps(answer).encode(), Content_Type="application/json")


server = ThreadingHTTPServer(("127.0.0.1", 0), Invoke)
server.daemon_threads = True
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
