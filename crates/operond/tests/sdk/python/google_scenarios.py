"""What google-api-core, unmodified, sees of an operation's life.

    google_scenarios.py --transport grpc|rest --native URL --target URL SCENARIO...

The client under test calls `--target`; producer and worker call `--native`, which may be the same server by another
way. Runs the scenarios in turn and prints `ok SCENARIO` after each. The first one that fails ends the program with exit
code 1 and says why. `all` stands for every scenario. `await:NAME` is what a second process does: it prints `waiting`
once it has seen that the operation of that name is not done, waits for its result, a text, and prints that.
"""

import argparse
import concurrent.futures
import os
import sys
import threading
import traceback
import uuid

# The server is on loopback: no proxy may come between.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# The source tree stays as it is checked out.
sys.dont_write_bytecode = True

import grpc
from google.api_core import exceptions, gapic_v1, operation, operations_v1, retry
from google.api_core.future import polling
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.auth.credentials import AnonymousCredentials
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from native import Native

SCENARIO_SECONDS_MAX = 60
WAIT_SECONDS = 30
# More than the largest page that a server makes unasked.
MANY = 120
# The default of google-api-core begins with a second.
POLLING = polling.DEFAULT_POLLING.with_delay(initial=0.05, maximum=0.5)
RETRIES = retry.Retry(
    initial=0.05, predicate=retry.if_exception_type(exceptions.ServiceUnavailable)
)
TYPES = "type.googleapis.com"
PAGES = {"@type": f"{TYPES}/google.protobuf.StringValue", "value": "3 страницы"}
PRINTING = {"@type": f"{TYPES}/google.protobuf.Struct", "value": {"printer": "p-7"}}
OUT_OF_PAPER = {
    "code": 9,
    "message": "out of paper",
    "details": [
        {
            "@type": f"{TYPES}/google.rpc.ErrorInfo",
            "reason": "NO_PAPER",
            "domain": "example.com",
            "metadata": {"tray": "2"},
        }
    ],
}


class World:
    """Where the server is, and a client of google-api-core that speaks one of the transports."""

    def __init__(self, native, target, transport):
        self.transport = transport
        self.native = Native(native)
        if transport == "grpc":
            self.collection = self.parent = "operations"
            self.channel = grpc.insecure_channel(target.removeprefix("http://"))
            self.client = operations_v1.OperationsClient(self.channel)
        else:
            # The paths of this transport have a parent before the collection.
            self.collection = "shops/7/operations"
            self.parent = "shops/7"
            # It takes the scheme from the host alone, whatever `url_scheme` says.
            rest = OperationsRestTransport(host=target, credentials=AnonymousCredentials())
            self.client = operations_v1.AbstractOperationsClient(transport=rest)

    def start(self, **members):
        """A new operation in the hands of a worker, as (its name, the lease)."""
        kind = f"sdk.google.{uuid.uuid4().hex}"
        operation_id = self.native.create(kind, **members)["id"]
        return f"{self.collection}/{operation_id}", self.native.claim(kind)

    def future(self, name):
        """What the generated method that started the operation would have returned."""
        first = self.client.get_operation(name)
        equal(first.name, name, "name")
        return operation.from_gapic(
            first, self.client, StringValue, metadata_type=Struct, polling=POLLING
        )

    def list(self, filter_):
        """Every operation that the filter lets through, and the sizes of the pages they came in."""
        pager = self.client.list_operations(self.parent, filter_)
        if self.transport == "grpc":
            pages = [list(page) for page in pager.pages]
        else:
            pages = [list(page.operations) for page in pager.pages]
        return [found for page in pages for found in page], [len(page) for page in pages]


def result(world):
    name, lease = world.start(metadata=PRINTING)
    future = world.future(name)
    check(future.running(), "done before its worker said so")
    world.native.complete(lease, response=PAGES)
    equal(future.result(timeout=WAIT_SECONDS), StringValue(value="3 страницы"), "result")
    equal(future.exception(), None, "exception")
    equal(MessageToDict(future.metadata), {"printer": "p-7"}, "metadata")
    equal(future.operation.name, name, "name")


