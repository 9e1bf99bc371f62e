"""Two MQTT clients over WebSockets by paho: one publishes, the other receives.

Usage: mqtt_client.py HOST PORT
"""

import json
import queue
import sys

import paho.mqtt.client as mqtt

HOST, PORT = sys.argv[1], int(sys.argv[2])
PATIENCE = 15


def connect(name, version):
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=name, transport="websockets", protocol=version
    )
    client.ws_set_options(path=f"/mqtt?client={name}")
    events = queue.Queue()
    client.on_connect = lambda *_: events.put("connected")
    client.on_subscribe = lambda *_: events.put("subscribed")
    client.on_message = lambda _client, _data, message: events.put(message.payload)
    client.connect(HOST, PORT, keepalive=30)
    client.loop_start()
    assert events.get(timeout=PATIENCE) == "connected"
    return client, events


passed = []
for version, name in ((mqtt.MQTTv311, "3.1.1"), (mqtt.MQTTv5, "5")):
    reader, received = connect(f"reader-{name}", version)
    writer, _ = connect(f"writer-{name}", version)
    reader.subscribe("rooms/lobby", qos=1)
    assert received.get(timeout=PATIENCE) == "subscribed"
    for payload in (b"hello", bytes(range(256)) * 1000):
        writer.publish("rooms/lobby", payload, qos=1).wait_for_publish(PATIENCE)
        assert received.get(timeout=PATIENCE) == payload
    for client in (reader, writer):
        client.disconnect()
        client.loop_stop()
    passed.append(name)
print(json.dumps({"passed": passed}))
