"""What the Python SDK, unmodified, sees of an operation's life.

    scenarios.py --endpoint HOST:PORT --rest http://HOST:PORT --ca FILE SCENARIO...

Runs the scenarios in turn against a server and prints `ok SCENARIO` after each. The first one
that fails ends the program with exit code 1 and says why. `all` stands for every scenario but
`wait-restart`, which prints `waiting`, has the server restarted under it, and goes on when a line
comes on standard input.
"""

import argparse
import os
import sys
import threading
import time
import traceback
import uuid

# The server is on loopback: no proxy may come between.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# The source tree stays as it is checked out.
sys.dont_write_bytecode = True

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from native import Native, packed
from yandex.cloud.endpoint.api_endpoint_service_pb2 import ListApiEndpointsRequest
from yandex.cloud.endpoint.api_endpoint_service_pb2_grpc import ApiEndpointServiceStub
from yandex.cloud.iam.v1.service_account_pb2 import ServiceAccount
from yandex.cloud.iam.v1.service_account_service_pb2 import CreateServiceAccountMetadata
from yandex.cloud.operation.operation_service_pb2 import (
    CancelOperationRequest,
    GetOperationRequest,
)
from yandex.cloud.operation.operation_service_pb2_grpc import OperationServiceStub
from yandexcloud import SDK
from yandexcloud.operations import OperationError

CONNECTIONS = 64
ROUNDS = 8
SCENARIO_SECONDS_MAX = 90
RESOURCE = ServiceAccount(id="sa-1", name="robot", labels={"colour": "blue", "size": "ж"})
SUBJECT = CreateServiceAccountMetadata(service_account_id="sa-1")


class World:
    """Where the server is, and an SDK that knows it by its certificate authority."""

    def __init__(self, endpoint, rest, ca):
        self.endpoint = endpoint
        self.rest = rest
        with open(ca, "rb") as file:
            self.root_certificates = file.read()
        self.sdk = self.new_sdk()
        self.operations = self.sdk.client(OperationServiceStub)
        self.native = Native(rest)

    def new_sdk(self):
        return SDK(
            iam_token="test",
            endpoint=self.endpoint,
            root_certificates=self.root_certificates,
        )

    def get(self, operation_id):
        return self.operations.Get(GetOperationRequest(operation_id=operation_id))

    def cancel(self, operation_id):
        return self.operations.Cancel(CancelOperationRequest(operation_id=operation_id))

    def create(self, **members):
        """A new operation of a kind that nothing else has, as (the SDK's view of it, the kind)."""
        kind = f"sdk.python.{uuid.uuid4().hex}"
        return self.get(self.native.create(kind, **members)["id"]), kind

    def start(self, **members):
        """A new operation in the hands of a worker, as (the SDK's view of it, the lease)."""
        operation, kind = self.create(**members)
        return operation, self.native.claim(kind)

    def wait(self, operation, response_type=None):
        return self.sdk.wait_operation_and_get_result(
            operation,
            response_type=response_type,
            meta_type=CreateServiceAccountMetadata if operation.HasField("metadata") else None,
            timeout=60,
        )


def endpoints(world):
    channel = grpc.secure_channel(
        world.endpoint, grpc.ssl_channel_credentials(world.root_certificates)
    )
    with channel:
        answer = ApiEndpointServiceStub(channel).List(ListApiEndpointsRequest())
    found = {endpoint.id: endpoint.address for endpoint in answer.endpoints}
    for service in ("operation", "iam"):
        equal(found.get(service), world.endpoint, f"the address of {service}, asked anonymously")


def get(world):
    description = "ж" * 256
    operation, _ = world.create(
        description=description, createdBy="alice", metadata=packed(SUBJECT)
    )
    equal(operation.description, description, "description")
    equal(operation.created_by, "alice", "created_by")
    equal(operation.done, False, "done")
    equal(operation.WhichOneof("result"), None, "result")
    equal(unpacked(operation.metadata, CreateServiceAccountMetadata), SUBJECT, "metadata")
    age = time.time() - operation.created_at.ToNanoseconds() / 1e9
    check(-5 < age < 60, f"created_at is {age} s ago")
    lag = operation.modified_at.ToNanoseconds() - operation.created_at.ToNanoseconds()
    check(lag >= 0, f"modified_at is {-lag} ns before created_at")


def wait_response(world):
    operation, lease = world.start(metadata=packed(SUBJECT))
    waiter = Background(lambda: world.wait(operation, ServiceAccount))
    world.native.complete(lease, response=packed(RESOURCE))
    result = waiter.result()
    equal(result.response, RESOURCE, "response")
    equal(result.meta, SUBJECT, "metadata")


