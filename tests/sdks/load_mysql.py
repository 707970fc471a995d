"""Applications that are at work: log in, write and read over TLS from several threads until standard input ends.

Where, and as whom, stands in the environment; the first line of standard input is the password. Any error ends it with a
traceback. At its end it says how many statements were answered.
"""

import os
import sys
import threading

import pymysql

PASSWORD = sys.stdin.readline().rstrip("\n")
THREADS = 4
stop = threading.Event()
answered = [0] * THREADS
failed = []


def connect():
    return pymysql.connect(
        host=os.environ["HOST"],
        port=int(os.environ["PORT"]),
        user=os.environ["LOGIN"],
        password=PASSWORD,
        database=os.environ["DATABASE"],
        ssl_ca=os.environ["AUTHORITY"],
        ssl_verify_identity=True,
    )


def work(number):
    total = 0
    while not stop.is_set():
        # A new connection now and then: logins are let in all the while, too.
        with connect() as connection, connection.cursor() as cursor:
            for _ in range(25):
                cursor.execute("INSERT INTO load_of (worker, words) VALUES (%s, %s)", (number, "x" * 200))
                cursor.execute("UPDATE load_sum SET n = n + 1 WHERE worker = %s", (number,))
                connection.commit()
                total += 1
                cursor.execute("SELECT COUNT(*), MAX(n) FROM load_of JOIN load_sum USING (worker) WHERE worker = %s", (number,))
                assert cursor.fetchone() == (total, total), "what was written"
                connection.commit()
                answered[number] += 5


def guarded(number):
    try:
        work(number)
    except BaseException as error:
        failed.append(error)
        raise


with connect() as connection, connection.cursor() as cursor:
    cursor.execute("CREATE TABLE load_of (id INT PRIMARY KEY AUTO_INCREMENT, worker INT, words TEXT, INDEX (worker))")
    cursor.execute("CREATE TABLE load_sum (worker INT PRIMARY KEY, n INT)")
    cursor.executemany("INSERT INTO load_sum VALUES (%s, 0)", [(n,) for n in range(THREADS)])
    connection.commit()
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
