"""What an application does with a cluster, by the client that most of them use, over TLS, at the endpoints: `write` leaves a
key in every sixteenth part of every thousand of slots, `read` finds all of them again."""

import os
import sys

from redis.cluster import RedisCluster
from redis.crc import key_slot

PARTS = 1024

# One that hung serves nothing for up to 5 s after it has found the others again; by itself the client gives up sooner.
client = RedisCluster.from_url(
    os.environ["REDIS_URI"],
    ssl_ca_certs=os.environ["REDIS_CA"],
    decode_responses=True,
    cluster_error_retry_attempts=60,
)
known = sorted(f"{node.host}:{node.port}" for node in client.get_nodes())
wanted = sorted(os.environ["REDIS_ENDPOINTS"].split(","))
assert known == wanted, f"{known} in place of {wanted}"

keys, n = {}, 0
while len(keys) < PARTS:
    keys.setdefault(key_slot(f"key-{n}".encode()) * PARTS // 16384, f"key-{n}")
    n += 1
keys = sorted(keys.values())
if sys.argv[1] == "write":
    for at in range(0, PARTS, 64):
        with client.pipeline() as pipe:
            for key in keys[at : at + 64]:
                pipe.set(key, f"of {key}")
            assert all(pipe.execute())
    client.mset_nonatomic({"{pair}a": "1", "{pair}b": "2"})
    client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "{pair}c", "3")
    # Each shard has its part.
    sizes = [client.dbsize(target_nodes=node) for node in client.get_primaries()]
    assert sum(sizes) == PARTS + 3 and min(sizes) > PARTS // len(sizes) // 2, sizes
for key in keys:
    assert client.get(key) == f"of {key}", key
assert client.mget("{pair}a", "{pair}b", "{pair}c") == ["1", "2", "3"]
print("fine")
