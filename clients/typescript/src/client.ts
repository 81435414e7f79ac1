// A client of gotoassist-grpc: one session, the links of a domain, or watches that resume by
// themselves. It prints proto3 JSON, one message a line.

import { createRegistry, toJsonString, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import {
  GetSessionResponseSchema,
  ListSystemLinksResponseSchema,
  RemoteSupportService,
  WatchSessionResponseSchema,
  WatchSessionsResponseSchema,
} from "../gen/gotoassist/remotesupport/v1/remote_support_service_pb.js";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.js";
import { describe } from "./failure.js";
import { naming, watch, watchMany } from "./watch.js";

const deadline = { timeoutMs: 10_000 };

// Sends the vendor's access token with every call.
const accessToken: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.GOTOASSIST_TOKEN}`);
  return next(request);
};

const service = createClient(
  RemoteSupportService,
  createGrpcTransport({
    baseUrl: process.env.GOTOASSIST_SERVER!, // use https if the service is not on this machine
    interceptors: [accessToken],
    // Pings detect a server that has vanished.
    pingIntervalMs: 30_000,
    pingTimeoutMs: 10_000,
  }),
);

// The message types that a google.protobuf.Any (stale_cause.details) may hold.
const registry = createRegistry(file_google_rpc_error_details);

function show<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>) {
  console.log(toJsonString(schema, message, { registry }));
}

async function call(command: string, name: string) {
  switch (command) {
    case "get":
      show(
        GetSessionResponseSchema,
        await service.getSession({ sessionId: name }, { ...deadline, headers: naming(name) }),
      );
      break;
    case "links":
      show(ListSystemLinksResponseSchema, await service.listSystemLinks({ systemDomain: name }, deadline));
      break;
    case "watch":
      for await (const message of watch(service, name)) show(WatchSessionResponseSchema, message);
      break;
    default:
      throw new Error(`unknown command ${command}`);
  }
}

async function showMany(sessionIds: string[]) {
  for await (const message of watchMany(service, sessionIds)) {
    show(WatchSessionsResponseSchema, message);
    if (message.body.case === "ended" && message.body.value.code !== 0) process.exitCode = 1;
  }
}

const [command, ...names] = process.argv.slice(2);
if (!command || names.length === 0) {
  console.error("usage: client {get|watch|watch-many} SESSION... | links DOMAIN...");
  process.exit(2);
}
// One stream for all names, or one call for each.
for (const name of command === "watch-many" ? [names] : names) {
  try {
    if (typeof name === "string") await call(command, name);
    else await showMany(name);
  } catch (error) {
    console.log(describe(error));
    process.exitCode = 1;
  }
}
