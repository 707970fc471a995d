"""What a client of MySQL does that is no part of Berth: logs in over TLS that it checks, writes, reads, is refused.

Where, and as whom, stands in the environment; the password comes by standard input.
"""

import os
import ssl
import sys

import pymysql

PASSWORD = sys.stdin.read()


def connect(tls):
    return pymysql.connect(
        host=os.environ["HOST"],
        port=int(os.environ["PORT"]),
        user=os.environ["LOGIN"],
        password=PASSWORD,
        database=os.environ["DATABASE"],
        autocommit=True,
        **tls,
    )


def refused(number, tls):
    try:
        connect(tls)
    except pymysql.err.OperationalError as error:
        assert error.args[0] == number, error
    else:
        raise AssertionError("it was let in")


checked = ssl.create_default_context(cafile=os.environ["AUTHORITY"])
with connect({"ssl": checked}) as connection, connection.cursor() as cursor:
    cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
    assert cursor.fetchone()[1].startswith("TLSv1."), "no TLS"
    cursor.execute("CREATE TABLE by_python (id INT PRIMARY KEY AUTO_INCREMENT, words VARCHAR(80))")
    cursor.executemany("INSERT INTO by_python (words) VALUES (%s)", [("grüße %s 🐬",), ("it's",)])
    cursor.execute("SELECT words FROM by_python ORDER BY id")
    assert cursor.fetchall() == (("grüße %s 🐬",), ("it's",)), "what was written"
    cursor.execute("DROP TABLE by_python")
# Who trusts another authority is not taken in, and who does without TLS is not let in.
refused(2003, {"ssl": ssl.create_default_context()})
refused(3159, {"ssl_disabled": True})
print("as it should be")
