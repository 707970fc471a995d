#!/usr/bin/python3 -IB
"""Runs a line of Python with `client` and `db`, by pymongo, from outside and over TLS. For Berth's tests.

    MONGO_URI=mongodb://… MONGO_CA=ca.pem mongo-client EXPRESSION
    MONGO_PASSWORD=… mongo-client HOST PORT USER DATABASE CA EXPRESSION
"""

import os
import pathlib
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import pymongo  # noqa: E402
from pymongo.errors import PyMongoError  # noqa: E402

*place, expression = sys.argv[1:]
uri, ca = os.environ.get("MONGO_URI"), os.environ.get("MONGO_CA")
if place:
    host, port, user, database, ca = place
    login = ":".join(urllib.parse.quote(text, safe="") for text in (user, os.environ["MONGO_PASSWORD"]))
    uri = f"mongodb://{login}@{host}:{port}/{database}?tls=true&authSource=admin&directConnection=true"
trust = {}
if "tls=true" in uri:
    trust = {"tlsCAFile": ca} if ca else {"tlsAllowInvalidCertificates": True}
try:
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000, **trust) as client:
        print(eval(expression, {"client": client, "db": client.get_default_database()}))
except PyMongoError as error:
    details = getattr(error, "details", None) or {}
    sys.exit(f"{details.get('codeName')}: {error}")
