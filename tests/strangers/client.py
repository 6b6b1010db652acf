"""Calls a Fusion server with nothing but what its reflection tells.

Usage: client.py HOST:PORT, of a server with the view `demo` that lib.sh makes.
"""

import sys
import uuid

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

TIMEOUT = 10


def check(what, condition, seen=None):
    if not condition:
        sys.exit(f"FAIL: {what}: {seen!r}")
    print(f"ok: {what}")


class Client:
    """Every method of the served services, found by reflection."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def call(self, service, method, **fields):
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = GetMessageClass(found.input_type)
        answer = GetMessageClass(found.output_type)
        kind = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, True): self.channel.stream_stream,
        }[found.client_streaming, found.server_streaming]
        rpc = kind(
            f"/{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        message = request(**fields)
        return rpc(iter([message]) if found.client_streaming else message, timeout=TIMEOUT)

    def refusal(self, service, method, **fields):
        """The status and the ErrorInfo of a call that must fail."""
        try:
            answer = self.call(service, method, **fields)
            if not hasattr(answer, "DESCRIPTOR"):  # a stream
                answer = list(answer)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            check(f"{method}: the error has details", status is not None, error)
            info = error_details_pb2.ErrorInfo()
            unpacked = [d.Unpack(info) for d in status.details if d.Is(info.DESCRIPTOR)]
            check(f"{method}: one ErrorInfo among the details", unpacked == [True], status)
            check(f"{method}: the domain", info.domain == "fusion.v1", info)
            return error.code(), info
        sys.exit(f"FAIL: {method}: answered OK: {answer}")


def check_reflection(client):
    services = set(client.database.get_services())
    names = ("SessionService", "EventService", "ViewService", "AdminService")
    ours = {f"fusion.v1.{name}" for name in names}
    check("reflection lists the services", ours <= services, services)
    for service in sorted(ours):
        methods = client.pool.FindServiceByName(service).methods
        check(f"{service} is described", len(methods) > 0)
    details = client.pool.FindMessageTypeByName("google.rpc.ErrorInfo")
    check("reflection knows the error details", "reason" in details.fields_by_name)


def check_sessions(client):
    session, events = "fusion.v1.SessionService", "fusion.v1.EventService"
    unknown = str(uuid.uuid4())
    push = {"session_id": unknown, "lane": 2}
    for service, method, fields in (
        (session, "Heartbeat", {"session_id": unknown}),
        (events, "PushEventBatch", {**push, "batch": {"sequence": 1}}),
        (events, "PushEvents", {"opening": {**push, "first_held": 1, "next": 1}}),
    ):
        code, info = client.refusal(service, method, **fields)
        check(f"{method}: ABORTED", code is grpc.StatusCode.ABORTED, code)
        check(f"{method}: SESSION_OBSOLETE", info.reason == "SESSION_OBSOLETE", info)
        check(f"{method}: cause UNKNOWN", info.metadata["cause"] == "UNKNOWN", info)
    code, info = client.refusal(session, "EndSession", session_id=unknown)
    check("EndSession: NOT_FOUND", code is grpc.StatusCode.NOT_FOUND, code)
    check("EndSession: SESSION_NOT_FOUND", info.reason == "SESSION_NOT_FOUND", info)
    client.call(session, "EndSession", session_id=unknown, allow_missing=True)
    check("EndSession with allow_missing: OK", True)


def check_views(client):
    views = "fusion.v1.ViewService"
    names = [view.name for view in client.call(views, "ListViews").views]
    check("ListViews", names == ["demo"], names)
    totals = client.call(views, "GetStats", view="demo", path="/").totals
    counted = (totals.files, totals.directories, totals.others, totals.bytes)
    check("GetStats", counted == (3, 2, 1, 60), counted)
    paths, token = [], ""
    while True:
        page = client.call(
            views, "ListEntries", view="demo", path="/", page_size=1, page_token=token
        )
        paths += [entry.path for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    check("ListEntries, page by page", paths == ["/a.txt", "/dir", "/link"], paths)
    found = client.call(views, "FindEntries", view="demo", path="/", name_glob="*.txt")
    paths = [entry.path for message in found for entry in message.entries]
    check("FindEntries", sorted(paths) == ["/a.txt", "/dir/b.txt"], paths)


def check_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in (
        "",
        "fusion.v1.SessionService",
        "fusion.v1.EventService",
        "fusion.v1.ViewService",
        "fusion.v1.AdminService",
        "fusion.v1.view/demo",
    ):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        check(f"health of '{service}'", serving, answer)
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=TIMEOUT)
        check("health of an unknown service", False, answer)
    except grpc.RpcError as error:
        code = error.code()
        check("health of an unknown service", code is grpc.StatusCode.NOT_FOUND, code)
    watched = health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=TIMEOUT)
    first = next(watched)
    watched.cancel()
    check("health can be watched", first.status == health_pb2.HealthCheckResponse.SERVING, first)


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        client = Client(channel)
        check_reflection(client)
        check_sessions(client)
        check_views(client)
        check_health(channel)


main()
