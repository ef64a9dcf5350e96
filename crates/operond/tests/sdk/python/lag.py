"""How late stock Python clients learn that an operation is done, and with how many Gets.

    lag.py --endpoint HOST:PORT --rest http://HOST:PORT --ca FILE CLIENT

CLIENT is `yandex` or `google`. Some operations take from half a second to eight; one waiter each, all at once. Prints
one line of JSON: `{"lags": [seconds...], "gets": N}`.
"""

import argparse
import json
import os
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

# The server is on loopback: no proxy may come between.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

# The source tree stays as it is checked out.
sys.dont_write_bytecode = True

import grpc
from native import Native

SECONDS = [0.5 + 0.75 * step for step in range(11)]


class Counter:
    """Counts calls of a function that several threads use."""

    def __init__(self):
        self.count = 0
        self._lock = threading.Lock()

    def around(self, function):
        def counted(*arguments, **options):
            with self._lock:
                self.count += 1
            return function(*arguments, **options)

        return counted


def yandex(options, counter):
    """Waits as the SDK of Yandex Cloud does."""
    from yandex.cloud.operation.operation_pb2 import Operation
    from yandex.cloud.operation.operation_service_pb2_grpc import OperationServiceStub
    from yandexcloud import SDK

    with open(options.ca, "rb") as file:
        sdk = SDK(iam_token="test", endpoint=options.endpoint, root_certificates=file.read())
    original = OperationServiceStub.__init__

    def counting(self, channel):
        original(self, channel)
        self.Get = counter.around(self.Get)

    OperationServiceStub.__init__ = counting

    def wait(operation_id):
        # As the call that began it would have answered.
        sdk.wait_operation_and_get_result(Operation(id=operation_id), timeout=60)

    return wait


def google(options, counter):
    """Waits as the libraries of Google's APIs do."""
    from google.api_core import operation, operations_v1
    from google.longrunning.operations_pb2 import Operation
    from google.protobuf.empty_pb2 import Empty

    channel = grpc.insecure_channel(options.rest.removeprefix("http://"))
    client = operations_v1.OperationsClient(channel)

    def wait(operation_id):
        # As the call that began it would have answered.
        first = Operation(name=f"operations/{operation_id}")
        refresh = counter.around(lambda **retry: client.get_operation(first.name, **retry))
        operation.Operation(first, refresh, lambda: None, Empty).result(timeout=60)

    return wait


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--rest", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("client", choices=["yandex", "google"])
    options = parser.parse_args()
    counter = Counter()
    wait = {"yandex": yandex, "google": google}[options.client](options, counter)

    def lag(seconds):
        native = Native(options.rest)
        kind = f"lag.{uuid.uuid4().hex}"
        operation_id = native.create(kind)["id"]
        lease = native.claim(kind)
        completed = []

        def complete():
            time.sleep(seconds)
            Native(options.rest).complete(lease, response={"@type": "type.googleapis.com/google.protobuf.Empty"})
            completed.append(time.monotonic())

        worker = threading.Thread(target=complete)
        worker.start()
        wait(operation_id)
        learned = time.monotonic()
        worker.join()
        return max(0.0, learned - completed[0])

    with ThreadPoolExecutor(len(SECONDS)) as waiters:
        lags = list(waiters.map(lag, SECONDS))
    print(json.dumps({"lags": lags, "gets": counter.count}))


if __name__ == "__main__":
    main()
