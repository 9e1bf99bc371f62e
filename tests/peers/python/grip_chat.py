"""A chat that is written for Pushpin with Django and django-grip, on a port of its own.

Usage: grip_chat.py CONTROL_URI ISSUER PUBLISH_KEY SIGNING_KEY PORT

The application holds no socket: each request has the events of one, and messages to a room are
published.
"""

import json
import os
import sys
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings

URI, ISSUER, KEY, SIGNING, PORT = sys.argv[1:]
proxy = {"control_uri": URI, "control_iss": ISSUER, "key": KEY, "verify_key": SIGNING}
settings.configure(
    SECRET_KEY="of-this-test",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django_grip.GripMiddleware"],
    GRIP_PROXIES=[proxy],
)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, HttpResponseForbidden, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django_grip import publish, websocket_only  # noqa: E402
from gripcontrol import WebSocketMessageFormat, websocket_control_message  # noqa: E402

log = []
lock = threading.Lock()
# Set when the requests that hang may go on.
released = threading.Event()


def tell(room, text):
    publish(room, WebSocketMessageFormat(text), blocking=True)


def note(request, ws):
    """What the application sees of a request."""
    seen = {
        "events": [one.type for one in ws.in_events],
        "contents": [(one.content or b"").hex() for one in ws.in_events],
        "id": ws.id,
        "meta": dict(sorted(ws.meta.items())),
        "signed": request.grip.signed,
        "path": request.get_full_path(),
        "cookie": request.headers.get("Cookie"),
        "forged": request.headers.get("X-Grip-Forged"),
        "replayed": request.headers.get("Content-Bytes-Replayed"),
        "query": request.GET.get("name"),
    }
    with lock:
        log.append(seen)


def control(ws, kind, **more):
    ws.send_control(websocket_control_message(kind, more))


def command(ws, room, text):
    """What one message of a client does; an answer of its own, if it has one."""
    name = ws.meta["name"]
    if isinstance(text, bytes):
        ws.send_binary(text[::-1])
    elif text.startswith("say "):
        tell(room, f"{name}: {text[4:]}")
    elif text == "whoami":
        ws.send(name)
    elif text == "count":
        ws.meta["count"] = str(int(ws.meta.get("count", "0")) + 1)
        ws.send(ws.meta["count"])
    elif text == "forget":
        del ws.meta["count"]
    elif text == "join":
        ws.subscribe("other-room")
        ws.send("joined")
    elif text == "leave":
        ws.unsubscribe(room)
        ws.send("left")
    elif text == "detach":
        ws.detach()
        ws.send("detached")
    elif text == "bye":
        ws.send("see you")
        ws.close(4001)
    elif text == "drop":
        ws.close()
    elif text == "keep":
        control(ws, "keep-alive", content="still here", timeout=1)
    elif text == "later":
        control(ws, "send-delayed", content="later", timeout=1)
    elif text == "hang":
        released.wait(60)
        ws.send("late")
    elif text == "fail":
        return HttpResponse("as asked for", status=500)
    elif text == "nonsense":
        return HttpResponse(b"TEXT 5\r\nhel", content_type="application/websocket-events")
    elif text == "plain":
        return HttpResponse(b"hello", content_type="text/plain")
    elif text == "crash":
        os._exit(1)
    else:
        ws.send(f"what is {text}?")
    return None


@websocket_only
def room(request, name):
    ws = request.wscontext
    note(request, ws)
    client = request.GET.get("name")
    if ws.is_opening():
        if client == "intruder":
            return HttpResponseForbidden("no")
        ws.accept()
        ws.subscribe(name)
        ws.meta["name"] = client
        ws.send(f"welcome {client}")
    while ws.can_recv():
        try:
            message = ws.recv()
        except OSError:
            break
        if message is None:
            ws.close(ws.close_code)
            break
        answer = command(ws, name, message)
        if answer is not None:
            return answer
    return None


def interval(request):
    """Wants to be asked every twenty seconds, and accepts five bytes at a time."""
    ws = request.wscontext
    note(request, ws)
    kind = "application/websocket-events"
    if ws.is_opening():
        answer = HttpResponse(b"OPEN\r\n", content_type=kind)
        answer["Set-Cookie"] = "seen=yes"
    else:
        size = sum(len(one.content or b"") for one in ws.in_events)
        # The library writes empty answers anew.
        answer = HttpResponse(b"PONG\r\n" if size else b"TEXT 4\r\ntick\r\n", content_type=kind)
        answer["Content-Bytes-Accepted"] = str(min(size, 5))
    answer["Keep-Alive-Interval"] = "20"
    return answer


def show(_request):
    with lock:
        return JsonResponse(log, safe=False)


def release(_request):
    released.set()
    return JsonResponse([], safe=False)


urlpatterns = [
    path("room/<str:name>", room),
    path("interval", interval),
    path("log", show),
    path("release", release),
]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    def log_message(self, *_args):
        pass


server = make_server("127.0.0.1", int(PORT), get_wsgi_application(), Server, Handler)
print(json.dumps({"port": server.server_port}), flush=True)
server.serve_forever()
