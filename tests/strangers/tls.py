"""Python's grpcio over TLS and mutual TLS: what tls.sh asks for of a server whose certificates it made.

Usage: tls.py WHAT HOST:PORT FOLDER MORE, where FOLDER has the certificates and MORE is a token, what a
refusal says, or the token file.
"""

import pathlib
import sys

import grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

TIMEOUT = 10
VIEWS = "/fusion.v1.ViewService/"
FAILED = grpc.StatusCode.UNAVAILABLE
NOBODY = grpc.StatusCode.UNAUTHENTICATED


def check(what, condition, seen=None):
    if not condition:
        sys.exit(f"FAIL: grpcio: {what}: {seen!r}")
    print(f"ok: grpcio: {what}")


class Client:
    """Who trusts a CA, and may show a certificate and a token."""

    def __init__(self, target, folder, ca="ca", own=None, token=None):
        read = lambda name: (folder / name).read_bytes()
        pair = (read(f"{own}.key"), read(f"{own}.crt")) if own else (None, None)
        credentials = grpc.ssl_channel_credentials(read(f"{ca}.crt"), *pair)
        # No connection of another client is taken over.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.secure_channel(target, credentials, options)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def views(self):
        """The code of ListViews, whose answer nobody reads, and what is said of it."""
        rpc = self.channel.unary_unary(f"{VIEWS}ListViews")
        try:
            rpc(b"", timeout=TIMEOUT, metadata=self.metadata)
            return grpc.StatusCode.OK, ""
        except grpc.RpcError as error:
            return error.code(), error.details()


def refused(what, client, code, says):
    seen = client.views()
    check(what, seen[0] is code and says in seen[1], seen)


def by_token(target, folder, token):
    good = Client(target, folder, token=token)
    check("a good token over TLS", good.views() == (grpc.StatusCode.OK, ""), good.views())
    refused("no token", Client(target, folder), NOBODY, "token is needed")
    refused("a token that nobody has", Client(target, folder, token=f"{token}x"), NOBODY, "not known")
    stranger = Client(target, folder, ca="other", token=token)
    refused("a CA that is not the server's", stranger, FAILED, "CERTIFICATE_VERIFY_FAILED")
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(good.channel))
    found = pool.FindServiceByName("fusion.v1.ViewService")
    check("reflection over TLS, without a token", len(found.methods) > 10)


def refuses(target, folder, says):
    """The server's certificate is none that this client takes."""
    refused(f"a server is refused: {says}", Client(target, folder), FAILED, says)


def by_certificate(target, folder, tokens):
    for own in ("old", "own", "foreign", None):
        seen = Client(target, folder, own=own).views()
        check(f"certificate {own}: refused in the handshake", seen[0] is FAILED, seen)
    refused("a certificate of another name", Client(target, folder, own="unnamed"), NOBODY, "token")
    reads = Client(target, folder, own="reads")
    check("a good certificate over mutual TLS", reads.views()[0] is grpc.StatusCode.OK)
    # A stream of its connection stands while the entry is taken out.
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(reads.channel))
    health = GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest"))
    watch = reads.channel.unary_stream("/grpc.health.v1.Health/Watch")
    stream = watch(health().SerializeToString(), timeout=60)
    next(stream)
    path = pathlib.Path(tokens)
    path.write_text(path.read_text().split("[[certificate]]")[0])
    try:
        for _ in stream:
            pass
        seen = "it ended well"
    except grpc.RpcError as error:
        seen = (error.code(), error.details())
    check("its stream ends when it is taken back", seen[0] is NOBODY, seen)
    refused("and so it is nobody's, on the connection that stands", reads, NOBODY, "token is needed")


if __name__ == "__main__":
    what, target, folder, more = sys.argv[1:]
    steps = {"token": by_token, "refuses": refuses, "certificate": by_certificate}
    steps[what](target, pathlib.Path(folder), more)
