import { setTimeout } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type Client } from "@connectrpc/connect";

import {
  WatchSessionRequestSchema,
  type RemoteSupportService,
  type WatchSessionResponse,
} from "../gen/gotoassist/remotesupport/v1/remote_support_service_pb.js";
import { isFromService, retryDelayMs } from "./failure.js";

const longestWatchMs = 3_600_000; // for one stream; after it, the watch resumes
const firstDelayMs = 500;
const longestDelayMs = 30_000;
const worthResuming = new Set([
  Code.Unavailable,
  Code.ResourceExhausted,
  Code.DeadlineExceeded,
  Code.Aborted,
]);
// Without a reason, these codes mean a broken connection. With a reason, they come from the service
// and are final. This client cancels no calls. If you pass a signal, check it first.
const worthResumingWithoutReason = new Set([Code.Internal, Code.Unknown, Code.Canceled]);

function isWorthResuming(error: ConnectError): boolean {
  return (
    worthResuming.has(error.code) || (worthResumingWithoutReason.has(error.code) && !isFromService(error))
  );
}

// Metadata with the session. A proxy can then route all callers of a session to the same replica,
// where they share a poll.
export function sessionHeaders(sessionId: string) {
  return { "session-id": encodeURIComponent(sessionId) };
}

// Yields every message of a session until the session is over. If a stream ends earlier, a new
// stream continues after the last message, so no message is lost or repeated.
export async function* watch(
  service: Client<typeof RemoteSupportService>,
  sessionId: string,
): AsyncGenerator<WatchSessionResponse> {
  const request = create(WatchSessionRequestSchema, { sessionId });
  let delay = firstDelayMs;
  for (;;) {
    try {
      const options = { timeoutMs: longestWatchMs, headers: sessionHeaders(sessionId) };
      for await (const message of service.watchSession(request, options)) {
        yield message;
        request.resumeToken = message.resumeToken;
        delay = firstDelayMs;
      }
      return; // OK means that the last message was terminal
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      if (!isWorthResuming(error)) throw error;
      let pause = retryDelayMs(error);
      if (pause === undefined) {
        pause = Math.random() * delay;
        delay = Math.min(2 * delay, longestDelayMs);
      }
      await setTimeout(pause);
    }
  }
}
