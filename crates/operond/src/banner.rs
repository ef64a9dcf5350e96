//! What a server says when it is ready: where it listens, and what to paste next.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::store::Address;

/// For `operond dev`.
pub(crate) fn dev(plain: SocketAddr, advertised: &str, ca: &Path, demo: bool) -> String {
    let ca = ca.display();
    let kind = if demo { "demo.render" } else { "my-kind" };
    let mut text = format!(
        r#"operond {version} is ready
  gRPC and REST          http://{plain}
  the same, with TLS     https://{advertised}
  root certificate       {ca}

Create an operation and wait for it
  operond create {kind} --input '{{"frames": 20}}' --wait

The same with curl
  curl -sS http://{plain}/api/v1/operations -H 'content-type: application/json' -d '{{"kind": "{kind}"}}'
  curl -sS http://{plain}/operations/ID

Python (pip install yandexcloud)
  import yandexcloud
  from yandex.cloud.operation.operation_service_pb2 import GetOperationRequest
  from yandex.cloud.operation.operation_service_pb2_grpc import OperationServiceStub
  sdk = yandexcloud.SDK(iam_token="any", endpoint="{advertised}", root_certificates=open("{ca}", "rb").read())
  print(sdk.client(OperationServiceStub).Get(GetOperationRequest(operation_id="ID")))

Node (npm install @yandex-cloud/nodejs-sdk@2)
  const {{ Session, serviceClients, cloudApi }} = require('@yandex-cloud/nodejs-sdk');
  const session = new Session({{ iamToken: 'any', ssl: {{ rootCerts: require('fs').readFileSync('{ca}') }} }});
  session.client(serviceClients.OperationServiceClient, '{advertised}')
    .get(cloudApi.operation.operation_service.GetOperationRequest.fromPartial({{ operationId: 'ID' }})).then(console.log);
"#,
        version = env!("CARGO_PKG_VERSION"),
    );
    let worker = if demo {
        "\nDemo workers serve the kinds demo.render, demo.fail and demo.slow-cancel.\n"
    } else {
        "\nMake any program a worker\n  operond worker exec --kind my-kind -- cat\n"
    };
    text.push_str(worker);
    text.push_str("\nNobody is asked who they are: this server answers on this machine only. Ctrl-C stops it.\n");
    text
}

/// For `operond serve`: where it listens (with TLS or without), and where the first key is if one was made.
pub(crate) fn serve(
    listening: &[(bool, SocketAddr)],
    advertised: &str,
    store: &Address,
    first_key: Option<&Path>,
    insecure: bool,
) -> String {
    let mut text = format!("operond {} is ready\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| writeln!(text, "  {name:<23}{value}").expect("a string takes it");
    for (tls, address) in listening {
        line("listening on", &format!("{}://{address}", if *tls { "https" } else { "http" }));
    }
    line("advertised as", advertised);
    line("data", &store.to_string());
    if let Some(path) = first_key {
        line("first key, an admin", &path.display().to_string());
    }
    if insecure {
        line("who calls", "nobody is asked: for this machine only");
    }
    text
}
