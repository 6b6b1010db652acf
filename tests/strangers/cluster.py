"""Turns deploy/compose or deploy/overlays/cluster into what this machine can start: arguments, environments and
configurations as they are there, with ports and folders of this machine.

Usage: cluster.py compose|overlay RENDERED WORK PORT...

RENDERED is what `docker-compose config --format json` or `kubectl kustomize` prints. Of three servers of NATS and
three of Fusion, WORK/NAME.args and WORK/NAME.env are written, a line each, and what they read. The ports are those of
NATS for clients, for each other and for monitoring, of the servers for gRPC and for HTTP: three each, in this order.
"""

import json
import re
import sys

import yaml


def of_compose(path):
    """Arguments, environment and configuration of each, by name; and those of the agent."""
    services = json.load(open(path, encoding="utf-8"))["services"]
    found = {}
    for name, service in services.items():
        if not re.fullmatch(r"(nats|server)-\d|agent", name):
            continue
        args = (service.get("entrypoint") or []) + (service.get("command") or [])
        mounted = {each["target"]: each["source"] for each in service["volumes"] if each["type"] == "bind"}
        files = {target: open(source, encoding="utf-8").read() for target, source in mounted.items() if "." in target}
        found[name] = (args, service.get("environment") or {}, files)
    return found


def of_overlay(path):
    """The same of the pods of the workloads."""
    objects = [each for each in yaml.safe_load_all(open(path, encoding="utf-8")) if each]
    maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    found = {}
    for each in objects:
        if each["kind"] not in ("StatefulSet", "DaemonSet"):
            continue
        spec = each["spec"]["template"]["spec"]
        container = spec["containers"][0]
        files = {}
        for volume in spec["volumes"]:
            for name, text in maps.get(volume.get("configMap", {}).get("name"), {}).items():
                mounts = container["volumeMounts"]
                place = next(mount["mountPath"] for mount in mounts if mount["name"] == volume["name"])
                files[f"{place}/{name}"] = text
        for number in range(each["spec"].get("replicas", 1)):
            pod = f"{each['metadata']['name']}-{number}"
            environment = {}
            for entry in container.get("env", []):
                value = pod if "valueFrom" in entry else entry["value"]
                for known, text in environment.items():
                    value = value.replace(f"$({known})", text)
                environment[entry["name"]] = value
            name = {"fusion-nats": "nats", "fusion-server": "server"}.get(each["metadata"]["name"])
            args = container["command"] + container["args"]
            found[f"{name}-{number + 1}" if name else "agent"] = (args, environment, files)
    return found


def main():
    kind, rendered, work = sys.argv[1:4]
    ports = [int(port) for port in sys.argv[4:]]
    client, route, monitor, grpc, http = (ports[at : at + 3] for at in range(0, 15, 3))
    found = (of_compose if kind == "compose" else of_overlay)(rendered)
    wanted = sorted([f"{name}-{number}" for name in ("nats", "server") for number in (1, 2, 3)] + ["agent"])
    assert sorted(found) == wanted, f"there are {sorted(found)}"
    elsewhere = []
    for at in range(3):
        nats = f"nats-{at + 1}" if kind == "compose" else f"fusion-nats-{at}.fusion-nats"
        server = f"server-{at + 1}" if kind == "compose" else f"fusion-server-{at}.fusion-server-pods"
        elsewhere += [
            (f"//{nats}:4222", f"//localhost:{client[at]}"),
            (f"//{nats}:6222", f"//localhost:{route[at]}"),
            (f"//{server}:7700", f"//localhost:{grpc[at]}"),
        ]
    elsewhere += [("//fusion-server:7700", f"//localhost:{grpc[0]}"), ("=/tree", f"={work}/tree")]
    for name, (args, environment, files) in found.items():
        at = int(name[-1]) - 1 if name != "agent" else 0
        here = elsewhere + [
            ("0.0.0.0:4222", f"127.0.0.1:{client[at]}"),
            ("0.0.0.0:6222", f"127.0.0.1:{route[at]}"),
            ("0.0.0.0:8222", f"127.0.0.1:{monitor[at]}"),
            ("0.0.0.0:7700", f"127.0.0.1:{grpc[at]}"),
            ("0.0.0.0:7701", f"127.0.0.1:{http[at]}"),
            ("0.0.0.0:7702", "127.0.0.1:0"),
            ("0.0.0.0:7703", "127.0.0.1:0"),
            ("/var/lib/fusion", f"{work}/{name}.data"),
            (" /data\n", f" {work}/{name}.data\n"),
            ("/run/nats/nats.pid", f"{work}/{name}.pid"),
            ("/etc/fusion-tls", f"{work}/{'agent' if name == 'agent' else 'server'}-tls"),
            ("/etc/nats-tls", f"{work}/nats-tls"),
            ("$(NODE_NAME)", "node-1"),
        ]
        here += [(target, f"{work}/{name}.{target.rsplit('.', 1)[1]}") for target in files]

        def moved(text, here=tuple(here)):
            for old, new in here:
                text = text.replace(old, new)
            return text

        for target, text in files.items():
            with open(f"{work}/{name}.{target.rsplit('.', 1)[1]}", "w", encoding="utf-8") as file:
                file.write(moved(text))
        with open(f"{work}/{name}.args", "w", encoding="utf-8") as file:
            file.writelines(f"{moved(arg)}\n" for arg in args)
        with open(f"{work}/{name}.env", "w", encoding="utf-8") as file:
            file.writelines(f"{key}={moved(value)}\n" for key, value in environment.items())


main()
