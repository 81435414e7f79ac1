import { setTimeout } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type Client } from "@connectrpc/connect";

import {
  WatchSessionRequestSchema,
  type RemoteSupportService,
  type WatchSessionResponse,
} from "../gen/gotoassist/remotesupport/v1/remote_support_service_pb.js";
import { isFromService, retryDelayMs } from "./failure.js";

const longestWatchMs = 3_600_000; // for one stream; its end is one more reason to resume
const firstDelayMs = 500;
const longestDelayMs = 30_000;
const worthResuming = new Set([
  Code.Unavailable,
  Code.ResourceExhausted,
  Code.DeadlineExceeded,
  Code.Aborted,
]);
// What a connection that broke on the way may look like; from the service itself they are final.
// Nobody cancels a call here; if you pass a signal, look at it first.
const worthResumingWithoutReason = new Set([Code.Internal, Code.Unknown, Code.Canceled]);

function isWorthResuming(error: ConnectError): boolean {
  return (
    worthResuming.has(error.code) || (worthResumingWithoutReason.has(error.code) && !isFromService(error))
  );
}

// Metadata by which a proxy brings all who ask for a session to the same replica, where they share a
// poll.
export function naming(sessionId: string) {
  return { "session-id": encodeURIComponent(sessionId) };
}

// Yields every message of a session until it is over. Each end but that one is followed by a new
// stream that goes on after the last message, so nothing is missed and nothing comes twice.
export async function* watch(
  service: Client<typeof RemoteSupportService>,
  sessionId: string,
): AsyncGenerator<WatchSessionResponse> {
  const request = create(WatchSessionRequestSchema, { sessionId });
  let delay = firstDelayMs;
  for (;;) {
    try {
      const options = { timeoutMs: longestWatchMs, headers: naming(sessionId) };
      for await (const message of service.watchSession(request, options)) {
        yield message;
        request.resumeToken = message.resumeToken;
        delay = firstDelayMs;
      }
      return; // OK comes if and only if the last message was terminal
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