def empty_result(world):
    name, lease = world.start()
    world.native.complete(lease, response={"@type": f"{TYPES}/google.protobuf.Empty"})
    done = world.client.get_operation(name)
    equal(done.done, True, "done")
    equal(done.response.type_url, f"{TYPES}/google.protobuf.Empty", "type of the response")


def exception(world):
    name, lease = world.start(metadata=PRINTING)
    future = world.future(name)
    world.native.report_failure(lease, OUT_OF_PAPER)
    check(not future.done(), "done before the worker has cleaned up")
    equal(future.operation.WhichOneof("result"), None, "result of what is not done")
    world.native.complete(lease, error=OUT_OF_PAPER)

    error = raised(exceptions.FailedPrecondition, lambda: future.result(timeout=WAIT_SECONDS))
    equal(error.message, "out of paper", "message")
    check(future.exception() is error, "exception() is not what result() raises")
    info = ErrorInfo()
    (status,) = error.errors
    check(status.details[0].Unpack(info), f"{status.details[0].type_url} is no ErrorInfo")
    equal((info.reason, info.domain), ("NO_PAPER", "example.com"), "ErrorInfo")
    equal(dict(info.metadata), {"tray": "2"}, "metadata of the ErrorInfo")
    equal(MessageToDict(future.metadata), {"printer": "p-7"}, "metadata")


def metadata(world):
    name, lease = world.start()
    future = world.future(name)
    equal(future.metadata, None, "metadata before there is any")
    for sheet in (1.0, 2.0):
        value = {"@type": f"{TYPES}/google.protobuf.Struct", "value": {"sheet": sheet}}
        world.native.report_metadata(lease, value)
        check(not future.done(), "done before its worker said so")
        equal(MessageToDict(future.metadata), {"sheet": sheet}, "metadata")


def cancel(world):
    name, lease = world.start()
    future = world.future(name)
    equal(future.cancel(), True, "what cancel() says of a running operation")
    check(world.native.cancel_requested(lease), "the worker was not asked to cancel")
    check(not future.done(), "done before its worker said so")
    world.native.complete(lease, cancelled={"message": "as you wish"})
    error = raised(exceptions.Cancelled, lambda: future.result(timeout=WAIT_SECONDS))
    equal(error.message, "as you wish", "message")
    equal(future.cancelled(), True, "cancelled()")
    equal(future.cancel(), False, "what cancel() says of a done operation")
    world.client.cancel_operation(name)
    equal(world.client.get_operation(name).error.code, 1, "code after a second cancel")


def done_callback(world):
    name, lease = world.start()
    future = world.future(name)
    called = concurrent.futures.Future()
    future.add_done_callback(called.set_result)
    check(not called.done(), "called back before the operation was done")
    world.native.complete(lease, response=PAGES)
    check(called.result(timeout=WAIT_SECONDS) is future, "called back with something else")
    equal(future.result(), StringValue(value="3 страницы"), "result")


def timeout(world):
    name, lease = world.start()
    future = world.future(name)
    raised(concurrent.futures.TimeoutError, lambda: future.result(timeout=0.3))
    world.native.complete(lease, response=PAGES)
    equal(future.result(timeout=WAIT_SECONDS), StringValue(value="3 страницы"), "result")


def wait(world):
    """WaitOperation; google-api-core has the stub alone."""
    stub = operations_pb2.OperationsStub(world.channel)
    call = gapic_v1.method.wrap_method(stub.WaitOperation, default_retry=RETRIES)
    name, lease = world.start()
    asked = operations_pb2.WaitOperationRequest(name=name, timeout=Duration(nanos=200_000_000))
    equal(call(asked).done, False, "done when the time is over")
    hurried = operations_pb2.WaitOperationRequest(name=name, timeout=Duration(seconds=30))
    equal(call(hurried, timeout=1.0).done, False, "done a little before the deadline")
    with concurrent.futures.ThreadPoolExecutor(1) as waiter:
        waiting = waiter.submit(call, hurried)
        world.native.complete(lease, response=PAGES)
        done = waiting.result(timeout=WAIT_SECONDS)
    equal(done.response.type_url, f"{TYPES}/google.protobuf.StringValue", "type of the response")


