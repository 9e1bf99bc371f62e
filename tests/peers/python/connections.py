"""AWS' own client of API Gateway's management API against the publishing API.

Usage: connections.py http://127.0.0.1:PORT/stage NAME TOKEN LIVE_SESSION GONE_SESSION
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL, NAME, TOKEN, LIVE, GONE = sys.argv[1:]


def client(name=NAME, token=TOKEN):
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=URL,
        region_name="eu-central-1",
        aws_access_key_id=name,
        aws_secret_access_key=token,
        config=Config(retries={"max_attempts": 1}),
    )


def fails(kind, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if found != (kind, status):
            raise AssertionError(f"{found} instead of {(kind, status)}") from error
        return
    raise AssertionError(f"no {kind}")


def post():
    aws = client()
    aws.post_to_connection(ConnectionId=LIVE, Data=b"from aws")
    aws.post_to_connection(ConnectionId=LIVE, Data=b"\x00\xff")


def get():
    found = client().get_connection(ConnectionId=LIVE)
    if found["Identity"]["SourceIp"] != "127.0.0.1" or found["LastActiveAt"] < found["ConnectedAt"]:
        raise AssertionError(found)


def gone():
    aws = client()
    for call in (aws.get_connection, aws.delete_connection):
        fails("GoneException", 410, call, ConnectionId=GONE)
    fails("GoneException", 410, aws.post_to_connection, ConnectionId=GONE, Data=b"x")
    fails("GoneException", 410, aws.get_connection, ConnectionId="no-id=")


def too_large():
    fails(
        "PayloadTooLargeException",
        413,
        client().post_to_connection,
        ConnectionId=LIVE,
        Data=b"x" * (128 * 1024 + 1),
    )


def forbidden():
    for name, token in ((NAME, "another"), ("nobody", TOKEN)):
        call = client(name, token).get_connection
        fails("ForbiddenException", 403, call, ConnectionId=LIVE)


def delete():
    client().delete_connection(ConnectionId=LIVE)


passed, failed = [], {}
for case in (post, get, gone, too_large, forbidden, delete):
    try:
        case()
        passed.append(case.__name__)
    except Exception as error:  # any fault is a failed case
        failed[case.__name__] = repr(error)
print(json.dumps({"passed": passed, "failed": failed}))
sys.exit(bool(failed))
