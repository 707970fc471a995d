"""What an application does with MongoDB that is no part of Berth: writes and reads in turn, without pause, until its standard
input ends; then says how often. The first error ends it. Where, and as whom, stands in the environment."""

import os
import sys
import threading

import pymongo

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
# What an application would not do: nothing is tried again.
options = {"tlsCAFile": os.environ["MONGO_CA"], "retryWrites": False, "retryReads": False}
with pymongo.MongoClient(os.environ["MONGO_URI"], **options) as client:
    load = client.get_default_database()["load"]
    number = 0
    while not ended.is_set():
        number += 1
        load.insert_one({"_id": number, "words": "grüße 🐬"})
        assert load.find_one({"_id": number})["words"] == "grüße 🐬"
    assert load.count_documents({}) == number
    load.drop()
print(number)
