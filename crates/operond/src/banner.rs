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

/// For `operond serve`.
pub(crate) fn serve(addresses: &[SocketAddr], advertised: &str, store: &Address) -> String {
    let mut text = format!("operond {} is ready\n", env!("CARGO_PKG_VERSION"));
    for (address, scheme) in addresses.iter().zip(["http", "https"]) {
        writeln!(text, "  listening on           {scheme}://{address}").expect("a string takes it");
    }
    writeln!(text, "  advertised as          {advertised}").expect("a string takes it");
    writeln!(text, "  data                   {store}").expect("a string takes it");
    text
}
