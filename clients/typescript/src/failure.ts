import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import type { Status } from "../gen/google/rpc/status_pb.js";

// The content of an error: its code, its reason, and which arguments were wrong.
export function describe(thrown: unknown): string {
  const error = ConnectError.from(thrown);
  const [info] = error.findDetails(ErrorInfoSchema);
  const [badRequest] = error.findDetails(BadRequestSchema);
  const delay = retryDelayMs(error);
  const failure = {
    code: Code[error.code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase(),
    message: error.rawMessage,
    reason: info?.reason,
    metadata: info && Object.keys(info.metadata).length > 0 ? info.metadata : undefined,
    retryDelaySeconds: delay === undefined ? undefined : delay / 1000,
    violations:
      badRequest && Object.fromEntries(badRequest.fieldViolations.map((v) => [v.field, v.description])),
  };
  return JSON.stringify({ error: failure });
}

// The error in a message of WatchSessions. OK is none.
export function toError(status: Status): ConnectError | undefined {
  if (status.code === 0) return undefined;
  const error = new ConnectError(status.message, status.code);
  error.details = status.details.map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value,
  }));
  return error;
}

// How long the service asks to wait, if it does.
export function retryDelayMs(error: ConnectError): number | undefined {
  const [info] = error.findDetails(RetryInfoSchema);
  return info?.retryDelay && durationMs(info.retryDelay);
}

// An error of the service always has a reason. The error of a broken connection has none.
export function isFromService(error: ConnectError): boolean {
  return error.findDetails(ErrorInfoSchema).length > 0;
}
