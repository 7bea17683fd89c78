"""A paho-mqtt client against the gateway: publishes, subscribes, retains, leaves a will, takes over.

Usage: paho_client.py PORT VERSION. Prints what it did in one line; any surprise is an exception.
"""

import queue
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, VERSION = int(sys.argv[1]), sys.argv[2]
V5 = VERSION == "5"
PROTOCOL = mqtt.MQTTv5 if V5 else mqtt.MQTTv311
MESSAGES = 500


def client(name, **options):
    """A connected client with its received messages in `.got`."""
    c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=PROTOCOL)
    c.got, c.granted, c.acks, c.up = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()
    c.downs = 0
    c.on_connect = lambda c, u, flags, code, props: c.up.put((code, flags))
    c.on_message = lambda c, u, message: c.got.put(message)
    c.on_subscribe = lambda c, u, mid, codes, props: c.granted.put(codes)
    c.on_publish = lambda c, u, mid, code, props: c.acks.put((code, props))

    def down(c, *rest):
        c.downs += 1

    c.on_disconnect = down
    if "will" in options:
        c.will_set(*options["will"])
    c.connect("127.0.0.1", PORT, keepalive=30)
    c.loop_start()
    code, flags = c.up.get(timeout=10)
    assert not code.is_failure, code
    return c


def subscribe(c, filter, qos):
    c.subscribe(filter, qos)
    codes = c.granted.get(timeout=10)
    assert not any(code.is_failure for code in codes), codes


reader = client(f"paho-reader-{VERSION}")
subscribe(reader, f"paho/{VERSION}/#", 1)
writer = client(f"paho-writer-{VERSION}", will=(f"paho/{VERSION}/will", "gone", 1, False))

properties = None
if V5:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("unit", "°C"), ("unit", "twice")]
    properties.ContentType = "text/plain"
infos = [
    writer.publish(f"paho/{VERSION}/{n % 5}", f"message {n}", qos=1, properties=properties)
    for n in range(MESSAGES)
]
for info in infos:
    info.wait_for_publish(timeout=30)
got = [reader.got.get(timeout=10) for _ in range(MESSAGES)]
assert [m.payload.decode() for m in got] == [f"message {n}" for n in range(MESSAGES)]
if V5:
    assert all(m.properties.UserProperty == properties.UserProperty for m in got)
    assert all(m.properties.ContentType == "text/plain" for m in got)
    code, ack = writer.acks.get(timeout=10)
    assert dict(ack.UserProperty)["edge-ack"] == "disk", ack
else:
    writer.publish(f"paho/{VERSION}/two", "at QoS 2", qos=2).wait_for_publish(timeout=10)
    assert reader.got.get(timeout=10).payload == b"at QoS 2"

writer.publish(f"paho/{VERSION}/kept", "kept", qos=1, retain=True).wait_for_publish(timeout=10)
assert not reader.got.get(timeout=10).retain
late = client(f"paho-late-{VERSION}")
subscribe(late, f"paho/{VERSION}/kept", 1)
kept = late.got.get(timeout=10)
assert kept.retain and kept.payload == b"kept"

# The same name again: the first one is taken over, and its will is sent.
writer.reconnect_delay_set(min_delay=60, max_delay=60)
again = client(f"paho-writer-{VERSION}")
assert reader.got.get(timeout=10).payload == b"gone"
time.sleep(0.5)
assert reader.downs == 0 and late.downs == 0 and again.downs == 0
for c in (reader, late, again, writer):
    c.disconnect()
    c.loop_stop()
print(f"{MESSAGES} messages in order, retained, will, take-over")
