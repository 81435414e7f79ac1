import { setTimeout } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type Client } from "@connectrpc/connect";

import {
  WatchSessionRequestSchema,
  WatchSessionsRequestSchema,
  type RemoteSupportService,
  type WatchSessionRequest,
  type WatchSessionResponse,
  type WatchSessionsResponse,
} from "../gen/gotoassist/remotesupport/v1/remote_support_service_pb.js";
import { isFromService, retryDelayMs, toError } from "./failure.js";

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

export function isWorthResuming(error: ConnectError): boolean {
  return (
    worthResuming.has(error.code) || (worthResumingWithoutReason.has(error.code) && !isFromService(error))
  );
}

// Waits until the next stream may begin: as long as the service asks, or a random part of the delay.
// Returns the delay after it. Throws the error if no stream should follow.
async function pause(thrown: unknown, delay: number): Promise<number> {
  const error = ConnectError.from(thrown);
  if (!isWorthResuming(error)) throw error;
  const asked = retryDelayMs(error);
  await setTimeout(asked ?? Math.random() * delay);
  return asked === undefined ? Math.min(2 * delay, longestDelayMs) : delay;
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
      delay = await pause(thrown, delay);
    }
  }
}

// Yields every message of many sessions, on one stream, until all of them have ended. After any
// other end of the stream, a new one goes on with each session after its last message.
export async function* watchMany(
  service: Client<typeof RemoteSupportService>,
  sessionIds: string[],
): AsyncGenerator<WatchSessionsResponse> {
  const requests = new Map(
    sessionIds.map((sessionId) => [sessionId, create(WatchSessionRequestSchema, { sessionId })]),
  );
  let delay = firstDelayMs;
  while (requests.size > 0) {
    const stop = new AbortController();
    try {
      const options = { timeoutMs: longestWatchMs, signal: stop.signal };
      for await (const message of service.watchSessions(adding(requests.values()), options)) {
        const { sessionId, body } = message;
        if (body.case === "ended") {
          const error = toError(body.value);
          // To begin again with all sessions, this one too.
          if (error && isWorthResuming(error)) throw error;
          requests.delete(sessionId);
        }
        yield message;
        if (body.case === "update") requests.get(sessionId)!.resumeToken = body.value.resumeToken;
        delay = firstDelayMs;
      }
    } catch (thrown) {
      delay = await pause(thrown, delay);
    } finally {
      stop.abort();
    }
  }
}

// Adds the sessions, and closes the client's side, so that the stream ends with the last session.
async function* adding(sessions: Iterable<WatchSessionRequest>) {
  yield create(WatchSessionsRequestSchema, {
    action: { case: "add", value: { sessions: [...sessions] } },
  });
}
