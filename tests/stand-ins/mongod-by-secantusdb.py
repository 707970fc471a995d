#!/usr/bin/python3 -IB
"""A stand-in for MongoDB's `mongod` in Berth's tests, where no real one can be had. It is none, and nothing but tests runs it.

It takes mongod's options and configuration file as Berth plans them, and serves with SecantusDB, another product that
speaks MongoDB's protocol: https://pypi.org/project/secantusdb/. What SecantusDB lacks of a mongod that Berth needs is added
here, as little as can be:

- the key file's user `__system`, and the refusal of a key file that others may read;
- a replica set that is founded by `replSetInitiate` and takes no changes before;
- `replSetGetConfig`, `replSetReconfig`, `rotateCertificates`, `getCmdLineOpts` out of the file;
- it says that it is MongoDB 8.0, the version that tests plan for;
- parameters of the file are remembered and told, and have no effect, but for the rounds of the passwords' hash;
- the unix socket, by TLS as well.

What it does shows nothing of a real mongod's limits, roles in detail, start, recovery or speed.
"""

import json
import os
import pathlib
import signal
import socket
import stat
import sys
import threading

VERSION = [8, 0, 0, 0]

if sys.argv[1:] == ["--version"]:
    print("db version v" + ".".join(map(str, VERSION[:3])))
    print("stand-in for tests, by SecantusDB")
    sys.exit(0)

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent / "lib"))

from secantus import commands, rbac, server as wire  # noqa: E402
from secantus import auth  # noqa: E402

OPTIONS = {"config", "dbpath", "bind_ip", "port", "unixSocketPrefix", "keyFile", "tlsCertificateKeyFile", "tlsCAFile"}
SECTIONS = {"net", "operationProfiling", "replication", "security", "setParameter", "storage"}
# What a member without a set answers.
BEFORE_THE_SET = {"hello", "isMaster", "ismaster", "ping", "buildInfo", "saslStart", "saslContinue", "replSetInitiate",
                  "replSetGetConfig", "replSetGetStatus", "serverStatus", "endSessions"}


def fail(why):
    print(json.dumps({"s": "F", "c": "CONTROL", "msg": why}), flush=True)
    sys.exit(1)


def options(arguments):
    found = {}
    pairs = iter(arguments)
    for name in pairs:
        if not name.startswith("--") or name[2:] not in OPTIONS:
            fail(f"Error parsing command line: unrecognised option '{name}'")
        found[name[2:]] = next(pairs, None)
    return found


def scalar(text):
    if text.startswith('"'):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def configuration(path):
    """The part of YAML that Berth writes: nested maps, two blanks a level."""
    root = {}
    places = [root]
    for line in pathlib.Path(path).read_text().splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, value = line.strip().partition(":")
        del places[depth + 1:]
        if value.strip():
            places[-1][name] = scalar(value.strip())
        else:
            places.append(places[-1].setdefault(name, {}))
    unknown = set(root) - SECTIONS
    if unknown:
        fail(f"Unrecognized option: {unknown.pop()}")
    return root


def key(path):
    if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        fail(f"permissions on {path} are too open")
    text = "".join(pathlib.Path(path).read_text().split())
    if not 6 <= len(text) <= 1024:
        fail("security.keyFile has an impossible length")
    return text


def error(code, name, why):
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": why}


class ReplicaSet:
    def __init__(self, dbpath, name):
        self.path = pathlib.Path(dbpath) / "replica-set.json"
        self.name = name
        self.config = json.loads(self.path.read_text()) if self.path.exists() else None

    def keep(self, config):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(config))
        new.rename(self.path)
        self.config = config

    def initiate(self, doc, _ctx):
        wanted = doc["replSetInitiate"]
        if self.config:
            return error(23, "AlreadyInitialized", "already initialized")
        if wanted["_id"] != self.name:
            return error(93, "InvalidReplicaSetConfig", "the name is another one than replSetName")
        self.keep({"_id": self.name, "version": 1, "term": 1,
                   "members": [{"_id": m["_id"], "host": m["host"]} for m in wanted["members"]]})
        return {"ok": 1.0}

    def get(self, _doc, _ctx):
        if not self.config:
            return error(94, "NotYetInitialized", "no replset config has been received")
        return {"config": self.config, "ok": 1.0}

    def reconfigure(self, doc, _ctx):
        wanted = doc["replSetReconfig"]
        members = [{"_id": m["_id"], "host": m["host"]} for m in wanted["members"]]
        self.keep({**self.config, "version": self.config["version"] + 1, "members": members})
        return {"ok": 1.0}

    def hello(self, answer):
        if not self.config:
            for field in ("setName", "setVersion", "hosts", "primary", "me", "electionId", "lastWrite"):
                answer.pop(field, None)
            return {**answer, "isWritablePrimary": False, "ismaster": False, "secondary": False, "isreplicaset": True}
        host = self.config["members"][0]["host"]
        return {**answer, "hosts": [host], "primary": host, "me": host, "setVersion": self.config["version"]}


