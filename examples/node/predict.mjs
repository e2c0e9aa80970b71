// Asks a running service about rows, given as columns by name:
//     node predict.mjs 127.0.0.1:50051 MODEL '{"acidity": [0.1, 0.9], "colour": ["red", "white"]}'
// Everything it knows of the service comes from protos/ordinal/v1/ordinal.proto.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const proto = fileURLToPath(new URL("../../protos/ordinal/v1/ordinal.proto", import.meta.url));
const { ordinal } = grpc.loadPackageDefinition(loader.loadSync(proto, { enums: String, longs: Number }));

// TLS where CA names a file of trusted certificates; the token goes with every call.
const { CA, ORDINAL_TOKEN } = process.env;
const [address = "127.0.0.1:50051", model = "", rows = "{}"] = process.argv.slice(2);
const client = new ordinal.v1.OrdinalService(
  address,
  CA ? grpc.credentials.createSsl(readFileSync(CA)) : grpc.credentials.createInsecure(),
);
const metadata = new grpc.Metadata();
if (ORDINAL_TOKEN) metadata.set("authorization", `Bearer ${ORDINAL_TOKEN}`);

// A column of a table is `floats` or `strings`; a missing number is NaN, a missing text is empty.
const columns = Object.entries(JSON.parse(rows)).map(([name, column]) =>
  column.some((entry) => typeof entry === "string")
    ? { name, strings: column.map((entry) => entry ?? "") }
    : { name, floats: column.map((entry) => entry ?? NaN) },
);

client.predict({ model, table: { columns } }, metadata, { deadline: Date.now() + 10_000 }, (error, reply) => {
  client.close();
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
    return;
  }
  const K = reply.labels.length;
  const answers = Array.from({ length: reply.rows }, (_, row) => ({
    probabilities: Object.fromEntries(reply.labels.map((label, k) => [label, reply.probabilities[row * K + k]])),
    expected_value: reply.expectedValue[row],
    decisions: Object.fromEntries(reply.decisions.map((one) => [one.policy, one.actions[one.action[row]]])),
  }));
  console.log(JSON.stringify({ model: reply.model, version: reply.version, answers }, null, 2));
});
