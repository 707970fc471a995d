"""Applications that are at work: write and read over TLS from several threads until standard input ends.

REDIS_URI and REDIS_CA say where. Any error ends it with a traceback. At its end it says how many commands were answered.
"""

import os
import sys
import threading

import redis

THREADS = 4
stop = threading.Event()
answered = [0] * THREADS
failed = []


def work(number):
    total = 0
    while not stop.is_set():
        # A new connection now and then: logins are let in all the while, too. Nothing is tried twice.
        client = redis.Redis.from_url(
            os.environ["REDIS_URI"], ssl_ca_certs=os.environ["REDIS_CA"], retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        )
        for _ in range(100):
            total += 1
            assert client.incr(f"load:{number}") == total
            client.rpush(f"load:{number}:list", total)
            assert int(client.lindex(f"load:{number}:list", -1)) == total
            answered[number] += 3
        client.close()


def guarded(number):
    try:
        work(number)
    except BaseException as error:
        failed.append(error)
        raise


threads = [threading.Thread(target=guarded, args=(n,)) for n in range(THREADS)]
for thread in threads:
    thread.start()
print("at work", flush=True)
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
if failed:
    sys.exit(f"{len(failed)} of {THREADS} failed")
print(sum(answered))
