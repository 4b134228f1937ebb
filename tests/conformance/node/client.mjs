// node client.mjs URL DESCRIPTORS TRANSPORT: makes three calls and prints what came of them as one line of JSON.
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";

const [url, descriptors, kind] = process.argv.slice(2);

const h1 = { baseUrl: url, httpVersion: "1.1" };
const h2 = { baseUrl: url, httpVersion: "2" };
const gzip = { sendCompression: node.compressionGzip, acceptCompression: [node.compressionGzip], compressMinBytes: 0 };

const transports = {
  "node json": () => node.createConnectTransport({ ...h1, useBinaryFormat: false }),
  "node binary": () => node.createConnectTransport({ ...h1, useBinaryFormat: true }),
  "node gzip": () => node.createConnectTransport({ ...h1, ...gzip }),
  "node json over HTTP/2": () => node.createConnectTransport({ ...h2, useBinaryFormat: false }),
  "node gzip over HTTP/2": () => node.createConnectTransport({ ...h2, ...gzip }),
  "node gRPC": () => node.createGrpcTransport({ baseUrl: url }),
  "node gRPC gzip": () => node.createGrpcTransport({ baseUrl: url, ...gzip }),
  "node gRPC-Web": () => node.createGrpcWebTransport(h1),
  "node gRPC-Web over HTTP/2": () => node.createGrpcWebTransport(h2),
  "web json": () => web.createConnectTransport({ baseUrl: url, useBinaryFormat: false }),
  "web binary": () => web.createConnectTransport({ baseUrl: url, useBinaryFormat: true }),
  "web gRPC-Web": () => web.createGrpcWebTransport({ baseUrl: url }),
};

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const client = createClient(registry.getService("events.v1.EventLoggingService"), transports[kind]());
const good = { eventName: "conformance", metadata: { kind, depth: { list: [1, "zwei", null] } }, forwardToStatsig: false };

const { eventId } = await client.logEvent(good);
const { outcomes } = await client.logEvents({ events: [good, { eventName: "" }] });
let refusal;
try {
  await client.logEvent({ ...good, eventName: "" });
} catch (error) {
  const connectError = ConnectError.from(error);
  const [details] = connectError.findDetails(registry.getMessage("google.rpc.BadRequest"));
  refusal = { code: Code[connectError.code], fields: details.fieldViolations.map((violation) => violation.field) };
}
console.log(JSON.stringify({ eventId, outcomes: outcomes.map(({ outcome }) => outcome.case), refusal }));
process.exit(0); // HTTP/2 connections would be kept
