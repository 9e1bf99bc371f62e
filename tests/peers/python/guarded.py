"""A guarded page and an open rest on Flask; see ../README.md."""

import json

from flask import Flask
from werkzeug.serving import make_server

app = Flask("guarded")


@app.route("/admin", defaults={"rest": ""})
@app.route("/admin/<path:rest>")
@app.route("/exact", defaults={"rest": ""})
@app.route("/café/<path:rest>")
def guarded(rest):
    return "GUARDED"


@app.route("/", defaults={"rest": ""})
@app.route("/<path:rest>")
def rest(rest):
    return "open"


server = make_server("127.0.0.1", 0, app, threaded=True)
print(json.dumps({"port": server.port}), flush=True)
server.serve_forever()
