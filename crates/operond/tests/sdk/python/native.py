"""The server side of an operation, over the native REST face: what a producer and a worker do."""

import base64
import http.client
import json
import urllib.parse


class ApiError(Exception):
    """An answer other than 200, with the status in its body."""

    def __init__(self, http_status, body):
        super().__init__(f"HTTP {http_status}: {body}")
        self.http_status = http_status
        self.code = body.get("code")


class Native:
    """One connection to the server's REST face; not to be shared between threads."""

    def __init__(self, base_url):
        address = urllib.parse.urlsplit(base_url)
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)

    def create(self, kind, **members):
        return self._call("POST", "/api/v1/operations", {"kind": kind, **members})

    def get(self, operation_id):
        return self._call("GET", f"/api/v1/operations/{operation_id}")

    def delete(self, operation_id):
        return self._call("DELETE", f"/api/v1/operations/{operation_id}")

    def get_as_yandex(self, operation_id):
        """The same operation over the Yandex REST face."""
        return self._call("GET", f"/operations/{operation_id}")

    def claim(self, kind):
        """The lease of the only operation of its kind."""
        request = {"kinds": [kind], "worker": "sdk-test", "leaseDuration": "60s", "wait": "5s"}
        claims = self._call("POST", "/api/v1/work:claim", request)["claims"]
        if len(claims) != 1:
            raise AssertionError(f"claimed {len(claims)} operations of {kind}, not 1")
        return claims[0]["lease"]

    def cancel_requested(self, lease):
        """Waits, at most half the lease, for a cancel to reach the worker."""
        request = {"lease": lease, "wait": "20s"}
        return "cancelRequested" in self._call("POST", "/api/v1/work:heartbeat", request)

    def report_metadata(self, lease, metadata):
        """Replaces what the operation says of itself, and keeps the lease."""
        return self._call("POST", "/api/v1/work:heartbeat", {"lease": lease, "metadata": metadata})

    def report_failure(self, lease, error):
        return self._call("POST", "/api/v1/work:reportFailure", {"lease": lease, "error": error})

    def complete(self, lease, **outcome):
        return self._call("POST", "/api/v1/work:complete", {"lease": lease, **outcome})

    def _call(self, method, path, body=None):
        headers = {"authorization": "Bearer test"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise ApiError(response.status, answer)
        return answer


def packed(message):
    """A message as the JSON of an Any whose type the server need not know."""
    return {
        "@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        "value": base64.b64encode(message.SerializeToString(deterministic=True)).decode(),
    }