def wait_empty(world):
    operation, lease = world.start()
    world.native.complete(lease, response={"@type": "type.googleapis.com/google.protobuf.Empty"})
    equal(world.wait(operation).response, None, "unpacked response")
    done = world.get(operation.id)
    equal(done.WhichOneof("result"), "response", "result")
    equal(unpacked(done.response, Empty), Empty(), "response")


def wait_error(world):
    operation, lease = world.start()
    waiter = Background(lambda: world.wait(operation))
    world.native.complete(lease, error=quota_error())
    error = raised(OperationError, waiter.result)
    check("Error code: 8." in error.message, f"the code is not in: {error.message}")
    check("no disks left" in error.message, f"the message is not in: {error.message}")
    quota_error_is(world.get(operation.id).error)


def early_error(world):
    operation, lease = world.start()
    waiter = Background(lambda: world.wait(operation))
    polls = world.sdk.waiter(operation.id, timeout=60)
    next(polls)

    world.native.report_failure(lease, quota_error())
    for _ in range(3):
        next(polls)
        equal(polls.operation.done, False, "done while the service rolls back")
        quota_error_is(polls.operation.error)
        # The pace of the SDK's own loop, so that the one in the background has seen the error, too.
        time.sleep(1)
    waiter.still_runs()

    world.native.complete(lease, error=quota_error())
    raised(StopIteration, lambda: next(polls))
    equal(polls.operation.done, True, "done")
    quota_error_is(polls.operation.error)
    error = raised(OperationError, waiter.result)
    check("Error code: 8." in error.message, f"the code is not in: {error.message}")


def cancel(world):
    queued, _ = world.create()
    cancelled = world.cancel(queued.id)
    equal((cancelled.done, cancelled.error.code), (True, 1), "cancel of what nobody claimed")

    leased, lease = world.start()
    waiter = Background(lambda: world.wait(leased))
    asked = world.cancel(leased.id)
    equal((asked.done, asked.WhichOneof("result")), (False, None), "cancel of what a worker holds")
    check(world.native.cancel_requested(lease), "the worker is told of the cancel")
    world.native.complete(lease, cancelled={})
    error = raised(OperationError, waiter.result)
    check("Error code: 1." in error.message, f"the code is not in: {error.message}")
    equal(world.get(leased.id).error.code, 1, "code")


def cancel_done(world):
    operation, lease = world.start(metadata=packed(SUBJECT))
    world.native.complete(lease, response=packed(RESOURCE))
    before = world.get(operation.id)
    equal(world.cancel(operation.id), before, "answer of cancel")
    equal(world.get(operation.id), before, "operation after cancel")
    equal(unpacked(before.response, ServiceAccount), RESOURCE, "response")


def not_found(world):
    operation, _ = world.create()
    last = "0" if operation.id[-1] != "0" else "1"
    never_existed = operation.id[:-1] + last
    for call in (world.get, world.cancel):
        refused(lambda: call(never_existed), grpc.StatusCode.NOT_FOUND, "NEVER_EXISTED")
    waiter = world.sdk.waiter(never_existed, timeout=60)
    refused(lambda: next(waiter), grpc.StatusCode.NOT_FOUND, "NEVER_EXISTED")

    world.cancel(operation.id)
    world.native.delete(operation.id)
    refused(lambda: world.get(operation.id), grpc.StatusCode.NOT_FOUND, "DELETED")


def bad_id(world):
    too_long = "x" * 5000
    waiter = world.sdk.waiter(too_long, timeout=60)
    calls = (
        lambda: world.get(too_long),
        lambda: world.cancel(too_long),
        lambda: next(waiter),
    )
    for call in calls:
        # RESOURCE_EXHAUSTED would be the client's own: a status too large for it to take.
        error = refused(call, grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")
        check(too_long not in error.details(), "the id is echoed unbounded")
    refused(lambda: world.get(""), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def read_after_create(world):
    """No connection, of either face, is ever behind a create that was acknowledged."""
    connections = [Connection(world) for _ in range(CONNECTIONS)]
    start = threading.Barrier(CONNECTIONS)

    def reader(number):
        own = connections[number]
        kind = f"sdk.python.{uuid.uuid4().hex}"
        start.wait()
        for _ in range(ROUNDS):
            operation_id = own.native.create(kind)["id"]
            request = GetOperationRequest(operation_id=operation_id)
            equal(own.operations.Get(request).id, operation_id, "id over gRPC")
            equal(own.native.get(operation_id)["id"], operation_id, "id over REST")
            yandex = own.native.get_as_yandex(operation_id)
            equal(yandex["id"], operation_id, "id over Yandex REST")
            neighbour = connections[(number + 1) % CONNECTIONS]
            equal(neighbour.operations.Get(request).id, operation_id, "id over another connection")

    for each in [Background(lambda number=number: reader(number)) for number in range(CONNECTIONS)]:
        each.result()


class Connection:
    """An SDK and a REST connection that share nothing with any other."""

    def __init__(self, world):
        self.operations = world.new_sdk().client(OperationServiceStub)
        self.native = Native(world.rest)


def wait_restart(world):
    operation, lease = world.start(metadata=packed(SUBJECT))
    waiter = Background(lambda: world.wait(operation, ServiceAccount))
    print("waiting", flush=True)
    check(sys.stdin.readline() != "", "standard input ended before the server was back")
    waiter.still_runs()
    # The old connection went with the old server.
    Native(world.rest).complete(lease, response=packed(RESOURCE))
    equal(waiter.result().response, RESOURCE, "response after the restart")


class Background:
    """A call in a thread of its own."""

    def __init__(self, call):
        self._outcome = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call):
        try:
            value = call()
            self._outcome = lambda: value
        except BaseException as error:
            caught = error

            def fail():
                raise caught

            self._outcome = fail

    def still_runs(self):
        if self._outcome is not None:
            raise AssertionError(f"ended too early, with {self.result()}")

    def result(self):
        self._thread.join()
        return self._outcome()


def quota_error():
    return {
        "code": 8,
        "message": "no disks left",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "QUOTA",
                "domain": "example.com",
                "metadata": {"quota": "disks"},
            },
            packed(RESOURCE),
        ],
    }


