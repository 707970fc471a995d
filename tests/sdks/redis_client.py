"""What an application does with a cache, by the client that most of them use, over TLS, at the endpoint."""

import os
import sys
import threading

import redis

uri = os.environ["REDIS_URI"]
ca = os.environ["REDIS_CA"]
client = redis.Redis.from_url(uri, ssl_ca_certs=ca, decode_responses=True)
assert client.ping()
client.set("name", "Ann", ex=600)
assert client.get("name") == "Ann" and 0 < client.ttl("name") <= 600
client.hset("hash", mapping={"a": 1, "b": 2})
assert client.hgetall("hash") == {"a": "1", "b": "2"}
client.rpush("list", *range(1000))
assert client.llen("list") == 1000
client.xadd("stream", {"n": 1})
assert client.xlen("stream") == 1
with client.pipeline(transaction=True) as pipe:
    pipe.incr("counter").incr("counter")
    assert pipe.execute() == [1, 2]
add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
assert add(keys=["counter"], args=[40]) == 42

listener = client.pubsub(ignore_subscribe_messages=True)
listener.subscribe("news")
assert listener.get_message(timeout=10) is None
assert client.publish("news", "hello") == 1
message = None
while message is None:
    message = listener.get_message(timeout=10)
assert message["data"] == "hello", message
listener.close()

resp3 = redis.Redis.from_url(uri, ssl_ca_certs=ca, protocol=3)
assert resp3.get("name") == b"Ann"
other = redis.Redis.from_url(uri + "/3", ssl_ca_certs=ca)
assert other.get("name") is None
locked = client.lock("lock", timeout=10)
assert locked.acquire() and not client.lock("lock", timeout=10).acquire(blocking=False)
locked.release()


def count():
    mine = redis.Redis.from_url(uri, ssl_ca_certs=ca)
    for _ in range(200):
        mine.incr("shared")


threads = [threading.Thread(target=count) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert client.get("shared") == "1600", client.get("shared")
for forbidden in (["CONFIG", "SET", "dir", "/tmp"], ["SHUTDOWN"], ["ACL", "SETUSER", "x", "on"]):
    try:
        client.execute_command(*forbidden)
    except redis.exceptions.NoPermissionError:
        continue
    sys.exit(f"{forbidden} was allowed")
try:
    redis.Redis.from_url(uri).ping()
except redis.exceptions.ConnectionError:
    print("fine")
else:
    sys.exit("a certificate that nobody vouches for was taken")