class Parameters:
    def __init__(self, values):
        self.values = dict(values)
        self.count_rounds()
        self.theirs = {name: commands._HANDLERS[name] for name in ("getParameter", "setParameter")}

    def get(self, doc, ctx):
        answer = self.theirs["getParameter"](doc, ctx)
        everything = doc["getParameter"] == "*"
        return {**answer, **{n: v for n, v in self.values.items() if everything or n in doc}}

    def set(self, doc, ctx):
        ours = [name for name in doc if name in self.values]
        if not ours:
            return self.theirs["setParameter"](doc, ctx)
        was = self.values[ours[0]]
        for name in ours:
            if isinstance(doc[name], str) != isinstance(self.values[name], str):
                return error(2, "BadValue", f"{name} is of another type")
        self.values.update((name, doc[name]) for name in ours)
        self.count_rounds()
        return {"was": was, "ok": 1.0}

    def count_rounds(self):
        auth._MECH_PARAMS["SCRAM-SHA-256"]["default_iterations"] = self.values["scramSHA256IterationCount"]


def carry(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end, how in ((other, socket.SHUT_WR), (one, socket.SHUT_RD)):
        try:
            end.shutdown(how)
        except OSError:
            pass


def by_socket(path, address):
    """What comes by the socket goes to the port, TLS and all."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o700)
    listener.listen()

    def serve():
        while True:
            client, _ = listener.accept()
            try:
                there = socket.create_connection(address)
            except OSError:
                client.close()
                continue
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threads = [threading.Thread(target=carry, args=ends, daemon=True)
                       for ends in ((client, there), (there, client))]
            threading.Thread(target=close_after, args=(threads, (client, there)), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def close_after(threads, ends):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for end in ends:
        end.close()


def add_commands(server, given, config, the_set):
    handlers, actions = commands._HANDLERS, commands._COMMAND_ACTIONS
    parameters = Parameters(config["setParameter"])
    commands.SERVER_VERSION, commands.SERVER_VERSION_ARRAY = "8.0.0", VERSION
    hello = handlers["hello"]
    parsed = {**config, "setParameter": {n: str(v).lower() for n, v in config["setParameter"].items()}}

    def rotate(_doc, _ctx):
        server._ssl_context.load_cert_chain(given["tlsCertificateKeyFile"])
        return {"ok": 1.0}

    for name in ("hello", "isMaster", "ismaster"):
        handlers[name] = lambda doc, ctx: the_set.hello(hello(doc, ctx))
    added = {
        "replSetInitiate": the_set.initiate, "replSetGetConfig": the_set.get, "replSetReconfig": the_set.reconfigure,
        "rotateCertificates": rotate, "setParameter": parameters.set,
    }
    handlers.update(added)
    handlers["getParameter"] = parameters.get
    handlers["getCmdLineOpts"] = lambda _doc, _ctx: {"argv": sys.argv, "parsed": parsed, "ok": 1.0}
    actions.update((name, (rbac.A_SET_PARAMETER, rbac.SCOPE_CLUSTER)) for name in added)

    dispatch = wire.dispatch

    def gate(doc, ctx):
        if not the_set.config and commands.command_name(doc) not in BEFORE_THE_SET:
            return error(10107, "NotWritablePrimary", "not primary")
        return dispatch(doc, ctx)

    wire.dispatch = gate


def main():
    # Before there are threads, which would be given them otherwise. With a handler, one that comes just before the wait
    # for it would be missed.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    given = options(sys.argv[1:])
    config = configuration(given["config"])
    tls = config["net"]["tls"]
    if tls["mode"] != "requireTLS" or not given.get("tlsCAFile") or not tls["allowConnectionsWithoutCertificates"]:
        fail("this stand-in serves by TLS alone, with an authority and to clients without certificates")
    members = key(given["keyFile"])
    address = (given["bind_ip"], int(given["port"]))
    the_set = ReplicaSet(given["dbpath"], config["replication"]["replSetName"])
    pem = given["tlsCertificateKeyFile"]
    server = wire.SecantusDBServer(
        *address, storage_path=given["dbpath"], replica_set_name=the_set.name, require_auth=True,
        enable_test_commands=False, cache_size="64M", sync_on_commit=True, tls_cert_file=pem, tls_key_file=pem)
    server.storage.add_user("local", "__system", {
        "_id": "local.__system", "user": "__system", "db": "local", "roles": [{"role": "root", "db": "admin"}],
        "credentials": auth.derive_credentials(members, mechanism="SCRAM-SHA-256", username="__system").to_doc(),
        "mechanisms": ["SCRAM-SHA-256"]}, replace=True)
    add_commands(server, given, config, the_set)
    server.start()
    path = pathlib.Path(given["unixSocketPrefix"]) / f"mongodb-{address[1]}.sock"
    by_socket(path, address)
    print(json.dumps({"s": "I", "c": "NETWORK", "msg": "Waiting for connections", "attr": {"port": address[1]}}), flush=True)
    signal.sigwait(ends)
    path.unlink(missing_ok=True)
    # Whoever waits for connections there would be waited for.
    server._socket.shutdown(socket.SHUT_RDWR)
    server.stop()


if __name__ == "__main__":
    main()