def quota_error_is(status):
    equal((status.code, status.message), (8, "no disks left"), "error")
    equal(len(status.details), 2, "number of details")
    info = unpacked(status.details[0], ErrorInfo)
    found = (info.reason, info.domain, dict(info.metadata))
    equal(found, ("QUOTA", "example.com", {"quota": "disks"}), "ErrorInfo")
    equal(unpacked(status.details[1], ServiceAccount), RESOURCE, "detail of an unknown type")


def refused(call, code, reason):
    """The error with which the server refuses `call`."""
    error = raised(grpc.RpcError, call)
    equal(error.code(), code, f"code ({error.details()})")
    trailers = dict(error.trailing_metadata() or ())
    details = Status.FromString(trailers.get("grpc-status-details-bin", b"")).details
    found = [unpacked(detail, ErrorInfo) for detail in details if detail.Is(ErrorInfo.DESCRIPTOR)]
    equal([(info.reason, info.domain) for info in found], [(reason, "operond.dev")], "ErrorInfo")
    return error


def raised(expected, call):
    try:
        value = call()
    except expected as error:
        return error
    raise AssertionError(f"no {expected.__name__}, but {value!r}")


def unpacked(packed_message, message_type):
    if not isinstance(packed_message, Any):
        raise AssertionError(f"{packed_message!r} is no Any")
    message = message_type()
    expected = message_type.DESCRIPTOR.full_name
    check(packed_message.Unpack(message), f"{packed_message.type_url} is no {expected}")
    return message


def equal(found, expected, what):
    check(found == expected, f"{what} is {found!r}, not {expected!r}")


def check(condition, complaint):
    if not condition:
        raise AssertionError(complaint)


SCENARIOS = {
    "endpoints": endpoints,
    "get": get,
    "wait-response": wait_response,
    "wait-empty": wait_empty,
    "wait-error": wait_error,
    "early-error": early_error,
    "cancel": cancel,
    "cancel-done": cancel_done,
    "not-found": not_found,
    "bad-id": bad_id,
    "read-after-create": read_after_create,
    "wait-restart": wait_restart,
}
INTERACTIVE = "wait-restart"


def main():
    parser = argparse.ArgumentParser(description="What the Python SDK sees of an operation's life.")
    parser.add_argument("--endpoint", required=True, metavar="HOST:PORT", help="the TLS listener")
    parser.add_argument("--rest", required=True, metavar="URL", help="the plaintext listener")
    parser.add_argument("--ca", required=True, metavar="FILE", help="the server's authority, PEM")
    parser.add_argument("scenario", nargs="+", choices=["all", *SCENARIOS])
    arguments = parser.parse_args()
    names = arguments.scenario
    if "all" in names:
        names = [name for name in SCENARIOS if name != INTERACTIVE]

    world = World(arguments.endpoint, arguments.rest, arguments.ca)
    for name in names:
        watchdog = threading.Timer(SCENARIO_SECONDS_MAX, give_up, (name,))
        watchdog.daemon = True
        watchdog.start()
        try:
            SCENARIOS[name](world)
        except Exception:
            traceback.print_exc()
            print(f"FAILED {name}", file=sys.stderr)
            sys.exit(1)
        watchdog.cancel()
        print(f"ok {name}", flush=True)


def give_up(name):
    print(f"FAILED {name}: no end after {SCENARIO_SECONDS_MAX} s", file=sys.stderr, flush=True)
    # Threads that wait on the server would keep the interpreter.
    os._exit(1)


if __name__ == "__main__":
    main()
