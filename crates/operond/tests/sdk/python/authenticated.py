"""What the Python SDKs, unmodified, see of a server that asks who they are.

    authenticated.py --library yandex|google-grpc|google-rest --endpoint HOST:PORT --ca FILE --token TOKEN
                     [--certificate FILE --key FILE] ID

Gets the operation ID and waits for it. Prints `waiting` once it has seen that the operation is not done, and `done
TEXT` when it has got its result, a text. When the server refuses the call, now or while it waits, prints `refused CODE`
and the exception's class. An empty TOKEN means that none is sent. Finding the endpoints is possible without a token: an SDK does it before it has one.
"""

import argparse
import os
import sys

# The server is on loopback: no proxy may come between.
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

import grpc
from google.api_core import exceptions, operation, operations_v1
from google.api_core.future import polling
from google.api_core.operations_v1.transports.rest import OperationsRestTransport
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.oauth2.credentials import Credentials
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue
from yandex.cloud.endpoint.api_endpoint_service_pb2 import ListApiEndpointsRequest
from yandex.cloud.endpoint.api_endpoint_service_pb2_grpc import ApiEndpointServiceStub
from yandex.cloud.operation.operation_service_pb2 import GetOperationRequest
from yandex.cloud.operation.operation_service_pb2_grpc import OperationServiceStub
from yandexcloud import SDK

WAIT_SECONDS = 60
# The default of google-api-core begins with a second.
POLLING = polling.DEFAULT_POLLING.with_delay(initial=0.05, maximum=0.5)


def yandex(endpoint, tls, token, operation_id):
    with grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(**tls)) as channel:
        endpoints = ApiEndpointServiceStub(channel).List(ListApiEndpointsRequest()).endpoints
    ports = [found.address.rpartition(":")[2] for found in endpoints]
    if endpoint.rpartition(":")[2] not in ports:
        raise AssertionError(f"{endpoint} is not among {endpoints}")

    if not token:
        # The SDK itself cannot be had without a token: this is the channel below it.
        with grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(**tls)) as channel:
            stub = OperationServiceStub(channel)
            return stub.Get(GetOperationRequest(operation_id=operation_id))
    sdk = SDK(iam_token=token, endpoint=endpoint, **tls)
    first = sdk.client(OperationServiceStub).Get(GetOperationRequest(operation_id=operation_id))
    print("waiting", flush=True)
    result = sdk.wait_operation_and_get_result(
        first, response_type=StringValue, timeout=WAIT_SECONDS
    )
    return result.response.value


def google_grpc(endpoint, tls, token, operation_id):
    credentials = grpc.ssl_channel_credentials(**tls)
    if token:
        call = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, call)
    client = operations_v1.OperationsClient(grpc.secure_channel(endpoint, credentials))
    return google(client, f"operations/{operation_id}")


def google_rest(endpoint, _tls, token, operation_id):
    credentials = Credentials(token=token) if token else AnonymousCredentials()
    rest = OperationsRestTransport(host=f"https://{endpoint}", credentials=credentials)
    client = operations_v1.AbstractOperationsClient(transport=rest)
    return google(client, f"shops/7/operations/{operation_id}")


def google(client, name):
    first = client.get_operation(name)
    print("waiting", flush=True)
    future = operation.from_gapic(
        first, client, StringValue, metadata_type=Struct, polling=POLLING
    )
    return future.result(timeout=WAIT_SECONDS).value


HTTP = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
LIBRARIES = {"yandex": yandex, "google-grpc": google_grpc, "google-rest": google_rest}


def read(path):
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--library", required=True, choices=LIBRARIES)
    parser.add_argument("--endpoint", required=True, metavar="HOST:PORT", help="the TLS listener")
    parser.add_argument("--ca", required=True, metavar="FILE", help="the server's authority, PEM")
    parser.add_argument("--token", required=True, help="an API key or a token")
    parser.add_argument("--certificate", metavar="FILE", help="to show to the server, PEM")
    parser.add_argument("--key", metavar="FILE", help="of that certificate, PEM")
    parser.add_argument("id", help="the operation")
    arguments = parser.parse_args()
    # Where the library for REST looks for authorities.
    os.environ["REQUESTS_CA_BUNDLE"] = arguments.ca
    tls = {
        "root_certificates": read(arguments.ca),
        "private_key": read(arguments.key),
        "certificate_chain": read(arguments.certificate),
    }
    try:
        call = LIBRARIES[arguments.library]
        value = call(arguments.endpoint, tls, arguments.token, arguments.id)
        print(f"done {value}")
    except grpc.RpcError as error:
        print(f"refused {error.code().name}", type(error).__name__)
    except exceptions.GoogleAPICallError as error:
        # By REST there is the HTTP status alone; the exceptions of gRPC have it, too.
        print(f"refused {HTTP[error.code]}", type(error).__name__)
    except GoogleAuthError as error:
        # It takes 401 as a word to get a newer token, and has no way to get one.
        print("refused UNAUTHENTICATED", type(error).__name__)


if __name__ == "__main__":
    main()