def list_pages(world):
    kind = f"sdk.google.{uuid.uuid4().hex}"
    made = [world.native.create(kind)["id"] for _ in range(MANY)]
    names = [f"{world.collection}/{operation_id}" for operation_id in reversed(made)]
    found, sizes = world.list(f"kind = {kind}")
    equal([one.name for one in found], names, "names, newest first")
    check(len(sizes) >= 2, f"{MANY} operations came in {len(sizes)} page")

    for outcome in ({"response": PAGES}, {"error": OUT_OF_PAPER}):
        world.native.complete(world.native.claim(kind), **outcome)
    count = lambda filter_: len(world.list(f"kind = {kind} AND {filter_}")[0])
    equal(count("done = true"), 2, "done")
    equal(count("error:*"), 1, "with an error")
    equal(count("done = true AND NOT error.code = 9"), 1, "done without that error")
    equal(count(f"(done = false OR error.code = 9) AND name = {names[0]}"), 1, "of that name")


def delete(world):
    name, lease = world.start()
    error = raised(exceptions.GoogleAPICallError, lambda: world.client.delete_operation(name))
    equal(told(error), "NOT_DONE", "reason")
    world.native.complete(lease, response=PAGES)
    world.client.delete_operation(name)
    error = raised(exceptions.NotFound, lambda: world.client.get_operation(name))
    equal(told(error), "DELETED", "reason")


def refused(world):
    unknown = f"{world.collection}/op0000000000000000"
    error = raised(exceptions.NotFound, lambda: world.client.get_operation(unknown))
    equal(told(error), "NEVER_EXISTED", "reason")
    error = raised(exceptions.BadRequest, lambda: world.list("colour = red"))
    equal(told(error), "INVALID_FILTER", "reason")


def await_named(world, name):
    sys.stdout.reconfigure(encoding="utf-8")
    future = world.future(name)
    print("waiting", flush=True)
    print(future.result(timeout=WAIT_SECONDS).value)


def told(error):
    """The reason in the ErrorInfo of a refused call."""
    equal(error.domain, "operond.dev", "domain")
    return error.reason


def raised(expected, call):
    try:
        value = call()
    except expected as error:
        return error
    raise AssertionError(f"no {expected.__name__}, but {value!r}")


def equal(found, expected, what):
    check(found == expected, f"{what} is {found!r}, not {expected!r}")


def check(condition, complaint):
    if not condition:
        raise AssertionError(complaint)


SCENARIOS = {
    "result": result,
    "empty-result": empty_result,
    "exception": exception,
    "metadata": metadata,
    "cancel": cancel,
    "done-callback": done_callback,
    "timeout": timeout,
    "wait": wait,
    "list-pages": list_pages,
    "delete": delete,
    "refused": refused,
}

# What the REST transport of google-api-core has no call for.
GRPC_ONLY = {"wait"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--transport", required=True, choices=["grpc", "rest"])
    parser.add_argument("--native", required=True, metavar="URL", help="for producer and worker")
    parser.add_argument("--target", required=True, metavar="URL", help="for the client under test")
    parser.add_argument("scenario", nargs="+", help=f"all, await:NAME, {', '.join(SCENARIOS)}")
    arguments = parser.parse_args()
    names = arguments.scenario
    if "all" in names:
        names = [name for name in SCENARIOS if arguments.transport == "grpc" or name not in GRPC_ONLY]

    world = World(arguments.native, arguments.target, arguments.transport)
    if names[0].startswith("await:"):
        await_named(world, names[0].removeprefix("await:"))
        return
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
